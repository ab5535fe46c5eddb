"""A name on the real Ollama that means one model now and another a moment later, and what each of them would say."""

import json
import os
import subprocess
import tempfile

import httpx

import weights
from models import EMBEDDING, QUESTION, TEXT

NAME = "pannier-test-shifting"
VECTORS = "pannier-test-shifting-vectors"
# How soon a change that does not pass through Pannier is noticed, in seconds.
NOTICED = 4.0

_STEADY = {"temperature": 0, "seed": 7, "num_thread": 1, "num_predict": 6}
_CUT = _STEADY | {"stop": ["a", "e", "i"]}
_OTHER_TEMPLATE = "{{- range .Messages }}{{ .Role }} says:\n{{ .Content }}\n{{ end }}llama says:\n"
_MESSAGES = [{"role": "user", "content": QUESTION}]
_V1 = {"temperature": 0, "seed": 7}

# Nothing in them decides how long an answer is, or how it begins: that is the model's own part.
QUESTIONS = {
    "/api/chat": {"model": NAME, "messages": _MESSAGES},
    "/api/generate": {"model": NAME, "prompt": QUESTION},
    "/v1/chat/completions": {"model": NAME, "messages": _MESSAGES, **_V1},
    "/v1/completions": {"model": NAME, "prompt": QUESTION, **_V1},
    "/v1/responses": {"model": NAME, "input": QUESTION, "temperature": 0},
    "/v1/messages": {"model": NAME, "messages": _MESSAGES, "max_tokens": 6, "temperature": 0},
    "/api/embed": {"model": VECTORS, "input": ["a llama", "a basket"]},
    "/api/embeddings": {"model": VECTORS, "prompt": "a llama"},
    "/v1/embeddings": {"model": VECTORS, "input": "a llama"},
}


def modes(path):
    return [False] if "embed" in path else [False, True]


def variant_name(variant, name=NAME):
    """What that variant is called where it never changes."""
    return f"{name}-{variant}"


def bodies(url):
    """How each variant is made: of the text model, and of the embedding model."""
    shown = httpx.post(f"{url}/api/show", json={"model": TEXT}).raise_for_status().json()
    plain = {"from": TEXT, "parameters": _STEADY}
    made = {
        "plain": (plain, {"from": EMBEDDING}),
        "template": (plain | {"template": _OTHER_TEMPLATE}, None),
        "system": (plain | {"system": "You are a pirate. You always say arr."}, None),
        "parameters": (plain | {"parameters": _CUT}, None),
        # Whatever the model is, this one says something else.
        "other": (plain | {"template": _OTHER_TEMPLATE, "parameters": _CUT}, None),
    }
    files = [weights.file_of(url, model) for model in (TEXT, EMBEDDING)]
    if all(files):
        tensors = ("output_norm.weight", "token_embd_norm.weight")
        digests = [weights.upload(url, weights.reversed_in(*one)) for one in zip(files, tensors)]
        text, vectors = ({"files": {"model.gguf": digest}} for digest in digests)
        made["weights"] = text | {"template": shown["template"], "parameters": _STEADY}, None
        # Both names change with these.
        for both in ("template", "other"):
            made[both] = made[both][0], vectors
    return made


class Shifting:
    """Makes the two names mean a variant, and knows which one they mean."""

    def __init__(self, ollama_url):
        self.url, self.variant, self._said = ollama_url, None, {}
        self.bodies = bodies(ollama_url)
        for variant, (text, vectors) in self.bodies.items():
            _create(self.url, variant_name(variant), text)
            if vectors:
                _create(self.url, variant_name(variant, VECTORS), vectors)
        self.shift("plain", create, self.url)

    def shift(self, variant, way, url):
        """To `variant`, in that way, by whoever listens at `url`."""
        before, self.variant = self.variant, variant
        for name, body in zip((NAME, VECTORS), self.bodies[variant]):
            twin = self._twin(variant, name)
            if before is None or twin != self._twin(before, name):
                way(url, name, twin, body or self.bodies["plain"][1])

    def says(self, path, variant=None):
        """What the model says that the name means, or that variant of it, asked where it never changes."""
        model = self.model(path, variant)
        if (model, path) not in self._said:
            body = QUESTIONS[path] | {"model": model, "stream": False}
            answer = httpx.post(self.url + path, json=body, timeout=120).raise_for_status()
            self._said[model, path] = told(path, answer)
        return self._said[model, path]

    def model(self, path, variant=None):
        """What that model, which answers on that route, is called where it never changes."""
        return self._twin(variant or self.variant, QUESTIONS[path]["model"])

    def _twin(self, variant, name):
        has_own = name == NAME or self.bodies[variant][1] is not None
        return variant_name(variant if has_own else "plain", name)

    def remove(self):
        for name in (NAME, VECTORS):
            for model in (name, *(variant_name(variant, name) for variant in self.bodies)):
                httpx.request("DELETE", f"{self.url}/api/delete", json={"model": model})


def told(path, answer):
    """The text or the vectors of an answer, in whichever mode it came."""
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines()]
    parts = [json.loads(line) for line in lines if line.startswith("{")]
    return _READ[path](parts)


def _joined(read):
    return lambda parts: "".join(read(part) or "" for part in parts)


def _response(parts):
    whole = parts[-1].get("response", parts[-1])
    return "".join(piece["text"] for item in whole["output"] for piece in item["content"])


def _message(parts):
    if "content" in parts[0]:
        return "".join(block["text"] for block in parts[0]["content"])
    return "".join(part["delta"]["text"] for part in parts if part["type"] == "content_block_delta")


def _choice(part):
    (choice,) = part["choices"]
    return choice["text"] if "text" in choice else choice.get("delta", choice.get("message")).get("content")


_READ = {
    "/api/chat": _joined(lambda part: part["message"]["content"]),
    "/api/generate": _joined(lambda part: part["response"]),
    "/v1/chat/completions": _joined(_choice),
    "/v1/completions": _joined(_choice),
    "/v1/responses": _response,
    "/v1/messages": _message,
    "/api/embed": lambda parts: parts[0]["embeddings"],
    "/api/embeddings": lambda parts: parts[0]["embedding"],
    "/v1/embeddings": lambda parts: [one["embedding"] for one in parts[0]["data"]],
}


# === ways


def create(url, name, _twin, body):
    _create(url, name, body)


def copy(url, name, twin, _body):
    httpx.post(f"{url}/api/copy", json={"source": twin, "destination": name}).raise_for_status()


def delete_and_copy(url, name, twin, body):
    httpx.request("DELETE", f"{url}/api/delete", json={"model": name}).raise_for_status()
    copy(url, name, twin, body)


def command_line(url, name, twin, _body):
    """`ollama create`, with a Modelfile."""
    with tempfile.NamedTemporaryFile("w", suffix=".modelfile") as modelfile:
        modelfile.write(f"FROM {twin}\n")
        modelfile.flush()
        made = subprocess.run(
            [os.environ["OLLAMA_BIN"], "create", name, "-f", modelfile.name],
            env=os.environ | {"OLLAMA_HOST": url},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert made.returncode == 0, made.stderr


def _create(url, name, body):
    made = httpx.post(f"{url}/api/create", json=body | {"model": name, "stream": False}, timeout=120)
    assert made.status_code == 200, made.text
