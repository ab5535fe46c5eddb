"""Ollama's Python client, pointed at Pannier: a streamed chat and an embedding.  pip install ollama"""

import os

import ollama

client = ollama.Client(os.environ.get("PANNIER_URL", "http://127.0.0.1:8000"))

question = {"role": "user", "content": "What is the capital of France?"}
for part in client.chat("smollm2:135m", [question], options={"temperature": 0}, stream=True):
    print(part.message.content, end="", flush=True)
print()

vectors = client.embed("all-minilm", ["a llama", "a basket"]).embeddings
print(len(vectors), "vectors of", len(vectors[0]), "numbers")
