"""A way to the real Ollama that remembers what a client asked, so that it can be asked again in other words."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx


class Recorder:
    """Passes every POST on to the server at `url`, and keeps the path and the body of the last one."""

    def __init__(self, url):
        self.path, self.body = None, None
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                recorder.path, recorder.body = self.path, json.loads(body)
                answer = httpx.post(url + self.path, content=body, timeout=120)
                self.send_response(answer.status_code)
                self.send_header("Content-Type", answer.headers["Content-Type"])
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def in_other_mode(self):
        """The last body, asking for a stream where it asked for a whole answer, and the other way round."""
        native = self.path.startswith("/api/")
        body = self.body | {"stream": not self.body.get("stream", native)}
        body.pop("stream_options", None)
        return body

    def close(self):
        self._server.shutdown()
        self._server.server_close()
