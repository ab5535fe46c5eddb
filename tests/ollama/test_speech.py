"""Speech by OpenAI's own library, with real weights: it works unchanged."""

import io
import re

import openai
import pytest

import models

SENTENCE = (
    "and so my fellow americans ask not what your country can do for you ask what you can do for your country"
)
# An encoder of Whisper's takes a second or two of one core, and the machine has other work.
PATIENCE = 300

pytestmark = pytest.mark.usefixtures("need_speech")


@pytest.fixture(scope="module")
def client(start):
    """Asks a Pannier that has the weights of `tiny`."""
    pannier = start(audio__models_dir=str(models.speech("whisper")), audio__download="false")
    return openai.OpenAI(base_url=f"{pannier.url}/v1", api_key="unused", timeout=PATIENCE, max_retries=0)


def words(text):
    return re.sub(r"[^a-z ]", "", text.lower())


def ask(client, **wishes):
    recording = models.speech("audio/jfk.mp3").read_bytes()
    wishes = {"file": ("jfk.mp3", io.BytesIO(recording)), "model": "tiny", "language": "en"} | wishes
    return client.audio.transcriptions.create(**wishes)


def test_the_words_come_as_a_text_and_with_all_that_is_known(client):
    assert words(ask(client).text) == SENTENCE
    assert words(ask(client, response_format="text").strip()) == SENTENCE
    verbose = ask(client, response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert (verbose.language, round(verbose.duration)) == ("english", 11)
    assert [words(word.word) for word in verbose.words] == SENTENCE.split()
    assert all(word.start <= word.end <= 11.1 for word in verbose.words)
    assert words(" ".join(segment.text.strip() for segment in verbose.segments)) == SENTENCE


def test_subtitles_can_be_read(client):
    time = r"\d\d:\d\d:\d\d"
    cues = re.findall(rf"^\d+\n{time},\d\d\d --> {time},\d\d\d\n(.+)\n$", ask(client, response_format="srt"), re.M)
    assert words(" ".join(cues)) == SENTENCE
    vtt = ask(client, response_format="vtt")
    assert vtt.startswith("WEBVTT\n\n")
    assert words(" ".join(re.findall(rf"^{time}\.\d\d\d --> {time}\.\d\d\d\n(.+)$", vtt, re.M))) == SENTENCE


def test_a_stream_ends_with_all_of_it(client):
    events = list(ask(client, stream=True))
    assert events[-1].type == "transcript.text.done"
    assert words(events[-1].text) == SENTENCE
    assert "".join(event.delta for event in events[:-1]).strip() == events[-1].text


def test_what_is_no_recording_is_an_error_of_its_own_kind(client):
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, file=("x.wav", io.BytesIO(b"")))
    assert raised.value.code == "bad_request"
