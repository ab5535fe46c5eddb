#!/usr/bin/env bash
# Writes down what is said: into the microphone until Enter is pressed, or in a recording (dictate.sh FILE).
set -euo pipefail
url=${PANNIER_URL:-http://127.0.0.1:8000}
file=${1:-}

if [ -z "$file" ]; then
  file=$(mktemp --suffix=.wav)
  trap 'rm -f "$file"' EXIT
  if command -v arecord >/dev/null; then arecord --quiet --format S16_LE --rate 16000 "$file" &
  else rec -q -r 16000 -c 1 "$file" & fi
  read -r -p "Speak, then press Enter."
  kill -INT $! && wait $! || true
fi

curl --silent --show-error --fail "$url/v1/audio/transcriptions" \
  --form "file=@$file" --form "model=${PANNIER_SPEECH_MODEL:-base}" --form response_format=text
