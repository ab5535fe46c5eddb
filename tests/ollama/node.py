"""Calls of JavaScript clients: a script beside this file makes one and prints what the client made of the answer."""

import json
import os
import subprocess
from pathlib import Path

import pytest

import models

needed = pytest.mark.skipif("NODE_PATH" not in os.environ, reason="no node with its packages")


def ask(script, url, call):
    known = {name: getattr(models, name) for name in ("TEXT", "EMBEDDING", "QUESTION", "TOOLS", "WEATHER_QUESTION")}
    known["WEATHER"] = json.dumps(models.WEATHER)
    program = os.environ.get("NODE_BIN", "node")
    done = subprocess.run(
        [program, Path(__file__).with_name(script), url, call],
        env=os.environ | known,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout)
