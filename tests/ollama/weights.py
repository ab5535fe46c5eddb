"""Other weights for a model: its own GGUF file, in which one tensor is another."""

import hashlib
import struct
from pathlib import Path

import httpx

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_TEXT, _LIST = 8, 9
_F32 = 0


def file_of(url, model):
    """Where its weights are, if that is on this machine."""
    shown = httpx.post(f"{url}/api/show", json={"model": model}).raise_for_status().json()
    first = next(line for line in shown["modelfile"].splitlines() if line.startswith("FROM "))
    path = Path(first.removeprefix("FROM "))
    return path if path.exists() else None


def reversed_in(path, tensor):
    """The file with the numbers of that tensor (32 bit floats, in one row) the other way round."""
    raw = bytearray(path.read_bytes())
    begin, count = _place(raw, tensor)
    numbers = struct.unpack_from(f"<{count}f", raw, begin)
    struct.pack_into(f"<{count}f", raw, begin, *reversed(numbers))
    return bytes(raw)


def upload(url, content):
    """Hands the file to Ollama. Its digest, as `create` wants it."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    httpx.post(f"{url}/api/blobs/{digest}", content=content, timeout=60).raise_for_status()
    return digest


def _place(raw, wanted):
    """Where that tensor's numbers begin, and how many there are."""
    reader = _Reader(raw)
    magic, _version, tensors, fields = reader.numbers("<4sIQQ")
    assert magic == b"GGUF"
    alignment = 32
    for _ in range(fields):
        name = reader.text()
        value = reader.value(*reader.numbers("<I"))
        alignment = value if name == b"general.alignment" else alignment
    found = None
    for _ in range(tensors):
        name = reader.text().decode()
        shape = reader.numbers("<%dQ" % reader.numbers("<I"))
        kind, offset = reader.numbers("<IQ")
        if name == wanted:
            assert kind == _F32 and len(shape) == 1, f"{name} is not a row of floats"
            found = offset, shape[0]
    offset, count = found
    return -(-reader.at // alignment) * alignment + offset, count


class _Reader:
    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def numbers(self, layout):
        numbers = struct.unpack_from(layout, self.raw, self.at)
        self.at += struct.calcsize(layout)
        return numbers

    def text(self):
        (length,) = self.numbers("<Q")
        self.at += length
        return bytes(self.raw[self.at - length : self.at])

    def value(self, kind):
        """A number as it is; of everything else only its end matters."""
        if kind == _TEXT:
            return self.text()
        if kind != _LIST:
            self.at += _SIZES[kind]
            return int.from_bytes(self.raw[self.at - _SIZES[kind] : self.at], "little")
        of, length = self.numbers("<IQ")
        if of == _TEXT:
            for _ in range(length):
                self.text()
        else:
            self.at += length * _SIZES[of]
        return None
