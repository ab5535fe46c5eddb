"""A model is pulled through Pannier: its progress is seen as it goes, and the model is known at its end."""

import json

import httpx
import pytest

from registry import LAYER, Registry


@pytest.fixture
def registry(ollama_url):
    with Registry() as registry:
        yield registry
        httpx.request("DELETE", f"{ollama_url}/api/delete", json={"model": registry.model})


def pull(url, registry):
    """Each line, as it comes."""
    asked = {"model": registry.model, "insecure": True}
    with httpx.stream("POST", f"{url}/api/pull", json=asked, timeout=60) as answer:
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        yield from map(json.loads, answer.iter_lines())


def test_progress_is_told_while_it_goes(own, registry):
    lines = pull(own.url, registry)
    under_way = next(line for line in lines if line.get("completed", 0) > 0)
    assert under_way["completed"] < under_way["total"] == len(LAYER)
    assert not registry.released.is_set()
    registry.released.set()
    rest = list(lines)
    assert rest[-1] == {"status": "success"}, rest
    name = registry.model.removeprefix("http://")
    assert name in [model["name"] for model in httpx.get(f"{own.url}/api/tags").json()["models"]]


def test_who_leaves_calls_it_off(own, registry):
    lines = pull(own.url, registry)
    next(line for line in lines if line.get("completed", 0) > 0)
    assert not registry.left.is_set()
    lines.close()
    assert registry.left.wait(30), "Ollama goes on pulling"
