"""OpenAI's Python client, pointed at Pannier: a streamed chat and an embedding.  pip install openai"""

import os

from openai import OpenAI

url = os.environ.get("PANNIER_URL", "http://127.0.0.1:8000")
client = OpenAI(base_url=f"{url}/v1", api_key="any")

question = {"role": "user", "content": "What is the capital of France?"}
stream = client.chat.completions.create(
    model="smollm2:135m", messages=[question], temperature=0, stream=True
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()

vectors = client.embeddings.create(model="all-minilm", input=["a llama", "a basket"]).data
print(len(vectors), "vectors of", len(vectors[0].embedding), "numbers")
