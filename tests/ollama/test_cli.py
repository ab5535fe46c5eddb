"""The `ollama` command line sees no difference."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from models import QUESTION, STEADY, TEXT
from road import forwarded, remembered

# "3 seconds ago", "29 minutes from now", "Less than a second ago"
AGO = re.compile(r"(About |Less than )?(an?|\d+) (second|minute|hour|day|week)s? (ago|from now)")
MADE = "pannier-test-cli"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def run(url, *arguments):
    """Exit code, standard output and, where it failed, what it complained of."""
    done = subprocess.run(
        [os.environ["OLLAMA_BIN"], *arguments],
        env=os.environ | {"OLLAMA_HOST": url, "OLLAMA_NOHISTORY": "1", "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = re.sub(r" +", " ", AGO.sub("<when>", CONTROL.sub("", done.stdout)))
    complaint = CONTROL.sub("", done.stderr).replace(url, "<url>") if done.returncode else ""
    return [done.returncode, said.strip(), complaint.strip()]


def ask(url):
    code, answer, _ = run(url, "run", STEADY, QUESTION)
    assert code == 0 and "Paris" in answer
    return answer


def sorted_lines(url, *arguments):
    """Ollama does not keep an order among what changed in one second, nor among parameters."""
    code, said, complaint = run(url, *arguments)
    return [code, sorted(line.strip() for line in said.splitlines()), complaint]


def list_models(url):
    return sorted_lines(url, "list")


def running(url):
    return sorted_lines(url, "ps")


def show(url):
    return sorted_lines(url, "show", TEXT)


def show_modelfile(url):
    return run(url, "show", "--modelfile", STEADY)


def missing_model(url):
    return run(url, "show", "no-such-model")


def create_copy_remove(url):
    with tempfile.TemporaryDirectory() as folder:
        modelfile = Path(folder, "Modelfile")
        modelfile.write_text(f"FROM {TEXT}\nSYSTEM Be brief.\n")
        steps = [run(url, "create", MADE, "-f", modelfile)]
    steps.append(run(url, "cp", MADE, f"{MADE}-copy"))
    steps.append(run(url, "show", "--system", f"{MADE}-copy"))
    steps.append(run(url, "rm", MADE, f"{MADE}-copy"))
    return steps


CALLS = [
    *remembered(ask),
    *forwarded(list_models, running, show, show_modelfile, missing_model, create_copy_remove),
]


@pytest.mark.parametrize("call", CALLS)
def test_sees_no_difference(call, road):
    road.compare(call)
