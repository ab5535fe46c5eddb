"""A model that was created anew gives not one old answer, in any tier; one that is the same again keeps its own."""

import random
import threading
import time
from dataclasses import dataclass

import httpx
import pytest

import servers
from pannier import PATIENCE, Pannier
from shifting import (
    NOTICED,
    QUESTIONS,
    Shifting,
    command_line,
    copy,
    create,
    delete_and_copy,
    modes,
    told,
)


@pytest.fixture(scope="module")
def shifting(ollama_url):
    shifting = Shifting(ollama_url)
    yield shifting
    shifting.remove()


@pytest.fixture
def begin(ollama_url, tmp_path):
    """Starts Panniers that have one data directory, one after the other. They use their `tier` from the first request
    on, and wait for it: what a busy machine is too slow for would be a miss."""
    running = []

    def begin(tier="memory", **settings):
        patient = {f"cache__{tier}__timeout": "10s" for tier in ("redis", "database")}
        running.append(Pannier(ollama_url, tmp_path, **patient | settings))
        if tier != "memory":
            assert running[-1].settled(1, "pannier_dependency_up", dep=tier) == 1
        return running[-1]

    yield begin
    assert running[-1].stop() == 0


@pytest.fixture(params=["memory", "redis", "sqlite", "postgres"])
def tier(request):
    """The tier's name as a hit tells it, and the settings that make it the only one behind the memory."""
    match request.param:
        case "memory":
            yield "memory", {"cache__database__enabled": "false"}
        case "redis":
            with servers.redis() as url:
                yield "redis", {"cache__redis__url": url, "cache__database__enabled": "false"}
        case "sqlite":
            yield "database", {}
        case "postgres":
            with servers.postgres() as url:
                yield "database", {"cache__database__url": url}


def ask(pannier, path, streamed, nonce=0):
    """`nonce` makes another question that has the same answer: Ollama knows no such field."""
    body = QUESTIONS[path] | {"stream": streamed, "nonce": nonce}
    answer = httpx.post(pannier.url + path, json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer


def hit_in(answer):
    """The tier that had it; none where Ollama was asked."""
    status = answer.headers["Cache-Status"]
    return status.rsplit("detail=", 1)[1] if status.startswith("pannier; hit") else None


def is_kept(pannier, path, streamed):
    """Whether it is kept, a moment after its last byte."""
    deadline = time.monotonic() + PATIENCE
    while not (kept := hit_in(ask(pannier, path, streamed))) and time.monotonic() < deadline:
        time.sleep(0.02)
    return kept


def check(pannier, shifting, tiers, seen, streamed_first=False):
    """Every route says what the model in place says, in each mode, and afterwards all is kept. An answer of a model
    that was `seen` before is in one of the `tiers`; of another, in none."""
    for path in QUESTIONS:
        first, *other = sorted(modes(path), reverse=streamed_first)
        known = shifting.model(path) in seen
        for streamed in [first, *other]:
            answer = ask(pannier, path, streamed)
            what = f"{path}, streamed {streamed}: {answer.headers['Cache-Status']}"
            assert told(path, answer) == shifting.says(path), what
            # Both routes to one vector share it.
            if streamed == first and (known or path != "/v1/embeddings"):
                assert hit_in(answer) in (tiers if known else {None}), what
            assert is_kept(pannier, path, streamed), what
    seen |= {shifting.model(path) for path in QUESTIONS}


# What becomes of the name, in which way, and whether Pannier sees it.
SHIFTS = [
    ("template", create, True),
    ("weights", copy, False),
    ("system", command_line, False),
    ("parameters", command_line, True),
    ("weights", delete_and_copy, True),
    ("plain", copy, True),
    ("template", create, False),
]
FEWER = [SHIFTS[0], SHIFTS[1], SHIFTS[5]]


def test_a_model_made_anew_gives_no_old_answer(shifting, tier, begin):
    tier, settings = tier
    shifting.shift("plain", copy, shifting.url)
    pannier, tiers, seen = begin(tier, **settings), {tier, "memory"}, set()
    check(pannier, shifting, tiers, seen)
    for number, (variant, way, through) in enumerate(SHIFTS if tier == "memory" else FEWER):
        if variant not in shifting.bodies:
            continue
        shifting.shift(variant, way, pannier.url if through else shifting.url)
        if not through:
            time.sleep(NOTICED)
        # What is the same as before has kept its answers.
        check(pannier, shifting, tiers, seen, streamed_first=number % 2 == 1)
        if tier != "memory":
            assert pannier.stop() == 0
            pannier = begin(tier, **settings)
            check(pannier, shifting, tiers, seen)


# === with requests under way

CLIENTS = 6
# A stay of so many seconds lasts until something of this model has come from memory.
LONG = 2
# How long each model stays, in seconds, after it came in that way, and whether Pannier sees that. Some are gone before
# an answer of theirs is there.
STAYS = [
    (0.3, copy, False),
    (0.2, copy, False),
    (3.0, copy, True),
    *[(0.03, copy, False)] * 40,
    (0.1, create, True),
    (0.4, copy, False),
    (2.5, copy, True),
    (2.7, create, False),
    (0.2, copy, True),
    (0.5, copy, False),
    (0.1, delete_and_copy, True),
    (3.0, copy, False),
    (1.0, copy, True),
]


@dataclass
class Asked:
    """An answer, and when it was asked for."""

    path: str
    begun: float
    ended: float
    told: object
    hit: bool
    missing: bool

    def is_kept_of(self, shifting, variant):
        return self.hit and self.told == shifting.says(self.path, variant)


@dataclass
class Stay:
    """Since when a model may answer, and from when on none of its answers may come any more."""

    variant: str
    begun: float
    over: float = float("inf")


class Storm:
    """Clients that ask and ask, in either mode, until it is over."""

    def __init__(self, pannier):
        self.asked, self.failed = [], []
        # Each model is asked what its predecessor was asked, and something new.
        self.nonce = 1
        self._pannier, self._over = pannier, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(seed,)) for seed in range(CLIENTS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def until_kept(self, shifting, variant):
        """Waits until someone who asks from now on is given what this one said, from memory."""
        begun, until = time.monotonic(), time.monotonic() + 60
        while not any(asked.begun > begun and asked.is_kept_of(shifting, variant) for asked in list(self.asked)):
            assert time.monotonic() < until and not self.failed, variant
            time.sleep(0.1)

    def _ask(self, seed):
        dice = random.Random(seed)
        try:
            while not self._over.is_set():
                path, nonce = dice.choice(list(QUESTIONS)), self.nonce - dice.randrange(2)
                body = QUESTIONS[path] | {"stream": dice.choice(modes(path)), "nonce": nonce}
                begun = time.monotonic()
                answer = httpx.post(self._pannier.url + path, json=body, timeout=120)
                # A model that is being written, or was deleted, is not there, says Ollama.
                missing = answer.status_code == 404 or (answer.status_code == 500 and "EOF" in answer.text)
                assert missing or answer.status_code == 200, answer.text
                words = None if missing else told(path, answer)
                hit = not missing and bool(hit_in(answer))
                self.asked.append(Asked(path, begun, time.monotonic(), words, hit, missing))
                time.sleep(0.01)
        except BaseException as error:
            self.failed.append(error)
            raise


def test_answers_under_way_while_the_model_changes_are_of_one_that_was_there(shifting, begin):
    shifting.shift("plain", copy, shifting.url)
    pannier, stays = begin(), [Stay("plain", time.monotonic())]
    with Storm(pannier) as storm:
        time.sleep(2)
        storm.until_kept(shifting, "plain")
        for stay, way, through in STAYS:
            stays.append(Stay("other" if stays[-1].variant == "plain" else "plain", time.monotonic()))
            shifting.shift(stays[-1].variant, way, pannier.url if through else shifting.url)
            stays[-2].over = time.monotonic() + (0 if through else NOTICED)
            storm.nonce += 1
            time.sleep(stay)
            if stay >= LONG:
                storm.until_kept(shifting, stays[-1].variant)
    assert not storm.failed
    for path in QUESTIONS:
        if shifting.model(path, "plain") != shifting.model(path, "other"):
            assert shifting.says(path, "plain") != shifting.says(path, "other"), path
    answered = [asked for asked in storm.asked if not asked.missing]
    for asked in answered:
        there = {stay.variant for stay in stays if stay.begun < asked.ended and asked.begun < stay.over}
        assert asked.told in [shifting.says(asked.path, variant) for variant in there], (asked, there)
    for variant in ("plain", "other"):
        assert any(asked.is_kept_of(shifting, variant) for asked in answered), variant
    # What was kept meanwhile is what each of them says.
    for variant in ("plain", "other"):
        shifting.shift(variant, copy, pannier.url)
        for path in QUESTIONS:
            for nonce in range(storm.nonce + 1):
                if kept := kept_answer(pannier, path, nonce):
                    assert told(path, kept) == shifting.says(path), f"{path}: {kept.headers['Cache-Status']}"


def kept_answer(pannier, path, nonce):
    body = QUESTIONS[path] | {"stream": False, "nonce": nonce}
    answer = httpx.post(pannier.url + path, json=body, headers={"Cache-Control": "only-if-cached"})
    return answer if answer.status_code == 200 else None
