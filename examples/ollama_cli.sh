#!/usr/bin/env bash
# Ollama's own command line, pointed at Pannier.
set -euo pipefail
export OLLAMA_HOST=${PANNIER_URL:-http://127.0.0.1:8000}

ollama list
ollama run "${PANNIER_CHAT_MODEL:-smollm2:135m}" "What is the capital of France?"
