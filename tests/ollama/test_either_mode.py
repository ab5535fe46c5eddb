"""What was stored whole answers a stream, and the other way round: a client makes the same of both.

A stream is compared as what the client adds up of it: its own accumulator where it has one. In how many
frames a text comes is nobody's promise.
"""

import json
import os
import time

import anthropic
import httpx
import ollama
import openai
import pytest
from langchain_ollama import ChatOllama
from pydantic import BaseModel

import node
from models import (
    GREEDY,
    QUESTION,
    STEADY,
    TEXT,
    THINKING,
    THINKING_QUESTION,
    TOOLS,
    WEATHER,
    WEATHER_QUESTION,
    WEATHER_TOOL,
)
from pannier import HITS, PATIENCE
from recorder import Recorder
from same import masked, plain


class City(BaseModel):
    city: str
    people: int


MESSAGES = [{"role": "user", "content": QUESTION}]
LETTERS = [{"role": "user", "content": 'Repeat: 😀 é 中文 "quoted" <b>&amp;</b> \\\\ \u2028'}]
CITY = [{"role": "user", "content": "Name a city as JSON."}]
WEATHER_MESSAGES = [{"role": "user", "content": WEATHER_QUESTION}]
THINKING_MESSAGES = [{"role": "user", "content": THINKING_QUESTION}]
SCHEMA = City.model_json_schema()
V1 = {"temperature": 0, "seed": 7, "max_tokens": 24}


def together(parts):
    """What the frames of a stream say all together: texts and lists joined, the last word on everything else."""
    whole = {}
    for part in parts:
        for name, value in part.items():
            before = whole.get(name)
            if isinstance(value, dict) and isinstance(before, dict):
                whole[name] = together([before, value])
            elif isinstance(value, list) and isinstance(before, list):
                whole[name] = before + value
            elif name in ("content", "thinking", "response", "text") and before is not None:
                whole[name] = before + (value or "")
            elif value is not None or name not in whole:
                whole[name] = value
    return whole


# === ollama-python

OLLAMA_CHATS = {
    "text": {"model": TEXT, "messages": MESSAGES, "options": GREEDY},
    "letters": {"model": TEXT, "messages": LETTERS, "options": GREEDY | {"num_predict": 40}},
    "cut_off": {"model": TEXT, "messages": MESSAGES, "options": GREEDY | {"num_predict": 1}},
    "logprobs": {"model": TEXT, "messages": MESSAGES, "options": GREEDY, "logprobs": True, "top_logprobs": 2},
    "schema": {"model": TEXT, "messages": CITY, "options": GREEDY | {"num_predict": 60}, "format": SCHEMA},
    "thinking": {"model": THINKING, "messages": THINKING_MESSAGES, "think": True},
    "tools": {"model": TOOLS, "messages": WEATHER_MESSAGES, "tools": [WEATHER_TOOL]},
}
OLLAMA_TEXTS = {
    "context": {"model": TEXT, "prompt": QUESTION, "options": GREEDY},
    "raw": {"model": TEXT, "prompt": QUESTION, "options": GREEDY, "raw": True, "logprobs": True},
    "schema": {"model": TEXT, "prompt": "Name a city as JSON.", "options": GREEDY, "format": SCHEMA},
    "thinking": {"model": THINKING, "prompt": THINKING_QUESTION, "think": True},
}


def ollama_chat(url, question):
    return ollama.Client(url).chat(**question)


def ollama_chat_streamed(url, question):
    return together(plain(list(ollama.Client(url).chat(**question, stream=True))))


def ollama_generate(url, question):
    return ollama.Client(url).generate(**question)


def ollama_generate_streamed(url, question):
    return together(plain(list(ollama.Client(url).generate(**question, stream=True))))


# === openai-python

# Its accumulators parse the arguments, and take only tools that are strict.
_STRICT = {**WEATHER, "strict": True, "parameters": {**WEATHER["parameters"], "additionalProperties": False}}
OPENAI_CHATS = {
    "text": {"model": TEXT, "messages": MESSAGES, **V1},
    # Of which Ollama makes one.
    "many": {"model": TEXT, "messages": MESSAGES, **V1, "n": 2},
    "logprobs": {"model": TEXT, "messages": MESSAGES, **V1, "logprobs": True, "top_logprobs": 2},
    "schema": {"model": TEXT, "messages": CITY, **V1, "max_tokens": 60, "response_format": City},
    "reasoning": {"model": THINKING, "messages": THINKING_MESSAGES, **V1, "reasoning_effort": "high"},
    "tools": {"model": TOOLS, "messages": WEATHER_MESSAGES, **V1, "tools": [{"type": "function", "function": _STRICT}]},
}
RESPONSES = {
    "text": {"model": TEXT, "input": QUESTION, "instructions": "Be <brief>.", "max_output_tokens": 24},
    "schema": {"model": TEXT, "input": "Name a city as JSON.", "text_format": City, "max_output_tokens": 60},
    "reasoning": {"model": THINKING, "input": THINKING_QUESTION, "reasoning": {"effort": "high"}},
    "reasoning_only": {
        "model": THINKING,
        "input": THINKING_QUESTION,
        "reasoning": {"effort": "high", "summary": "auto"},
        "max_output_tokens": 3,
    },
    "tools": {"model": TOOLS, "input": WEATHER_QUESTION, "tools": [{"type": "function", "strict": True, **WEATHER}]},
}
RESPONSES = {name: question | {"temperature": 0} for name, question in RESPONSES.items()}


def openai_client(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)


def openai_chat(url, question):
    return openai_client(url).chat.completions.parse(**question)


def openai_chat_streamed(url, question):
    with openai_client(url).chat.completions.stream(**question) as stream:
        return stream.get_final_completion()


def openai_chat_streamed_with_usage(url, question):
    with openai_client(url).chat.completions.stream(**question, stream_options={"include_usage": True}) as stream:
        final = stream.get_final_completion()
    assert final.usage.completion_tokens > 0
    return final


def completion(url, question):
    return openai_client(url).completions.create(**question)


def completion_streamed(url, question):
    chunks = plain(list(openai_client(url).completions.create(**question, stream=True)))
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in chunks)
    return together([chunk | chunk["choices"][0] | {"choices": None} for chunk in chunks])


def completion_streamed_with_usage(url, question):
    usage = {"include_usage": True}
    chunks = plain(list(openai_client(url).completions.create(**question, stream=True, stream_options=usage)))
    *said, last = chunks
    assert not last["choices"] and last["usage"]["completion_tokens"] > 0
    return together([chunk | chunk["choices"][0] | {"choices": None} for chunk in said] + [last])


def response(url, question):
    return openai_client(url).responses.parse(**question)


def response_streamed(url, question):
    """Each kind of event once, and what the client's accumulator makes of them all."""
    with openai_client(url).responses.stream(**question) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_response()
    return {"events": list(dict.fromkeys(events)), "final": plain(final)}


# === anthropic-python

_ANTHROPIC_TOOL = {
    "name": WEATHER["name"],
    "description": WEATHER["description"],
    "input_schema": WEATHER["parameters"],
}
# This client sends no temperature of its own accord, but lets one be written into the body.
_GREEDY_MESSAGE = {"max_tokens": 24, "extra_body": {"temperature": 0}}
ANTHROPIC = {
    "text": {"model": TEXT, "messages": MESSAGES, **_GREEDY_MESSAGE},
    "stopped": {"model": TEXT, "messages": MESSAGES, **_GREEDY_MESSAGE, "stop_sequences": ["France"]},
    "thinking": {
        "model": THINKING,
        "messages": THINKING_MESSAGES,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        **_GREEDY_MESSAGE,
    },
    "tools": {"model": TOOLS, "messages": WEATHER_MESSAGES, "tools": [_ANTHROPIC_TOOL], **_GREEDY_MESSAGE},
}


def message(url, question):
    return anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0).messages.create(**question)


def message_streamed(url, question):
    client = anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0)
    with client.messages.stream(**question) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_message()
    return {"events": list(dict.fromkeys(events)), "final": plain(final)}


# === LangChain

LANGCHAIN = {
    "text": {"model": STEADY, "ask": QUESTION},
    "reasoning": {"model": THINKING, "ask": THINKING_QUESTION, "reasoning": True},
    "tools": {"model": TOOLS, "ask": WEATHER_QUESTION, "tools": [WEATHER_TOOL]},
}


def _langchain(model, tools):
    return model.bind_tools(tools) if tools else model


def langchain_ollama(url, question):
    """Streams under the hood."""
    model = ChatOllama(model=question["model"], base_url=url, reasoning=question.get("reasoning"))
    return _langchain(model, question.get("tools")).invoke(question["ask"])


def langchain_ollama_streamed(url, question):
    model = ChatOllama(model=question["model"], base_url=url, reasoning=question.get("reasoning"))
    first, *more = _langchain(model, question.get("tools")).stream(question["ask"])
    return sum(more, first)


def _chat_openai(url, question):
    langchain = pytest.importorskip("langchain_openai")
    model = langchain.ChatOpenAI(
        model=question["model"],
        base_url=f"{url}/v1",
        api_key="unused",
        temperature=0,
        max_retries=0,
        reasoning_effort="high" if question.get("reasoning") else None,
        stream_usage=True,
    )
    return _langchain(model, question.get("tools"))


def langchain_openai(url, question):
    return _chat_openai(url, question).invoke(question["ask"])


def langchain_openai_streamed(url, question):
    first, *more = _chat_openai(url, question).stream(question["ask"])
    return sum(more, first)


# === ollama-js and openai for JavaScript


def on_node(script):
    def ask(url, question):
        return node.ask(script, url, question["call"])

    ask.__name__ = script
    return ask


NODE_OLLAMA = ["chat", "chat_added_up", "chat_with_tools", "chat_with_tools_added_up", "generate", "generate_added_up"]
NODE_OPENAI = ["chat", "chat_added_up", "chat_with_tools", "chat_with_tools_added_up", "response", "response_added_up"]


# === the comparison


def cases(questions, *asks):
    return [
        pytest.param(ask, question, id=f"{ask.__name__}-{name}")
        for ask in asks
        for name, question in questions.items()
    ]


def node_cases(script, calls):
    return [
        pytest.param(on_node(script), {"call": call}, id=f"{script.split('.')[0]}-{call}", marks=node.needed)
        for call in calls
    ]


CASES = [
    *cases(OLLAMA_CHATS, ollama_chat, ollama_chat_streamed),
    *cases(OLLAMA_TEXTS, ollama_generate, ollama_generate_streamed),
    *cases(OPENAI_CHATS, openai_chat, openai_chat_streamed, openai_chat_streamed_with_usage),
    *cases({"text": {"model": TEXT, "prompt": QUESTION, **V1}}, completion, completion_streamed),
    *cases({"text": {"model": TEXT, "prompt": QUESTION, **V1}}, completion_streamed_with_usage),
    *cases(RESPONSES, response, response_streamed),
    *cases(ANTHROPIC, message, message_streamed),
    *cases(LANGCHAIN, langchain_ollama, langchain_ollama_streamed),
    *cases(LANGCHAIN, langchain_openai, langchain_openai_streamed),
    *node_cases("ollama_node.cjs", NODE_OLLAMA),
    *node_cases("openai_node.cjs", NODE_OPENAI),
]


@pytest.fixture(scope="module")
def fresh(ollama_url):
    """What a client makes of Ollama's own answer, and how it asked: path, body, and the body in the other mode."""
    recorder, answers = Recorder(ollama_url), {}

    def fresh(ask, question):
        key = (ask.__name__, json.dumps(question, default=str))
        if key not in answers:
            answer = masked(ask(recorder.url, question))
            answers[key] = answer, recorder.path, recorder.body, recorder.in_other_mode()
        return answers[key]

    yield fresh
    recorder.close()


@pytest.fixture(scope="module")
def _pannier(start):
    if "PANNIER_URL" in os.environ:
        pytest.skip("needs a Pannier of its own")
    return start(cache__database__enabled="false")


@pytest.fixture
def empty(_pannier):
    """A Pannier that remembers nothing yet."""
    _pannier.forget()
    return _pannier


def stored(pannier, path, body):
    """Asks until the answer is remembered: it is stored behind the back of whoever was first. The last one is a hit."""
    httpx.post(pannier.url + path, json=body, timeout=120)
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = httpx.post(pannier.url + path, json=body, timeout=120)
        assert answer.status_code == 200, answer.text
        if answer.headers["Cache-Status"].startswith("pannier; hit"):
            return answer
        assert time.monotonic() < deadline, "not remembered"


def is_turned(path, body, answer):
    """Whether what was stored can answer the other mode. A whole answer of the responses API leaves out what was
    said beside a call, so that no stream can be made of it."""
    leaves_out = path == "/v1/responses" and not body["stream"]
    return not (leaves_out and any(item["type"] == "function_call" for item in answer.json()["output"]))


@pytest.mark.parametrize("other_mode", [True, False], ids=["of_the_other_mode", "of_the_same_mode"])
@pytest.mark.parametrize("ask, question", CASES)
def test_a_client_makes_the_same_of_a_replay(empty, fresh, ask, question, other_mode):
    expected, path, body, in_other_mode = fresh(ask, question)
    body = in_other_mode if other_mode else body
    before = empty.total(**HITS)
    answer = stored(empty, path, body)
    hits = before + 1 + (not other_mode or is_turned(path, body, answer))
    # An Ollama that is too busy to list its models in time is asked for the answer.
    for _ in range(3):
        assert masked(ask(empty.url, question)) == expected
        if empty.settled(hits, **HITS) == hits:
            return
    raise AssertionError("not answered from memory")
