"""LangChain, pointed at Pannier: a chat and an embedding.  pip install langchain-ollama"""

import os

from langchain_ollama import ChatOllama, OllamaEmbeddings

url = os.environ.get("PANNIER_URL", "http://127.0.0.1:8000")

answer = ChatOllama(model="smollm2:135m", base_url=url, temperature=0).invoke("What is the capital of France?")
print(answer.content)
print(answer.usage_metadata)

vectors = OllamaEmbeddings(model="all-minilm", base_url=url).embed_documents(["a llama", "a basket"])
print(len(vectors), "vectors of", len(vectors[0]), "numbers")
