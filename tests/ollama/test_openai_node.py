"""The openai package for JavaScript sees no difference."""

import json
import os
import subprocess
from pathlib import Path

import pytest

import models
from road import forwarded, remembered

SCRIPT = Path(__file__).with_name("openai_node.cjs")


def ask(url, call):
    known = {"TEXT": models.TEXT, "EMBEDDING": models.EMBEDDING, "QUESTION": models.QUESTION}
    node = os.environ.get("NODE_BIN", "node")
    done = subprocess.run(
        [node, SCRIPT, url, call], env=os.environ | known, capture_output=True, text=True, timeout=120, check=True
    )
    return json.loads(done.stdout)


def chat(url):
    return ask(url, "chat")


def chat_streamed(url):
    return ask(url, "chat_streamed")


def chat_streamed_with_usage(url):
    return ask(url, "chat_streamed_with_usage")


def response_streamed(url):
    return ask(url, "response_streamed")


def embeddings(url):
    return ask(url, "embeddings")


def missing_model(url):
    return ask(url, "missing_model")


CALLS = [
    *remembered(chat, chat_streamed, chat_streamed_with_usage, response_streamed, embeddings),
    *forwarded(missing_model),
]


@pytest.mark.skipif("NODE_PATH" not in os.environ, reason="no node with the openai package")
@pytest.mark.parametrize("call", CALLS)
def test_sees_no_difference(call, road):
    road.compare(call)
