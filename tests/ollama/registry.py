"""A registry with one small model, which holds back the second half of it until a test lets it go."""

import hashlib
import json
import re
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LAYER = b"GGUF" + bytes(range(256)) * 4096


def _digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry(ThreadingHTTPServer):
    """Serves while the block lasts."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.port = self.server_address[1]
        self.released, self.left = threading.Event(), threading.Event()
        config = json.dumps({"model_format": "gguf", "rootfs": {"type": "layers", "diff_ids": [_digest(LAYER)]}}).encode()
        kinds = {"application/vnd.docker.container.image.v1+json": config, "application/vnd.ollama.image.model": LAYER}
        described = [{"mediaType": kind, "digest": _digest(data), "size": len(data)} for kind, data in kinds.items()]
        self.blobs = {_digest(data): data for data in kinds.values()}
        self.manifest = json.dumps({"schemaVersion": 2, "config": described[0], "layers": described[1:]}).encode()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.shutdown()
        self.server_close()

    @property
    def model(self):
        return f"http://127.0.0.1:{self.port}/library/pannier-test-pulled:latest"


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._say(200, len(self._asked_for()))

    def do_GET(self):
        data = self._asked_for()
        if "/blobs/" in self.path:
            # Ollama wants to be sent to another host for what is large.
            elsewhere = self.path.replace("/blobs/", "/stored/")
            return self._say(307, 0, Location=f"http://localhost:{self.server.port}{elsewhere}")
        first, last = 0, len(data) - 1
        if part := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(part[1]), int(part[2] or last)
        wanted = data[first : last + 1]
        self._say(206 if part else 200, len(wanted), **({"Content-Range": f"bytes {first}-{last}/{len(data)}"} if part else {}))
        if data is LAYER:
            half = len(wanted) // 2
            self.wfile.write(wanted[:half])
            if not self._released():
                return self.server.left.set()
            wanted = wanted[half:]
        self.wfile.write(wanted)

    def _released(self):
        """Waits for it; false where the client leaves before."""
        while not self.server.released.wait(0.02):
            readable, _, _ = select.select([self.connection], [], [], 0)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                return False
        return True

    def _asked_for(self):
        return self.server.blobs.get(self.path.rsplit("/", 1)[1], self.server.manifest)

    def _say(self, status, length, **fields):
        self.send_response(status)
        for name, value in {"Content-Length": length, **fields}.items():
            self.send_header(name, str(value))
        self.end_headers()
