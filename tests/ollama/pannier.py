"""A Pannier process of its own, in front of the real Ollama."""

import os
import re
import subprocess
import time
from pathlib import Path

import httpx

LISTENING = re.compile(r"pannier: listening on (http://\S+) \(admin (http://[^,\s]+), upstream [^)]+\)")
HITS = {"family": "pannier_cache_requests_total", "result": "hit", "tier": "memory"}
TOKENS = "pannier_llm_tokens_total"
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

# Seconds; what takes this long hangs, also on a busy machine.
PATIENCE = 30

REPOSITORY = Path(__file__).resolve().parents[2]


class Pannier:
    """Knows where it listens and what it has counted. `settings` are its environment, `cache__enabled="false"`."""

    def __init__(self, upstream, folder, config=None, **settings):
        self.log, self.data = folder / "pannier.log", folder / "data"
        command = [os.environ.get("PANNIER_BIN", REPOSITORY / "target/debug/pannier"), "serve"]
        command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        command += ["--upstream", upstream, "--data-dir", self.data]
        command += ["--config", config] if config else []
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PANNIER_")}
        surroundings |= {f"PANNIER__{name.upper()}": value for name, value in settings.items()}
        surroundings.setdefault("PANNIER__SERVER__SHUTDOWN_DELAY", "0")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=surroundings, cwd=folder)
        self.url, self.admin = self._listening()

    def _listening(self):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := LISTENING.search(self.log.read_text()):
                return found[1], found[2]
            time.sleep(0.02)
        self.process.kill()
        raise AssertionError(f"Pannier did not start:\n{self.log.read_text()}")

    def stop(self):
        """SIGTERM, and the exit code. An idle Pannier goes at once."""
        self.process.terminate()
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"Pannier did not stop:\n{self.log.read_text()[-2000:]}") from None

    def forget(self):
        """Empties its memory."""
        key = (self.data / "admin.key").read_text().strip()
        httpx.delete(f"{self.url}/analytics/cache", headers={"Authorization": f"Bearer {key}"}).raise_for_status()

    def metrics(self):
        """The text of /metrics."""
        return httpx.get(f"{self.url}/metrics").raise_for_status().text

    def total(self, family, **labels):
        """The sum over every series of `family` that carries `labels`."""
        total = 0.0
        for line in self.metrics().splitlines():
            sample = SAMPLE.match(line)
            if sample and sample[1] == family and labels.items() <= dict(LABEL.findall(sample[2] or "")).items():
                total += float(sample[3])
        return total

    def settled(self, expected, family, **labels):
        """The same sum, as soon as it is `expected`: a record is written behind the last byte of its answer."""
        deadline = time.monotonic() + PATIENCE
        while (total := self.total(family, **labels)) != expected and time.monotonic() < deadline:
            time.sleep(0.02)
        return total

    def used(self, kind, expected):
        """Tokens of that kind (input, output) that Ollama itself has reported, once they are `expected`."""
        return self.settled(expected, TOKENS, type=kind, source="upstream")


class Running:
    """A server that is there already, Pannier or a bare Ollama, to try the tests themselves on."""

    def __init__(self, url):
        self.url = url
