"""What the load tests share: streams over plain sockets, verdicts, one line of JSON. Standard library only."""
import asyncio
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))
from lathe_server import Server, program  # noqa: E402, F401

SCALE = float(os.environ.get("SCALE", "1"))
SLOW = float(os.environ.get("SLOW", "1"))  # limits of time are multiplied by this: for builds with a sanitizer
PROMPTS = [f"{opening} {thing}" for opening in ("Once upon a time there was a", "One day a little girl saw a", "Tom had a", "The big")
           for thing in ("cat", "dog", "red ball", "tree")]


def scaled(n, least=1):
    return max(least, int(n * SCALE))


class Verdict:
    """Collects what was measured and what must hold; finish() prints one line and exits."""

    def __init__(self, name):
        self.numbers, self.faults = {"test": name}, []

    def set(self, **numbers):
        self.numbers |= {key: round(value, 4) if isinstance(value, float) else value for key, value in numbers.items()}

    def check(self, holds, what):
        if not holds:
            self.faults.append(what)
        return holds

    def finish(self):
        self.set(ok=not self.faults)
        if self.faults:
            self.numbers["faults"] = self.faults[:20]
        print(json.dumps(self.numbers), flush=True)
        sys.exit(1 if self.faults else 0)


def completion_body(prompt, tokens, **more):
    return {"prompt": prompt, "max_tokens": tokens, "temperature": 0} | more


def greedy_alone(server, prompts, tokens, **more):
    """{prompt: (text, finish_reason)} of each prompt alone, not streamed."""
    out = {}
    for prompt in prompts:
        status, answer = server.post("/v1/completions", completion_body(prompt, tokens, **more))
        assert status == 200, answer
        out[prompt] = (answer["choices"][0]["text"], answer["choices"][0]["finish_reason"])
    return out


def raw_request(body, path="/v1/completions", close=False):
    text = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
            f"{'Connection: close' if close else 'Connection: keep-alive'}\r\n\r\n").encode() + text


async def read_head(reader):
    """(status, {header: value})"""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
    return int(head[0].split(" ")[1]), {name.lower(): value for name, value in headers.items()}


async def read_body(reader, headers):
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
        return body
    return await reader.readexactly(int(headers.get("content-length", 0)))


def parse_stream(body):
    """(text, finish_reason, whether [DONE] came) of the events of one completion with one choice."""
    text, finish, done = "", None, False
    for event in body.split(b"\n\n"):
        if not event.startswith(b"data: "):
            continue
        data = event[6:]
        if data == b"[DONE]":
            done = True
            continue
        chunk = json.loads(data)
        if chunk.get("error"):
            return text, "error: " + str(chunk["error"]), False
        for choice in chunk["choices"]:
            text += choice["text"]
            finish = choice["finish_reason"] or finish
    return text, finish, done


async def stream_once(port, prompt, tokens, **more):
    """(status, text, finish, done) of one streamed completion on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    try:
        writer.write(raw_request(completion_body(prompt, tokens, stream=True, **more), close=True))
        status, headers = await read_head(reader)
        body = await read_body(reader, headers)
        return (status, *parse_stream(body)) if status == 200 else (status, body.decode(), None, False)
    finally:
        writer.close()


def bench(server, *flags):
    """Runs `lathe bench serving` against the server; its JSON."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.json"
        command = [str(program()), "bench", "serving", server.url, *flags, "--json", str(out)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{done.stdout[-3000:]}")
        return json.loads(out.read_text())


def start_bench(server, *flags):
    """The same in the background."""
    return subprocess.Popen([str(program()), "bench", "serving", server.url, *flags], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)
