"""A server that answers like lathe's, one scripted way for each message, and serves the playground's files."""

import json
import math
import pathlib
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SOURCE = pathlib.Path(__file__).resolve().parents[3] / "src/serve/playground"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

STORY = """The old clock had stopped at noon, and nobody in the village could say **why**.

"It is only resting," said the miller's youngest daughter, and she climbed the *hundred and four* steps with:

- a lamp,
- a feather,
- and half a loaf of bread.

At the top she found a note that read `wind me gently`, and below it:

```python
def wind(clock, turns=3):
    for _ in range(turns):
        clock.turn()  # gently
```

So she did, and the bells woke one after the other."""

HTML = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script> **<b>bold</b>** `<i>code</i>`\n\n```<u>\n</code><script>window.pwned=1</script>\n```'


def policy():
    text = (SOURCE / "playground.cc").read_text()
    literals = re.search(r"kPolicy\[\] =(.*?);\n", text, re.S).group(1)
    return "".join(re.findall(r'"([^"]*)"', literals))


class FakeServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies, self.cut, self.busy = [], 0, True
        self.has_template, self.echo = True, ""
        self.tokens, self.started = 0, time.monotonic()
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def metrics(self):
        t = time.monotonic() - self.started
        wave = lambda period, low, high: low + (high - low) * (0.5 + 0.5 * math.sin(2 * math.pi * t / period))
        tokens = int(self.tokens + (420 * t + 900 * math.sin(t / 3) if self.busy else 0))
        values = {"lathe_generated_tokens_total": max(tokens, 0), "lathe_requests_running": int(wave(17, 6, 33)),
                  "lathe_requests_waiting": max(0, int(wave(11, -6, 9))), "lathe_kv_cache_usage_ratio": wave(23, 0.2, 0.7)}
        return "".join(f"# HELP {k} x.\n# TYPE {k} gauge\n{k} {v}\n" for k, v in values.items())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):
            self.server.cut += 1
            self.close_connection = True

    def answer(self, status, kind, body, **headers):
        body = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/metrics":
            return self.answer(200, "text/plain", self.server.metrics())
        if self.path == "/v1/models":
            return self.answer(200, "application/json",
                               json.dumps({"data": [{"id": "tales-16m", "max_model_len": 2048}]}))
        name = "index.html" if self.path == "/" else self.path.removeprefix("/playground/")
        file = SOURCE / "page" / name
        if "/" in name or not file.is_file():
            return self.answer(404, "text/plain", "none")
        self.answer(200, TYPES[file.suffix], file.read_bytes(), Content_Security_Policy=policy())

    def error(self, status, code, message, **headers):
        self.answer(status, "application/json", json.dumps({"error": {"message": message, "code": code}}), **headers)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append((self.path, body))
        chat = self.path == "/v1/chat/completions"
        if chat and not self.server.has_template:
            return self.error(400, "no_chat_template", "the model has no chat template")
        text = body["messages"][-1]["content"] if chat else body["prompt"]
        if text == "full":
            return self.error(429, "queue_full", "the queue holds 256 requests of 256", Retry_After="7")
        if text == "draining":
            return self.error(503, "draining", "the server is shutting down")
        if text == "key":
            return self.error(401, "invalid_api_key", "no key")
        if text == "long":
            return self.error(400, "context_length_exceeded", "the prompt has 9000 tokens, the context 2048")
        self.stream(text, chat)

    def stream(self, text, chat):
        pause = 0.03 if text == "slow" else 0.012
        reply = {"html": HTML, "slow": "word " * 400, "short": "Yes.", "echo": self.server.echo}.get(text, STORY)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        time.sleep(0.08)
        pieces = re.findall(r"\S+\s*|\s+", reply)
        if text == "think" and chat:
            for piece in ("They ", "ask ", "for ", "thought."):
                self.event({"choices": [{"index": 0, "delta": {"reasoning_content": piece}}]})
        for i, piece in enumerate(pieces):
            if text == "broken" and i == 5:
                self.event({"error": {"message": "the device was lost", "code": "unavailable", "type": "server_error"}})
                return
            choice = {"index": 0, "delta": {"content": piece}} if chat else {"index": 0, "text": piece}
            self.event({"choices": [choice]})
            self.server.tokens += 1
            time.sleep(pause)
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length" if text == "cut" else "stop"}]})
        self.event({"choices": [], "usage": {"completion_tokens": len(pieces), "prompt_tokens": 9,
                                             "prompt_tokens_details": {"cached_tokens": 4}}})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, value):
        # In two writes: a client must put events together again.
        raw = b"data: " + json.dumps(value).encode() + b"\n\n"
        self.wfile.write(raw[:9])
        self.wfile.flush()
        self.wfile.write(raw[9:])
        self.wfile.flush()
