"""ollama-python sees no difference."""

import ollama
import pytest

from models import COLOUR, EMBEDDING, GREEDY, PICTURES, QUESTION, STREAMED, TEXT, TOOLS, WEATHER_QUESTION, WEATHER_TOOL, picture
from road import Call, forwarded, remembered

MESSAGES = [{"role": "user", "content": QUESTION}]


def chat(url):
    return ollama.Client(url).chat(TEXT, MESSAGES, options=GREEDY)


def chat_streamed(url):
    return list(ollama.Client(url).chat(TEXT, MESSAGES, options=STREAMED, stream=True))


def chat_as_json(url):
    return ollama.Client(url).chat(TEXT, MESSAGES, options=GREEDY, format="json")


def chat_with_tools(url):
    messages = [{"role": "user", "content": WEATHER_QUESTION}]
    answer = ollama.Client(url).chat(TOOLS, messages, tools=[WEATHER_TOOL])
    assert answer.message.tool_calls[0].function.arguments == {"city": "Paris"}
    return answer


def chat_with_tools_streamed(url):
    messages = [{"role": "user", "content": WEATHER_QUESTION}]
    return list(ollama.Client(url).chat(TOOLS, messages, tools=[WEATHER_TOOL], options={"seed": 8}, stream=True))


def generate(url):
    return ollama.Client(url).generate(TEXT, QUESTION, options=GREEDY)


def generate_streamed(url):
    return list(ollama.Client(url).generate(TEXT, QUESTION, options=STREAMED, stream=True))


def generate_raw(url):
    return ollama.Client(url).generate(TEXT, QUESTION, raw=True, options=GREEDY)


def embed(url):
    return ollama.Client(url).embed(EMBEDDING, "a llama carries a basket")


def embed_many(url):
    return ollama.Client(url).embed(EMBEDDING, ["a llama", "carries", "a basket"])


def embeddings(url):
    return ollama.Client(url).embeddings(EMBEDDING, "a llama carries a basket")


def load(url):
    return ollama.Client(url).generate(TEXT)


def list_models(url):
    return sorted(model.model for model in ollama.Client(url).list().models)


def show(url):
    shown = ollama.Client(url).show(TEXT).model_dump()
    # Ollama lists the parameters in another order each time.
    shown["parameters"] = sorted(shown["parameters"].splitlines())
    return shown


def running(url):
    return sorted(model.model for model in ollama.Client(url).ps().models)


def create_copy_delete(url):
    client = ollama.Client(url)
    told = client.create("pannier-test-made", from_=TEXT, system="Be brief.", stream=True)
    # Whether Ollama still has a layer is not the same each time: it sweeps when it likes.
    seen = [part.status.replace("creating new layer", "using existing layer") for part in told]
    seen.append(client.copy("pannier-test-made", "pannier-test-copied").status)
    seen.append(client.show("pannier-test-copied").modelfile.count("Be brief."))
    seen += [client.delete(name).status for name in ("pannier-test-copied", "pannier-test-made")]
    return seen


def missing_model_chat(url):
    return ollama.Client(url).chat("no-such-model", MESSAGES)


def missing_model_streamed(url):
    return list(ollama.Client(url).chat("no-such-model", MESSAGES, stream=True))


def missing_model_embed(url):
    return ollama.Client(url).embed("no-such-model", "a llama")


def tools_on_a_model_without(url):
    return ollama.Client(url).chat(TEXT, MESSAGES, tools=[WEATHER_TOOL])


CALLS = [
    *remembered(chat, chat_streamed, chat_as_json, chat_with_tools, chat_with_tools_streamed),
    *remembered(generate, generate_streamed, generate_raw, embed, embed_many, embeddings),
    *forwarded(load, list_models, show, running, create_copy_delete),
    *forwarded(missing_model_chat, missing_model_streamed, missing_model_embed, tools_on_a_model_without),
]


@pytest.mark.parametrize("call", CALLS)
def test_sees_no_difference(call, road):
    road.compare(call)


def picture_question(url):
    red = ollama.Client(url).generate(PICTURES, COLOUR, images=[picture("red")], options=GREEDY)
    assert "red" in red.response.lower()
    return red


def test_sees_no_difference_with_a_picture(road, need_pictures):
    road.compare(Call(picture_question, remembered=True))
