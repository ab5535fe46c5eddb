"""What /metrics says was used is what Ollama's own answers said."""

import json

import httpx
import pytest

from models import EMBEDDING, QUESTION, TEXT
from test_memory import BODIES


def reported(path, text):
    """Input and output tokens, as the answer of that route itself states them."""
    frames = [line.removeprefix("data: ") for line in text.splitlines()]
    values = [json.loads(frame) for frame in frames if frame.startswith("{")]
    usages = [usage for value in values if (usage := usage_of(value))]
    if path.startswith("/api/"):
        last = values[-1]
        return last.get("prompt_eval_count", 0), last.get("eval_count", 0)
    last = usages[-1]
    cached = last.get("cache_read_input_tokens") or 0
    return (
        last.get("prompt_tokens", last.get("input_tokens", 0)) + cached,
        last.get("completion_tokens", last.get("output_tokens", 0)),
    )


def usage_of(value):
    answer = value.get("response")
    return value.get("usage") or (answer.get("usage") if isinstance(answer, dict) else None)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", [path for path in BODIES if path != "/api/embeddings"])
def test_every_route_is_counted(start_own, path, streamed):
    pannier = start_own(cache__enabled="false")
    body = BODIES[path] | {"stream": streamed}
    if streamed and path in ("/v1/chat/completions", "/v1/completions"):
        body["stream_options"] = {"include_usage": True}
    answers = [httpx.post(pannier.url + path, json=body, timeout=60) for _ in range(2)]
    figures = [reported(path, answer.text) for answer in answers]
    read, written = (sum(column) for column in zip(*figures))
    assert pannier.used("input", read) == read > 0
    assert pannier.used("output", written) == written


def test_a_stream_without_usage_is_counted_all_the_same(start_own, ollama_url):
    pannier = start_own(cache__enabled="false")
    body = BODIES["/v1/chat/completions"]
    whole = httpx.post(f"{ollama_url}/v1/chat/completions", json=body, timeout=60).json()["usage"]
    streamed = httpx.post(f"{pannier.url}/v1/chat/completions", json=body | {"stream": True}, timeout=60)
    assert "usage" not in streamed.text
    assert pannier.used("output", whole["completion_tokens"]) == whole["completion_tokens"]
    assert pannier.used("input", whole["prompt_tokens"]) == whole["prompt_tokens"]


def test_only_trips_are_counted_as_used(own):
    """Three equal questions are one trip, and so is what they used."""
    body = {"model": EMBEDDING, "input": "counted once"}
    first, *_ = [httpx.post(f"{own.url}/api/embed", json=body, timeout=60) for _ in range(3)]
    used = first.json()["prompt_eval_count"]
    assert own.used("input", used) == used


def test_no_text_stands_in_figures_or_log(own):
    """Neither prompt nor answer stands in the figures or in the log."""
    secret = "a llama named Quintessa"
    body = {"model": TEXT, "prompt": secret, "stream": False, "options": {"num_predict": 5, "temperature": 0}}
    answer = httpx.post(f"{own.url}/api/generate", json=body, headers={"Authorization": "Bearer sk-quint"}, timeout=60)
    told = own.metrics() + own.log.read_text()
    assert "Quintessa" not in told and "sk-quint" not in told
    assert answer.json()["response"].strip() not in told
