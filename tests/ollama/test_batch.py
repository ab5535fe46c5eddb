"""Many texts on a real Ollama: the same vectors as one request for all of them gives, by route and by command."""

import json
import os
import subprocess

import httpx
import numpy

from models import EMBEDDING
from pannier import REPOSITORY

TEXTS = [f"{number} llamas carry {number * 7} baskets" for number in range(60)]
LONG = "llama " * 2000


def direct(url, texts):
    body = {"model": EMBEDDING, "input": texts}
    return httpx.post(f"{url}/api/embed", json=body, timeout=120).raise_for_status().json()


def batch(pannier, body):
    answer = httpx.post(f"{pannier.url}/embeddings/batch", json={"model": EMBEDDING} | body, timeout=120)
    return answer.raise_for_status()


def embed(pannier, *arguments, text, code=0):
    binary = os.environ.get("PANNIER_BIN", REPOSITORY / "target/debug/pannier")
    command = [binary, "embed", "--model", EMBEDDING, "--listen", pannier.url.removeprefix("http://"), *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return done


def test_a_batch_has_the_vectors_of_one_request(own, ollama_url):
    # Asked one by one, for Ollama computes another last digit where it is given several texts at once.
    alone = [direct(ollama_url, [text]) for text in TEXTS]
    vectors = [answer["embeddings"][0] for answer in alone]
    whole = batch(own, {"texts": TEXTS}).json()
    assert whole["embeddings"] == vectors
    assert whole["prompt_eval_count"] == sum(answer["prompt_eval_count"] for answer in alone)
    assert (whole["count"], whole["failed"], whole["known"]) == (len(TEXTS), 0, 0)
    lines = [json.loads(line) for line in batch(own, {"input": TEXTS, "stream": True}).text.splitlines()]
    assert [line["embedding"] for line in lines if "index" in line] == vectors
    assert (lines[0]["known"], lines[-1]["known"], lines[-1]["done"]) == (len(TEXTS), len(TEXTS), True)
    again = httpx.post(f"{own.url}/api/embed", json={"model": EMBEDDING, "input": TEXTS}, timeout=60)
    assert again.headers["Cache-Status"].startswith("pannier; hit")
    assert again.json()["embeddings"] == vectors


def test_one_text_that_ollama_refuses_loses_nothing_else(own, ollama_url):
    told = batch(own, {"texts": ["a llama", LONG, "a basket"], "truncate": False}).json()
    assert told["embeddings"][1] is None
    assert [vector is not None for vector in told["embeddings"]] == [True, False, True]
    error = told["errors"][0]
    assert (error["index"], error["code"], error["status"]) == (1, "refused", 400)
    refused = httpx.post(
        f"{ollama_url}/api/embed", json={"model": EMBEDDING, "input": LONG, "truncate": False}, timeout=60
    )
    assert (refused.status_code, refused.json()["error"]) == (error["status"], error["error"])


def test_a_model_that_is_not_there(own):
    answer = httpx.post(f"{own.url}/embeddings/batch", json={"model": "nobody", "texts": ["a"]}, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (404, "refused")
    assert "not found" in answer.json()["error"]


def test_the_command_writes_the_same_vectors(own, ollama_url):
    vectors = [direct(ollama_url, [text])["embeddings"][0] for text in TEXTS]
    text = "\n".join(TEXTS) + "\n"
    done = embed(own, "--window", "7", text=text)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["embedding"] for row in rows] == vectors
    assert [row["line"] for row in rows] == list(range(1, len(TEXTS) + 1))
    assert f"{len(TEXTS)} texts in " in done.stderr and "embeddings/s" in done.stderr
    done = embed(own, "--format", "csv", text=text)
    assert f"{len(TEXTS)} known before" in done.stderr
    table = [line.split(",") for line in done.stdout.splitlines()]
    assert [[float(number) for number in row[3:]] for row in table[1:]] == vectors


def test_numpy_reads_what_the_command_writes(own, ollama_url, tmp_path):
    vectors = [direct(ollama_url, [text])["embeddings"][0] for text in TEXTS]
    text = "\n".join(TEXTS) + "\n"
    path = tmp_path / "vectors.npy"
    embed(own, "--format", "npy", "--output", str(path), text=text)
    read = numpy.load(path)
    assert (read.dtype, read.shape) == (numpy.float32, (len(TEXTS), len(vectors[0])))
    assert (read == numpy.array(vectors, dtype=numpy.float32)).all()
