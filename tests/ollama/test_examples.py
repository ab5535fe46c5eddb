"""The first scripts that a newcomer runs do what they say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import models
from pannier import REPOSITORY

# What else a script wants to be told.
ARGUMENTS = {
    "caption_folder.py": [models.picture("red").parent, models.SEEING],
    "dictate.sh": [models.speech("audio/jfk.mp3")],
}
# As it is, the small model rambles on for minutes now and then.
MODELS = {"PANNIER_CHAT_MODEL": models.STEADY, "PANNIER_SPEECH_MODEL": "tiny"}
EXAMPLES = REPOSITORY / "examples"
WITH = {
    ".py": [sys.executable],
    ".sh": ["bash"],
    ".cjs": [os.environ.get("NODE_BIN", "node")],
}


@pytest.fixture(scope="module")
def pannier(start):
    """One for all of them."""
    return start(audio__models_dir=str(models.speech("whisper")))


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in WITH))
def test_an_example_runs(example, pannier, request):
    if example.startswith("langchain"):
        pytest.importorskip("langchain_ollama")
    if example.endswith(".cjs") and "NODE_PATH" not in os.environ:
        pytest.skip("no node with the openai package")
    if example.startswith("caption"):
        request.getfixturevalue("need_pictures")
    if example.startswith("dictate"):
        request.getfixturevalue("need_speech")
    path = f"{Path(os.environ['OLLAMA_BIN']).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [*WITH[Path(example).suffix], EXAMPLES / example, *ARGUMENTS.get(example, [])],
        env=os.environ | {"PANNIER_URL": pannier.url, "PATH": path} | MODELS,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
