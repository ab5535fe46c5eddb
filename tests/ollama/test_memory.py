"""An equal question is answered from memory: at once, with the same answer, and it says so."""

import json
import shutil
import subprocess
import time

import httpx
import pytest

from models import EMBEDDING, QUESTION, TEXT
from pannier import HITS, PATIENCE
from same import masked

OPTIONS = {"temperature": 0, "seed": 7, "num_predict": 12}
MESSAGES = [{"role": "user", "content": QUESTION}]
V1 = {"model": TEXT, "temperature": 0, "seed": 7, "max_tokens": 12}

BODIES = {
    "/api/chat": {"model": TEXT, "messages": MESSAGES, "options": OPTIONS},
    "/api/generate": {"model": TEXT, "prompt": QUESTION, "options": OPTIONS},
    "/api/embed": {"model": EMBEDDING, "input": ["a llama", "a basket"]},
    "/api/embeddings": {"model": EMBEDDING, "prompt": "a llama"},
    "/v1/chat/completions": {**V1, "messages": MESSAGES},
    "/v1/completions": {**V1, "prompt": QUESTION},
    "/v1/embeddings": {"model": EMBEDDING, "input": "a llama"},
    "/v1/responses": {"model": TEXT, "input": QUESTION, "temperature": 0, "max_output_tokens": 12},
    "/v1/messages": {"model": TEXT, "messages": MESSAGES, "max_tokens": 12, "temperature": 0},
}


def ask(pannier, path, body, **headers):
    answer = httpx.post(pannier.url + path, json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def said(answer):
    """Every JSON value of the body, whole or in a stream, without what differs between two runs."""
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines()]
    return masked([json.loads(line) for line in lines if line.startswith("{")])


def hit(answer):
    return answer.headers["Cache-Status"].startswith("pannier; hit")


def ask_again(pannier, path, body):
    """The answer from memory, which is there a moment after the first one's last byte."""
    deadline = time.monotonic() + PATIENCE
    while not hit(answer := ask(pannier, path, body)):
        assert time.monotonic() < deadline, answer.headers["Cache-Status"]
    return answer


def until_kept(pannier, path, body):
    """Waits until the answer is in memory, without a trip that would bring it there."""
    deadline = time.monotonic() + PATIENCE
    ask_memory = {"json": body, "headers": {"Cache-Control": "only-if-cached"}}
    while (answer := httpx.post(pannier.url + path, **ask_memory)).status_code == 504:
        assert time.monotonic() < deadline, answer.headers
    assert hit(answer), answer.headers


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", BODIES)
def test_an_equal_request_is_a_hit(own, path, streamed):
    body = BODIES[path] | {"stream": streamed}
    first, second = ask(own, path, body), ask_again(own, path, body)
    assert not hit(first)
    assert said(first) and said(first) == said(second)
    assert first.headers["Content-Type"] == second.headers["Content-Type"]
    assert int(second.headers["Age"]) >= 0


def test_a_hit_takes_no_trip(own):
    body = BODIES["/api/chat"] | {"options": OPTIONS | {"num_predict": 100}}
    reported = json.loads(ask(own, "/api/chat", body | {"stream": False}).text)["eval_count"]
    assert own.used("output", reported) == reported
    until_kept(own, "/api/chat", body | {"stream": False})
    begun = time.monotonic()
    assert hit(ask(own, "/api/chat", body | {"stream": False}))
    assert time.monotonic() - begun < 0.25
    assert own.settled(2, **HITS) == 2
    assert own.used("output", reported) == reported


def test_another_question_is_a_miss(own):
    ask(own, "/api/embed", {"model": EMBEDDING, "input": "a llama"})
    assert not hit(ask(own, "/api/embed", {"model": EMBEDDING, "input": "a lama"}))


@pytest.mark.parametrize("path", ["/api/embeddings", "/api/embed"])
def test_a_name_in_another_case_is_what_ollama_takes_it_for(own, ollama_url, path):
    """The oldest route alone knows no model by such a name, whatever is kept under the right one."""
    ask(own, path, BODIES[path]), ask_again(own, path, BODIES[path])
    body = BODIES[path] | {"model": EMBEDDING.upper()}
    direct, kept = (httpx.post(url + path, json=body, timeout=60) for url in (ollama_url, own.url))
    assert (kept.status_code, hit(kept)) == (direct.status_code, direct.status_code == 200)
    assert kept.status_code == 200 or kept.text == direct.text


def test_a_client_may_ask_for_a_fresh_answer(own):
    body = BODIES["/api/embed"]
    ask(own, "/api/embed", body)
    assert not hit(ask(own, "/api/embed", body, **{"Cache-Control": "no-cache"}))
    until_kept(own, "/api/embed", body)
    assert hit(ask(own, "/api/embed", body))


def test_a_changed_model_forgets_its_answers(own, ollama_url):
    """`create` through the front door changes what the name means: the next question is answered anew."""
    made = "pannier-test-changing"
    body = {"model": made, "prompt": QUESTION, "stream": False, "options": OPTIONS}
    try:
        for system in ("Be brief.", "You are a pirate."):
            create = {"model": made, "from": TEXT, "system": system, "stream": False}
            httpx.post(f"{own.url}/api/create", json=create, timeout=60).raise_for_status()
            assert not hit(ask(own, "/api/generate", body))
            # A new model's digest may not be known yet when it is first asked.
            ask_again(own, "/api/generate", body)
    finally:
        httpx.request("DELETE", f"{ollama_url}/api/delete", json={"model": made})


def test_promtool_finds_nothing_to_say(own):
    if not (promtool := shutil.which("promtool")):
        pytest.skip("no promtool")
    for _ in range(2):
        ask(own, "/api/chat", BODIES["/api/chat"])
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=own.metrics(), capture_output=True, text=True, timeout=30
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
