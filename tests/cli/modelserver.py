"""A model server that is asked which models it has, and for one token."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKENS = {
    "/api/chat": '{"message": {"content": "x"}, "done": true}\n',
    "/api/generate": '{"response": "x", "done": true}\n',
    "/chat/completions": 'data: {"choices": [{"index": 0, "delta": {"content": "x"}}]}\n\n'
    "data: [DONE]\n\n",
    "/responses": 'data: {"type": "response.completed", "response": {"status": "completed",'
    ' "output": []}}\n\n',
    "/messages": 'data: {"type": "message_start", "message": {}}\n\n'
    'data: {"type": "message_stop"}\n\n',
    "/completion": 'data: {"content": "x", "stop": true}\n\n',
}


@contextmanager
def model_server(answers: dict[str, tuple[int, str]]) -> Iterator[tuple[str, list]]:
    """Answers GETs by path (404 otherwise), and every POST with a token, unless `POST path` says
    otherwise; yields the URL and the (path, headers) that were asked.
    """
    asked: list = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.answer(*answers.get(self.path, (404, "nothing here")))

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            path = self.path.partition("?")[0]
            token = next(said for suffix, said in TOKENS.items() if path.endswith(suffix))
            self.answer(*answers.get(f"POST {path}", (200, token)))

        def answer(self, status, text):
            asked.append((self.path, dict(self.headers)))
            body = text.encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args):
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
