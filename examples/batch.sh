#!/usr/bin/env bash
# Many texts in one request, each answered by itself: one that is none is told by its number, and loses nothing else.
set -euo pipefail
url=${PANNIER_URL:-http://127.0.0.1:8000}

curl --silent --show-error --fail "$url/embeddings/batch" --header 'Accept: application/x-ndjson' --data '{
  "model": "all-minilm",
  "texts": ["Why is the sky blue?", 7, "What is the capital of France?"]
}' | cut -c -100
