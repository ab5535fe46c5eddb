"""Writes a caption for every picture of a folder: python caption_folder.py ~/Pictures [MODEL]

What was seen before is answered at once, so it may be run again whenever there are new ones.
"""

import base64
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

URL = os.environ.get("PANNIER_URL", "http://127.0.0.1:8000")
KINDS = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp"}


def caption(path, model):
    body = {"image": base64.b64encode(path.read_bytes()).decode(), "detail_level": "brief"}
    if model:
        body["model"] = model
    request = urllib.request.Request(
        f"{URL}/vision/caption", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["caption"]
    except urllib.error.HTTPError as error:
        return f"({json.load(error)['error']})"


folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
model = sys.argv[2] if len(sys.argv) > 2 else None
for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in KINDS):
    print(f"{path.name}: {caption(path, model)}", flush=True)
