"""openai-python sees no difference."""

import base64

import openai
import pytest

from models import COLOUR, EMBEDDING, PICTURES, QUESTION, TEXT, TOOLS, WEATHER, WEATHER_QUESTION, WEATHER_TOOL, picture
from road import Call, forwarded, remembered

MESSAGES = [{"role": "user", "content": QUESTION}]
GREEDY = {"temperature": 0, "seed": 7, "max_tokens": 24}
# The same in another question: what is stored whole answers a stream too, in frames of its own.
STREAMED = GREEDY | {"seed": 8}


def client(url):
    # A retry would hide the first answer.
    return openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)


def chat(url):
    return client(url).chat.completions.create(model=TEXT, messages=MESSAGES, **GREEDY)


def chat_streamed(url):
    stream = client(url).chat.completions.create(model=TEXT, messages=MESSAGES, stream=True, **STREAMED)
    chunks = list(stream)
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    return chunks


def chat_streamed_with_usage(url):
    usage = {"include_usage": True}
    stream = client(url).chat.completions.create(
        model=TEXT, messages=MESSAGES, stream=True, stream_options=usage, **STREAMED
    )
    chunks = list(stream)
    assert chunks[-1].usage.completion_tokens > 0
    return chunks


def chat_accumulated(url):
    with client(url).chat.completions.stream(model=TEXT, messages=MESSAGES, **STREAMED) as stream:
        return stream.get_final_completion()


def chat_with_tools(url):
    messages = [{"role": "user", "content": WEATHER_QUESTION}]
    answer = client(url).chat.completions.create(model=TOOLS, messages=messages, tools=[WEATHER_TOOL], **GREEDY)
    assert answer.choices[0].message.tool_calls[0].function.arguments == '{"city":"Paris"}'
    return answer


def chat_with_tools_streamed(url):
    messages = [{"role": "user", "content": WEATHER_QUESTION}]
    return list(
        client(url).chat.completions.create(
            model=TOOLS, messages=messages, tools=[WEATHER_TOOL], stream=True, **STREAMED
        )
    )


def completion(url):
    return client(url).completions.create(model=TEXT, prompt=QUESTION, **GREEDY)


def completion_streamed(url):
    return list(client(url).completions.create(model=TEXT, prompt=QUESTION, stream=True, **STREAMED))


def completion_streamed_with_usage(url):
    usage = {"include_usage": True}
    stream = client(url).completions.create(
        model=TEXT, prompt=QUESTION, stream=True, stream_options=usage, **STREAMED
    )
    return list(stream)


def embeddings_as_floats(url):
    return client(url).embeddings.create(model=EMBEDDING, input=["a llama", "a basket"], encoding_format="float")


def embeddings_as_base64(url):
    return client(url).embeddings.create(model=EMBEDDING, input="a llama", encoding_format="base64")


def embeddings_by_default(url):
    return client(url).embeddings.create(model=EMBEDDING, input="carries a basket")


def response(url):
    return client(url).responses.create(model=TEXT, input=QUESTION, temperature=0, max_output_tokens=24)


def response_streamed(url):
    return list(
        client(url).responses.create(model=TEXT, input=QUESTION, temperature=0, max_output_tokens=23, stream=True)
    )


def response_with_tools(url):
    tool = {"type": "function", "strict": False, **WEATHER}
    return client(url).responses.create(model=TOOLS, input=WEATHER_QUESTION, temperature=0, tools=[tool])


def list_models(url):
    return sorted(model.id for model in client(url).models.list())


def retrieve_model(url):
    return client(url).models.retrieve(TEXT)


def missing_model(url):
    return client(url).chat.completions.create(model="no-such-model", messages=MESSAGES)


def missing_model_streamed(url):
    return list(client(url).chat.completions.create(model="no-such-model", messages=MESSAGES, stream=True))


def empty_input(url):
    return client(url).embeddings.create(model=EMBEDDING, input=[])


CALLS = [
    *remembered(chat, chat_streamed, chat_streamed_with_usage, chat_accumulated),
    *remembered(chat_with_tools, chat_with_tools_streamed),
    *remembered(completion, completion_streamed, completion_streamed_with_usage),
    *remembered(embeddings_as_floats, embeddings_as_base64, embeddings_by_default),
    *remembered(response, response_streamed, response_with_tools),
    *forwarded(list_models, retrieve_model, missing_model, missing_model_streamed, empty_input),
]


@pytest.mark.parametrize("call", CALLS)
def test_sees_no_difference(call, road):
    road.compare(call)


def picture_question(url):
    red = f"data:image/png;base64,{base64.b64encode(picture('red').read_bytes()).decode()}"
    content = [{"type": "image_url", "image_url": {"url": red}}, {"type": "text", "text": COLOUR}]
    return client(url).chat.completions.create(
        model=PICTURES, messages=[{"role": "user", "content": content}], **GREEDY
    )


def test_sees_no_difference_with_a_picture(road, need_pictures):
    road.compare(Call(picture_question, remembered=True))
