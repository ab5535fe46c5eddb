"""The walks through the house on a real Ollama: readers that join and leave, and a reload under load."""

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from models import EMBEDDING, LONG, QUESTION, TEXT
from pannier import PATIENCE
from same import masked

# Nothing stops smollm2 here before its 4,000 tokens are full: most of a minute.
LONG_STREAM = {"model": LONG, "prompt": "Count from 1 to 10000: 1, 2, 3, 4,", "raw": True}


# Seconds in which Ollama lets go of what it does not work on, also on a busy machine.
SOON = 10


def unloaded_after(url, model, patience):
    """Seconds until Ollama has let go of a model it was told to drop, which it does once nothing runs on it."""
    begun = time.monotonic()
    httpx.post(f"{url}/api/generate", json={"model": model, "keep_alive": 0}, timeout=patience)
    while time.monotonic() - begun < patience:
        loaded = [entry["name"] for entry in httpx.get(f"{url}/api/ps").json()["models"]]
        if f"{model}:latest" not in loaded:
            break
        time.sleep(0.05)
    return time.monotonic() - begun


def read(url, body, lines=None):
    """The first `lines` lines of a stream, all of them without a number, and hangs up."""
    read = []
    with httpx.stream("POST", f"{url}/api/generate", json=body, timeout=120) as answer:
        for line in answer.iter_lines():
            read.append(line)
            if len(read) == lines:
                break
    return read


def test_a_running_answer_keeps_its_model_loaded(ollama_url):
    """The measure itself: while Ollama generates, the model stays, so letting go tells that it stopped."""
    with httpx.stream("POST", f"{ollama_url}/api/generate", json=LONG_STREAM, timeout=120) as answer:
        lines = answer.iter_lines()
        next(lines)
        # `lines` must live on: without it the client hangs up.
        assert unloaded_after(ollama_url, LONG, patience=SOON) >= SOON
        next(lines)


@pytest.mark.parametrize("lines", [1, 20])
def test_ollama_stops_when_the_last_reader_leaves(own, ollama_url, lines):
    read(own.url, LONG_STREAM, lines)
    assert unloaded_after(ollama_url, LONG, patience=2 * SOON) < SOON


def test_ollama_stops_when_a_reader_of_a_whole_answer_leaves(own, ollama_url):
    read(ollama_url, LONG_STREAM, 1)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{own.url}/api/generate", json=LONG_STREAM | {"stream": False}, timeout=1)
    assert unloaded_after(ollama_url, LONG, patience=2 * SOON) < SOON


def test_who_joins_gets_the_whole_answer_even_when_the_first_has_left(own):
    """Four ask the same; the first hangs up; three get one and the same answer, from one trip."""
    body = {"model": TEXT, "prompt": "Write about llamas.", "options": {"temperature": 0, "num_predict": 150}}
    begun = threading.Event()

    def first():
        with httpx.stream("POST", f"{own.url}/api/generate", json=body, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            begun.set()
            next(lines)

    with ThreadPoolExecutor() as pool:
        leaving = pool.submit(first)
        assert begun.wait(30)
        joining = [pool.submit(read, own.url, body) for _ in range(3)]
        leaving.result()
        answers = [[masked(json.loads(line)) for line in reader.result()] for reader in joining]
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) > 100 and answers[0][-1]["done"]
    assert own.settled(4, "pannier_llm_requests_total") == 4
    assert own.used("output", 150) == 150


def test_many_at_once_are_one_trip(own):
    body = {"model": TEXT, "prompt": QUESTION, "stream": False, "options": {"temperature": 0, "num_predict": 20}}

    def ask(_):
        return httpx.post(f"{own.url}/api/generate", json=body, timeout=60).json()

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(ask, range(40)))
    assert all(masked(answer) == masked(answers[0]) for answer in answers)
    assert own.used("output", answers[0]["eval_count"]) == answers[0]["eval_count"]


def test_a_reload_under_load_loses_nobody(start_own, tmp_path):
    """New settings hold for the next request; a bad file changes nothing; running requests notice neither."""
    settings = tmp_path / "pannier.toml"
    settings.write_text("[cache]\nenabled = true\n")
    pannier = start_own(config=settings)
    body = {"model": EMBEDDING, "input": "a llama"}

    def ask(_=None):
        answer = httpx.post(f"{pannier.url}/api/embed", json=body, timeout=60)
        assert answer.status_code == 200
        return answer.headers.get("Cache-Status", "")

    def until(wanted):
        deadline = time.monotonic() + PATIENCE
        while ("hit" in ask()) != wanted:
            assert time.monotonic() < deadline, pannier.log.read_text()[-2000:]
            time.sleep(0.02)

    ask()
    with ThreadPoolExecutor(4) as pool:
        load = [pool.submit(ask) for _ in range(400)]
        for enabled in ("false", "true"):
            settings.write_text(f"[cache]\nenabled = {enabled}\n")
            pannier.process.send_signal(signal.SIGHUP)
            until(enabled == "true")
        settings.write_text("[cache]\nenabeld = false\n")
        pannier.process.send_signal(signal.SIGHUP)
        assert all(isinstance(answer.result(), str) for answer in load)
    assert "hit" in ask()
    assert "enabeld" in pannier.log.read_text()
