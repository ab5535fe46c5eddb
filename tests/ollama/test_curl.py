"""curl sees no difference: the status line, the headers and the body, byte for byte."""

import json
import subprocess

import pytest

from models import EMBEDDING, QUESTION, TEXT
from road import forwarded, remembered

# Hop by hop, or different each time.
UNTOLD = {"date", "connection", "keep-alive"}
# What Pannier adds to an answer.
ADDED = {"x-request-id", "cache-status", "age"}
ORIGIN = "http://localhost:3000"


def curl(url, target, *options):
    """Status line, headers and body of one request, as curl shows them."""
    command = ["curl", "--silent", "--show-error", "--include", "--path-as-is", "--max-time", "60", *options]
    shown = subprocess.run([*command, url + target], capture_output=True, check=True).stdout
    head, _, body = shown.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    headers = sorted(
        [name.lower(), value.strip().replace(url, "<url>")]
        for name, _, value in (field.partition(":") for field in fields)
        if name.lower() not in UNTOLD | ADDED
    )
    return {"status": status, "headers": headers, "body": parsed(body)}


def parsed(body):
    """JSON, or lines of it, as values; anything else as text."""
    text = body.decode()
    try:
        return [json.loads(line) for line in text.splitlines()] if text.startswith("{") else text
    except ValueError:
        return text


def post(url, target, body, *options):
    return curl(url, target, "--data-binary", json.dumps(body), *options)


def without_framing(answer):
    """A remembered answer is whole: its length is known where Ollama's was not. And times are longer or shorter."""
    framing = {"content-length", "transfer-encoding"}
    return answer | {"headers": [field for field in answer["headers"] if field[0] not in framing]}


def head_root(url):
    return curl(url, "/", "--head")


def get_root(url):
    return curl(url, "/")


def version(url):
    return curl(url, "/api/version")


def unknown_path(url):
    return curl(url, "/api/nothing/here?a=%2F&b")


def unknown_post(url):
    return post(url, "/v9/unheard-of", {"model": TEXT})


def wrong_method(url):
    return curl(url, "/api/chat", "--request", "PUT")


def wrong_method_v1(url):
    return curl(url, "/v1/chat/completions")


def preflight(url):
    asked = ["Origin: " + ORIGIN, "Access-Control-Request-Method: POST"]
    return curl(url, "/api/chat", "--request", "OPTIONS", "--header", asked[0], "--header", asked[1])


def options_without_origin(url):
    return curl(url, "/api/chat", "--request", "OPTIONS")


def foreign_origin(url):
    return curl(url, "/api/tags", "--header", "Origin: http://evil.example")


def foreign_host(url):
    """The guard is Pannier's own, since Ollama sees another Host: it refuses as Ollama would, but says why."""
    return curl(url, "/api/tags", "--header", "Host: evil.example")["status"]


def local_host_name(url):
    return curl(url, "/api/version", "--header", "Host: pannier.localhost:1234")


def double_slash(url):
    return curl(url, "//api/version")


def trailing_slash(url):
    return curl(url, "/api/tags/")


def no_body(url):
    return curl(url, "/api/chat", "--request", "POST")


def broken_json(url):
    return curl(url, "/api/generate", "--data-binary", '{"model": "smollm2')


def broken_json_v1(url):
    return curl(url, "/v1/chat/completions", "--data-binary", '{"model": "smollm2')


def missing_model(url):
    return post(url, "/api/generate", {"model": "no-such-model", "prompt": QUESTION})


def missing_model_v1(url):
    return post(url, "/v1/chat/completions", {"model": "no-such-model", "messages": []})


def missing_model_messages(url):
    return post(url, "/v1/messages", {"model": "no-such-model", "max_tokens": 3, "messages": []})


def missing_blob(url):
    return curl(url, f"/api/blobs/sha256:{'0' * 64}", "--head")


def wrong_blob(url):
    return curl(url, f"/api/blobs/sha256:{'0' * 64}", "--data-binary", "x" * 100_000, "--header", "Expect: 100-continue")


def chat(url):
    body = {"model": TEXT, "stream": False, "messages": [{"role": "user", "content": QUESTION}]}
    body["options"] = {"temperature": 0, "num_predict": 12}
    return without_framing(post(url, "/api/chat", body))


def chat_streamed(url):
    body = {"model": TEXT, "messages": [{"role": "user", "content": QUESTION}]}
    body["options"] = {"temperature": 0, "num_predict": 13}
    return without_framing(post(url, "/api/chat", body))


def chat_with_origin(url):
    body = {"model": TEXT, "messages": [{"role": "user", "content": QUESTION}]}
    body["options"] = {"temperature": 0, "num_predict": 5}
    return without_framing(post(url, "/api/chat", body, "--header", f"Origin: {ORIGIN}"))


def embed(url):
    body = {"model": EMBEDDING, "input": ["a llama", "a basket"]}
    return without_framing(post(url, "/api/embed", body))


def embeddings_v1(url):
    return without_framing(post(url, "/v1/embeddings", {"model": EMBEDDING, "input": "a llama"}))


CALLS = [
    *forwarded(head_root, get_root, version, unknown_path, unknown_post, wrong_method, wrong_method_v1),
    *forwarded(preflight, options_without_origin, foreign_origin, foreign_host, local_host_name),
    *forwarded(double_slash, trailing_slash, no_body, broken_json, broken_json_v1),
    *forwarded(missing_model, missing_model_v1, missing_model_messages, missing_blob, wrong_blob),
    *remembered(chat, chat_streamed, chat_with_origin, embed, embeddings_v1),
]


@pytest.mark.parametrize("call", CALLS)
def test_sees_no_difference(call, road):
    road.compare(call)
