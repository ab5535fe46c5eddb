"""Speech by OpenAI's own library, with real weights: it works unchanged."""

import fnmatch
import io
import os
import re
import shutil
import subprocess
import wave

import numpy
import openai
import pytest
import srt
import webvtt
from pywhispercpp.model import Model

import models
import node
from pannier import REPOSITORY

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


@pytest.fixture(scope="module")
def whisper():
    """whisper.cpp by somebody else's binding, with the same weights."""
    return Model(str(models.speech("whisper/ggml-tiny-q5_1.bin")), n_threads=1, print_progress=False)


def words(text):
    return re.sub(r"[^a-z ]", "", text.lower())


def two_passages():
    """The sentence twice, as a WAV."""
    with wave.open(str(models.speech("audio/jfk.wav"))) as file:
        parameters, frames = file.getparams(), file.readframes(file.getnframes())
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams(parameters)
        file.writeframes(frames * 2)
    return made.getvalue()


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


def test_the_language_is_found_out(client):
    verbose = ask(client, language=openai.omit, response_format="verbose_json")
    assert (verbose.language, words(verbose.text)) == ("english", SENTENCE)


def test_it_is_translated(client):
    recording = ("jfk.mp3", io.BytesIO(models.speech("audio/jfk.mp3").read_bytes()))
    told = client.audio.translations.create(model="tiny", file=recording, response_format="verbose_json")
    assert (told.language, round(told.duration)) == ("english", 11)
    assert error_rate(told.text, SENTENCE) <= 0.1


def test_subtitles_can_be_read(client):
    """By those who read subtitles, strictly: numbers, times and texts are where they belong."""
    recording = two_passages()
    told = ask(client, file=("two.wav", io.BytesIO(recording)), response_format="srt")
    of_srt = list(srt.parse(told, ignore_errors=False))
    assert [cue.index for cue in of_srt] == list(range(1, len(of_srt) + 1))
    told = ask(client, file=("two.wav", io.BytesIO(recording)), response_format="vtt")
    of_vtt = webvtt.from_buffer(io.StringIO(told))
    assert (of_vtt.styles, len(of_vtt)) == ([], len(of_srt))
    verbose = ask(client, file=("two.wav", io.BytesIO(recording)), response_format="verbose_json")
    until = 0
    for one, other, segment in zip(of_srt, of_vtt, verbose.segments, strict=True):
        start, end = one.start.total_seconds(), one.end.total_seconds()
        assert until <= start < end <= 22.1
        assert (other.start_in_seconds, other.end_in_seconds) == (int(start), int(end))
        assert other.start.endswith(f"{start % 1:.3f}"[1:]) and other.end.endswith(f"{end % 1:.3f}"[1:])
        assert (segment.start, segment.end) == (start, end)
        assert one.content == other.text == segment.text.strip()
        until = end
    assert words(" ".join(cue.content for cue in of_srt)) == f"{SENTENCE} {SENTENCE}"


def test_a_stream_ends_with_all_of_it(client):
    events = list(ask(client, stream=True))
    assert events[-1].type == "transcript.text.done"
    assert words(events[-1].text) == SENTENCE
    assert "".join(event.delta for event in events[:-1]).strip() == events[-1].text


def test_what_is_no_recording_is_an_error_of_its_own_kind(client):
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, file=("x.wav", io.BytesIO(b"")))
    assert raised.value.code == "bad_request"


@node.needed
def test_the_library_for_javascript_works_as_well(client, monkeypatch):
    monkeypatch.setenv("RECORDING", str(models.speech("audio/jfk.mp3")))
    url = str(client.base_url).removesuffix("/v1/")

    def hear(call):
        return node.ask("openai_node.cjs", url, call)

    assert words(hear("heard")["text"]) == SENTENCE
    verbose = hear("heard_verbose")
    assert (verbose["language"], round(verbose["duration"])) == ("english", 11)
    assert [words(word["word"]) for word in verbose["words"]] == SENTENCE.split()
    assert words(" ".join(segment["text"].strip() for segment in verbose["segments"])) == SENTENCE
    assert " --> " in hear("heard_as_subtitles")
    events = hear("heard_streamed")
    assert (events[-1]["type"], words(events[-1]["text"])) == ("transcript.text.done", SENTENCE)
    assert "".join(event["delta"] for event in events[:-1]).strip() == events[-1]["text"]
    assert error_rate(hear("translated")["text"], SENTENCE) <= 0.1


def test_what_the_page_about_it_shows_works(start, tmp_path):
    page = (REPOSITORY / "docs/vision-audio.md").read_text().split("\n## Speech\n")[1]
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 2
    for name in ("jfk.wav", "jfk.mp3"):
        shutil.copy(models.speech(f"audio/{name}"), tmp_path)
    shutil.copy(models.speech("audio/jfk.webm"), tmp_path / "speech.webm")
    shown = {"PANNIER__AUDIO__MODELS_DIR": str(models.speech("whisper")), "PATH": f"{REPOSITORY}/target/debug:{os.environ['PATH']}"}
    pannier = start(audio__models_dir=str(models.speech("whisper")))
    for block in blocks:
        script = "set -euo pipefail\n" + block.replace("localhost:8000", pannier.url)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=os.environ | shown,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, (block, done.stderr)
        assert len(re.findall("fellow Americans", done.stdout)) >= block.count("curl"), done.stdout


# === how well

NUMBERS = dict(zip("0 1 2 3 4 5 6 7 8 9 10".split(), "zero one two three four five six seven eight nine ten".split()))


def transcripts():
    """What is said in each recording that there is."""
    listed = models.speech("audio/TRANSCRIPTS.tsv")
    lines = listed.read_text().splitlines() if listed.exists() else []
    patterns = [line.split("\t") for line in lines]
    # The same sentence at other rates.
    patterns += [("jfk_*", said) for pattern, said in patterns if pattern == "jfk.*"]
    names = sorted(path.name for path in listed.parent.glob("*"))
    return [(name, said) for pattern, said in patterns for name in fnmatch.filter(names, pattern)]


def error_rate(heard, said):
    """Words that are wrong, missing or too many, to each that was said; digits are written out."""
    heard, said = ([NUMBERS.get(word, word) for word in re.findall(r"\w+", text.lower())] for text in (heard, said))
    row = list(range(len(said) + 1))
    for at, word in enumerate(heard, 1):
        before, row = row, [at]
        for column, other in enumerate(said):
            row.append(min(before[column] + (word != other), before[column + 1] + 1, row[column] + 1))
    return row[-1] / len(said)


def samples(name):
    """Of a WAV: of one channel, 16,000 a second; where they were made from another rate, in all ways that are as good.

    Half a sample decides whether `tiny` hears "transcribes" or "trend drives" from a synthetic voice.
    """
    with wave.open(str(models.speech(f"audio/{name}"))) as file:
        rate, channels, length = file.getframerate(), file.getnchannels(), file.getnframes()
        sound = numpy.frombuffer(file.readframes(length), "<i2").reshape(-1, channels).mean(axis=1) / 32768
    if rate == 16_000:
        return [sound.astype(numpy.float32)]
    wanted = round(length * 16_000 / rate)
    spectrum = numpy.fft.rfft(sound)
    spectrum = numpy.pad(spectrum, (0, max(0, wanted // 2 + 1 - len(spectrum))))[: wanted // 2 + 1]
    turn = -2j * numpy.pi * numpy.arange(len(spectrum)) / wanted
    late = [numpy.fft.irfft(spectrum * numpy.exp(turn * shift), wanted) for shift in (0, -0.5, 0.5)]
    return [(sound * wanted / length).astype(numpy.float32) for sound in late]


@pytest.mark.parametrize(("recording", "said"), transcripts())
def test_as_much_is_understood_as_by_whisper_cpp_itself(client, whisper, recording, said, record_property):
    sound = io.BytesIO(models.speech(f"audio/{recording}").read_bytes())
    ours = error_rate(ask(client, file=(recording, sound)).text, said)
    # Whatever the format, it was made of this one.
    original = recording if recording.endswith(".wav") else "jfk.wav"
    heard = [whisper.transcribe(sound, language="en") for sound in samples(original)]
    theirs = max(error_rate(" ".join(part.text for part in parts), said) for parts in heard)
    record_property("word error rates", f"{recording}: {ours:.3f}, whisper.cpp {theirs:.3f}")
    assert ours <= theirs
