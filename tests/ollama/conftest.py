"""What every test stands on: a real Ollama with its models, and Panniers in front of it.

OLLAMA_HOST      the real Ollama
OLLAMA_BIN       its command line client
PANNIER_BIN      the binary to test; target/debug/pannier without it
PANNIER_URL      test what answers there instead of own processes; what needs one of its own is skipped
"""

import functools
import os

import httpx
import ollama
import pytest

# The comparison stands there: let it show what differed.
pytest.register_assert_rewrite("road")

import models
import road as roads
from pannier import Pannier, Running

# httpx reads the system's certificates for each client anew, which takes longer than most that it is asked for here.
httpx._transports.default.create_ssl_context = functools.cache(httpx.create_ssl_context)
# httpx asks a proxy for 127.0.0.1 as well if one is named.
for name in ("http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(name, None), os.environ.pop(name.upper(), None)


@pytest.fixture(scope="session")
def ollama_url():
    """The real Ollama, with the tests' own models."""
    url = os.environ["OLLAMA_HOST"]
    url = url if "://" in url else f"http://{url}"
    models.make(url)
    yield url
    models.remove(url)


@pytest.fixture(scope="session")
def start(ollama_url, tmp_path_factory):
    """Starts Panniers that live as long as the session."""
    running = []

    def start(**settings):
        if there := os.environ.get("PANNIER_URL"):
            return Running(there)
        running.append(Pannier(ollama_url, tmp_path_factory.mktemp("pannier"), **settings))
        return running[-1]

    yield start
    assert [pannier.stop() for pannier in running] == [0] * len(running)


@pytest.fixture(scope="session")
def _roads(start, ollama_url):
    direct = roads.Direct(ollama_url)
    settings = {"off": {"cache__enabled": "false"}, "cold": {}, "warm": {}}
    return {name: roads.Road(name, start(**settings[name]), direct) for name in roads.NAMES}


@pytest.fixture(params=roads.NAMES)
def road(request, _roads):
    return _roads[request.param]


@pytest.fixture
def start_own(ollama_url, tmp_path):
    """Starts Panniers with nothing remembered and nothing counted yet, for one test."""
    if "PANNIER_URL" in os.environ:
        pytest.skip("needs a Pannier of its own")
    running = []

    def start(**settings):
        folder = tmp_path / f"pannier{len(running)}"
        folder.mkdir()
        running.append(Pannier(ollama_url, folder, **settings))
        return running[-1]

    yield start
    assert [pannier.stop() for pannier in running] == [0] * len(running)


@pytest.fixture
def own(start_own):
    """One such Pannier, on its defaults."""
    return start_own()


@pytest.fixture(scope="session")
def _listed(ollama_url):
    return models.listed(ollama.Client(ollama_url))


@pytest.fixture
def need_pictures(_listed):
    if models.PICTURES not in _listed or not models.picture("red").exists():
        pytest.skip(f"no model {models.PICTURES} or no pictures: set PANNIER_TEST_ASSETS")


@pytest.fixture(scope="session")
def need_speech():
    if not models.speech("whisper/ggml-tiny-q5_1.bin").exists() or not models.speech("audio/jfk.mp3").exists():
        pytest.skip("no weights to listen with, or no recordings: set PANNIER_TEST_ASSETS")
