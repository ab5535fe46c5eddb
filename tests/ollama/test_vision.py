"""Pictures on a real Ollama: what it sees is their colour, in whatever format they come and by whatever route."""

import base64
import io
import json
import re
import subprocess

import httpx
import pytest
from PIL import Image

from models import COLOUR, GREEDY, PICTURES, SEEING, picture
from pannier import REPOSITORY

FORMATS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "BMP": "bmp", "GIF": "gif"}
COLOURS = ["red", "blue", "yellow"]
ASKED = {"model": PICTURES, "prompt": COLOUR, "temperature": 0, "max_tokens": 8}

pytestmark = pytest.mark.usefixtures("need_pictures")


def file(colour, kind="PNG", **options):
    """A real picture, written by another library than the one that reads it."""
    written = io.BytesIO()
    Image.open(picture(colour)).convert(options.pop("mode", "RGB")).save(written, kind, **options)
    return written.getvalue()


def ask(url, route, body):
    return httpx.post(f"{url}/vision/{route}", json=body, timeout=120).raise_for_status()


def encoded(data):
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", FORMATS)
def test_ollama_sees_the_colour_of_every_kind_of_picture(own, kind, colour):
    data = file(colour, kind)
    told = ask(own.url, "analyze", ASKED | {"image": encoded(data)}).json()
    assert colour in told["response"].lower(), told
    assert set(told) == {"model", "response", "done", "total_duration", "eval_count"}
    form = {name: str(value) for name, value in ASKED.items()}
    files = {"file": (f"picture.{FORMATS[kind]}", data)}
    uploaded = httpx.post(f"{own.url}/vision/upload", data=form, files=files, timeout=120).raise_for_status()
    assert uploaded.json()["response"] == told["response"]


@pytest.mark.parametrize("kind, options", [
    ("JPEG", {"mode": "CMYK"}),
    ("PNG", {"mode": "I;16"}),
    ("WEBP", {"lossless": True}),
    ("GIF", {"save_all": True, "append_images": [Image.new("RGB", (128, 128), "white")]}),
    ("WEBP", {"save_all": True, "append_images": [Image.new("RGB", (128, 128), "white")]}),
    ("PNG", {"save_all": True, "append_images": [Image.new("RGB", (128, 128), "white")]}),
])
def test_odd_kinds_are_converted(own, kind, options):
    if options.get("mode") == "I;16":
        written = io.BytesIO()
        Image.new("I;16", (128, 128), 65535).save(written, kind)
        data, colour = written.getvalue(), "white"
    else:
        data, colour = file("red", kind, **options), "red"
    told = ask(own.url, "analyze", ASKED | {"image": encoded(data)}).json()
    assert colour in told["response"].lower(), told


def test_a_picture_in_a_call_is_converted_where_that_is_wanted(start_own, ollama_url):
    body = {"model": PICTURES, "prompt": COLOUR, "images": [encoded(file("blue", "WEBP"))], "stream": False, "options": GREEDY}
    wanted = start_own(vision__transcode_native="true")
    told = httpx.post(f"{wanted.url}/api/generate", json=body, timeout=120).raise_for_status().json()
    assert "blue" in told["response"].lower(), told


def test_a_stream_says_the_same_and_what_was_said_is_remembered(own):
    body = ASKED | {"image": encoded(file("red", "WEBP"))}
    whole = ask(own.url, "analyze", body).json()["response"]
    lines = [json.loads(line) for line in ask(own.url, "analyze", body | {"stream": True}).text.splitlines()]
    assert "".join(line["response"] for line in lines) == whole
    assert [line["done"] for line in lines[-2:]] == [False, True]
    again = ask(own.url, "analyze", body)
    assert again.headers["Cache-Status"].startswith("pannier; hit")


def test_several_pictures_are_told_apart(own):
    body = ASKED | {"images": [encoded(file(colour, "BMP")) for colour in COLOURS] + ["####"]}
    told = ask(own.url, "analyze", body).json()
    assert (told["count"], told["succeeded"], told["failed"]) == (4, 3, 1)
    for colour, result in zip(COLOURS, told["results"]):
        assert colour in result["response"].lower(), result
    assert told["results"][3]["code"] == "bad_request"


def test_captions_and_text_have_shapes_of_their_own(own):
    image = encoded(file("red", "GIF"))
    for detail in ("brief", "normal", "detailed"):
        body = {"model": SEEING, "image": image, "detail_level": detail}
        told = ask(own.url, "caption", body).json()
        assert set(told) == {"caption", "model"} and told["caption"], told
    told = ask(own.url, "ocr", {"model": SEEING, "image": image}).json()
    assert set(told) == {"text", "model"} and told["model"] == SEEING


def test_a_model_that_cannot_see_is_told_from_one_that_can(own):
    for model, status in (("smollm2:135m", 400), ("nobody", 404)):
        answer = httpx.post(f"{own.url}/vision/ocr", json={"model": model, "image": encoded(file("red"))}, timeout=60)
        assert answer.status_code == status
        assert f"{PICTURES}:latest" in answer.json()["error"]
        assert "smollm2" not in answer.json()["error"]


def test_what_the_page_about_it_shows_works(start_own, tmp_path):
    page = (REPOSITORY / "docs/vision-audio.md").read_text().split("\n## Speech\n")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 2
    (tmp_path / "red.png").write_bytes(file("red"))
    (tmp_path / "blue.png").write_bytes(file("blue"))
    own = start_own(vision__model=SEEING)
    for block in blocks:
        script = "set -euo pipefail\n" + block.replace("localhost:8000", own.url)
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (block, done.stderr)
        answers = re.findall(r'"(?:response|caption|text|results)":', done.stdout)
        assert len(answers) >= block.count("curl"), done.stdout
