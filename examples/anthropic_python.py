"""Anthropic's Python client, pointed at Pannier: a streamed message.  pip install anthropic"""

import os

from anthropic import Anthropic

client = Anthropic(base_url=os.environ.get("PANNIER_URL", "http://127.0.0.1:8000"), api_key="any")

question = {"role": "user", "content": "What is the capital of France?"}
with client.messages.stream(model="smollm2:135m", max_tokens=64, messages=[question]) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
print()
