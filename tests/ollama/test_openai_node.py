"""The openai package for JavaScript sees no difference."""

import pytest

import node
from road import forwarded, remembered


def ask(url, call):
    return node.ask("openai_node.cjs", url, call)


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


@node.needed
@pytest.mark.parametrize("call", CALLS)
def test_sees_no_difference(call, road):
    road.compare(call)
