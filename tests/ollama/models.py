"""The models that the tests talk to, and those that they make on the real Ollama for themselves."""

import os
from pathlib import Path

import ollama

from pannier import REPOSITORY

TEXT = "smollm2:135m"
EMBEDDING = "all-minilm"
PICTURES = "toycolour"
# Made by the tests, and removed by them.
TOOLS = "pannier-test-tools"
THINKING = "pannier-test-thinking"
STEADY = "pannier-test-steady"
LONG = "pannier-test-long"
# Sees as PICTURES does, and comes to an end. Made where that is there.
SEEING = "pannier-test-seeing"

QUESTION = "What is the capital of France?"
COLOUR = " is the color of the picture. What is the color of the picture?"
GREEDY = {"temperature": 0, "seed": 7, "num_predict": 24}
# The same in another question: what is stored whole answers a stream too, in frames of its own.
STREAMED = GREEDY | {"seed": 8}

WEATHER = {
    "name": "get_weather",
    "description": "the weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
WEATHER_TOOL = {"type": "function", "function": WEATHER}
WEATHER_QUESTION = "What is the weather in Paris?"


def picture(colour):
    """A picture of nothing but this colour."""
    return _asset(f"vision/{colour}.png")


def speech(path):
    """A recording, or weights to listen with."""
    return _asset(path)


def _asset(path):
    return Path(os.environ.get("PANNIER_TEST_ASSETS") or REPOSITORY.parent / "shared/assets") / path


# smollm2 knows no tools. With this template, an example and no randomness it reliably writes one call.
_TOOLS_TEMPLATE = """\
{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{- if .Tools }}<|im_start|>system
{{ .Tools }}<|im_end|>
{{ end }}{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
_TOOLS_SYSTEM = (
    "You call functions. You answer with nothing but JSON like "
    '{"name": "get_weather", "arguments": {"city": "Berlin"}}.'
)


def _example(city):
    return [
        {"role": "user", "content": f"What is the weather in {city}?"},
        {"role": "assistant", "content": f'{{"name": "get_weather", "arguments": {{"city": "{city}"}}}}'},
    ]

# Nor does it think; with this one, and examples, it puts a few words before its answer.
_THINKING_TEMPLATE = """\
{{- range $i, $_ := .Messages }}<|im_start|>{{ .Role }}
{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ if .Think }}<think>{{ end }}"""
THINKING_QUESTION = "4+4?"


def _thought(question, thought, answer):
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": f"<think>{thought}</think>{answer}"},
    ]


def make(url):
    """Creates the tests' own models. One thread each: on few cores more are slower and starve the tests."""
    client = ollama.Client(url)
    steady = {"temperature": 0, "seed": 7, "num_thread": 1}
    client.create(
        TOOLS,
        from_=TEXT,
        template=_TOOLS_TEMPLATE,
        system=_TOOLS_SYSTEM,
        messages=_example("Berlin") + _example("Madrid"),
        parameters=steady,
    )
    client.create(
        THINKING,
        from_=TEXT,
        template=_THINKING_TEMPLATE,
        messages=_thought("2+2?", "Two and two.", "4")
        + _thought("3+3?", "Three and three.", "6")
        + _thought("5+1?", "Five and one.", "6"),
        parameters=steady,
    )
    client.create(STEADY, from_=TEXT, parameters=steady | {"num_predict": 24})
    client.create(LONG, from_=TEXT, parameters=steady | {"num_predict": 4000, "num_ctx": 8192})
    if PICTURES in listed(client):
        client.create(SEEING, from_=PICTURES, parameters=steady | {"num_predict": 12})


def listed(client):
    """The names of all models that are there."""
    return {model.model.removesuffix(":latest") for model in client.list().models}


def remove(url):
    client = ollama.Client(url)
    for name in {TOOLS, THINKING, STEADY, LONG, SEEING} & listed(client):
        client.delete(name)
