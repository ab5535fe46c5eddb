"""anthropic-python sees no difference."""

import anthropic
import pytest

from models import QUESTION, TEXT, TOOLS, WEATHER, WEATHER_QUESTION
from road import forwarded, remembered

MESSAGES = [{"role": "user", "content": QUESTION}]
WEATHER_TOOL = {
    "name": WEATHER["name"],
    "description": WEATHER["description"],
    "input_schema": WEATHER["parameters"],
}
# This client sends no temperature of its own accord, but lets one be written into the body.
GREEDY = {"max_tokens": 24, "extra_body": {"temperature": 0}}
# Another question: what is stored whole answers a stream too, in frames of its own.
STREAMED = GREEDY | {"max_tokens": 23}


def client(url):
    return anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0)


def message(url):
    return client(url).messages.create(model=TEXT, messages=MESSAGES, **GREEDY)


def message_with_system(url):
    return client(url).messages.create(model=TEXT, system="Be brief.", messages=MESSAGES, **GREEDY)


def message_streamed(url):
    return list(client(url).messages.create(model=TEXT, messages=MESSAGES, stream=True, **STREAMED))


def message_accumulated(url):
    with client(url).messages.stream(model=TEXT, messages=MESSAGES, **STREAMED) as stream:
        return stream.get_final_message()


def message_with_tools(url):
    messages = [{"role": "user", "content": WEATHER_QUESTION}]
    answer = client(url).messages.create(model=TOOLS, messages=messages, tools=[WEATHER_TOOL], **GREEDY)
    assert [block.input for block in answer.content if block.type == "tool_use"] == [{"city": "Paris"}]
    return answer


def message_with_tools_streamed(url):
    messages = [{"role": "user", "content": WEATHER_QUESTION}]
    return list(
        client(url).messages.create(model=TOOLS, messages=messages, tools=[WEATHER_TOOL], stream=True, **STREAMED)
    )


def missing_model(url):
    return client(url).messages.create(model="no-such-model", messages=MESSAGES, max_tokens=8)


def missing_model_streamed(url):
    return list(client(url).messages.create(model="no-such-model", messages=MESSAGES, max_tokens=8, stream=True))


def count_tokens(url):
    return client(url).messages.count_tokens(model=TEXT, messages=MESSAGES)


CALLS = [
    *remembered(message, message_with_system, message_streamed, message_accumulated),
    *remembered(message_with_tools, message_with_tools_streamed),
    *forwarded(missing_model, missing_model_streamed, count_tokens),
]


@pytest.mark.parametrize("call", CALLS)
def test_sees_no_difference(call, road):
    road.compare(call)
