"""The three roads that a call can take through Pannier, each compared with the call made to Ollama directly."""

import re
from dataclasses import dataclass
from typing import Callable

import pytest

from pannier import HITS, Pannier
from same import masked

REQUEST_ID = re.compile(r"req_[0-9a-f]+")
CLIENTS = {"ollama", "openai", "anthropic"}
NAMES = ["off", "cold", "warm"]


@dataclass
class Call:
    """Something that a client asks of the server at a URL; and whether Pannier may remember the answer."""

    ask: Callable
    remembered: bool

    def answer(self, url):
        """What the client made of the answer, or of the error, without what differs between two runs."""
        try:
            return masked(self.ask(url))
        except Exception as error:
            # A client's own error is its way to show an answer. Any other is a mistake of the test.
            if type(error).__module__.split(".")[0] not in CLIENTS:
                raise
            return {
                "raised": type(error).__name__,
                "status": getattr(error, "status_code", None),
                "text": REQUEST_ID.sub("<request>", str(error).replace(url, "<url>")),
                "body": masked(getattr(error, "body", None)),
            }


def remembered(*asks):
    """Calls whose answers are kept: asked again, they are answered from memory."""
    return [pytest.param(Call(ask, True), id=ask.__name__) for ask in asks]


def forwarded(*asks):
    """Calls that go to Ollama each time."""
    return [pytest.param(Call(ask, False), id=ask.__name__) for ask in asks]


class Road:
    """One way through Pannier: `off` without a memory, `cold` with an empty one, `warm` asked a second time."""

    def __init__(self, name, pannier, direct):
        self.name, self.pannier, self.direct = name, pannier, direct

    def compare(self, call):
        """Fails unless the client sees the same through Pannier as without it."""
        expected = self.direct(call)
        through = call.answer(self.pannier.url)
        if self.name != "warm":
            assert through == expected
            return
        counted = call.remembered and isinstance(self.pannier, Pannier)
        # An answer is stored a moment after its end; who asks within that moment shares the first one's trip.
        for _ in range(5 if counted else 1):
            before = self.pannier.total(**HITS) if counted else 0
            assert call.answer(self.pannier.url) == expected
            if not counted or self.pannier.settled(before + 1, **HITS) == before + 1:
                return
        raise AssertionError("not answered from memory")


class Direct:
    """Asks Ollama itself; what may be remembered is asked once, what changes as tests go by each time."""

    def __init__(self, url):
        self.url, self._answers = url, {}

    def __call__(self, call):
        key = (call.ask.__module__, call.ask.__name__)
        if call.remembered and key in self._answers:
            return self._answers[key]
        self._answers[key] = call.answer(self.url)
        return self._answers[key]
