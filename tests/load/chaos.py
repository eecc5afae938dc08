#!/usr/bin/env python3
"""Abuse beside 32 good streams: 10,000 fuzzed requests, slow and half-open clients, pipelines, 10,000 disconnects.

Nothing good is lost, the process stays, every bad request has a 4xx JSON answer within a second, and no KV page is
left over.
"""
import asyncio
import json
import random
import socket
import struct
import threading
import time

from loadlib import PROMPTS, SLOW, Server, Verdict, completion_body, greedy_alone, raw_request, read_body, read_head, scaled, stream_once

GOOD, TOKENS = 32, 64
FUZZED, DISCONNECTS, WORKERS = scaled(10000, 100), scaled(10000, 100), 4
MAX_BODY, MAX_HEADER = 1 << 20, 16 << 10


class GoodStreams(threading.Thread):
    """32 streams, each followed by another until stop(); any that differs from the prompt alone is a fault."""

    def __init__(self, server, alone):
        super().__init__()
        self.server, self.alone, self.stopping = server, alone, False
        self.done, self.wrong, self.longest = 0, [], 0.0

    async def one(self, i):
        number = i
        while not self.stopping:
            prompt = PROMPTS[number % len(PROMPTS)]
            number += GOOD + 1
            begin = time.monotonic()
            try:
                answer = await stream_once(self.server.port, prompt, TOKENS, ignore_eos=True)
            except (OSError, asyncio.IncompleteReadError) as fault:
                answer = repr(fault)
            self.longest = max(self.longest, time.monotonic() - begin)
            self.done += 1
            if answer != (200, *self.alone[prompt], True):
                self.wrong.append(answer)
                await asyncio.sleep(0.1)

    def run(self):
        async def all_of_them():
            await asyncio.gather(*(self.one(i) for i in range(GOOD)))
        asyncio.run(all_of_them())

    def stop(self):
        self.stopping = True
        self.join()


# ---- bad requests: (bytes, statuses that are right). Every one is bad by construction.


def http(method, path, body=b"", *headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def post(body, path="/v1/completions"):
    return http("POST", path, body if isinstance(body, bytes) else json.dumps(body).encode(), "Content-Type: application/json")


WRONG_VALUES = {
    "temperature": [-1, 101, "hot", [], {}, True, 1e400], "top_p": [0, -0.1, 1.5, "x", []], "top_k": [-2, 1.5, "x"], "min_p": [-1, 2, "x"],
    "max_tokens": [-1, 1.5, "x", 2**40, []], "n": [0, -1, 10**6, "x", 0.5], "stop": [[""], 7, ["a"] * 99, {}], "seed": ["x", 1.5, []],
    "logprobs": [-1, 10**5, "x"], "logit_bias": [{"x": 1}, {"1": 1000}, [], {"-1": 1}], "stream": ["yes", 1, []], "echo": ["x", 2],
    "presence_penalty": [-2.1, 2.1, "x"], "frequency_penalty": [3, []], "prompt": [7, {}, [], [[]], [-1], [10**9], ["a", 1], [1.5], None],
    "stream_options": [{"include_usage": "x"}, 1], "response_format": [{"type": "xml"}, {}, 3], "best_of": [5], "suffix": ["x"],
    "timeout": [0, -1, "x"], "ignore_eos": ["x"], "stop_token_ids": [[-1], "x"], "model": ["other", 3], "priority": [10**6, "x"],
}


def bad_json(draw):
    good = json.dumps(completion_body(draw.choice(PROMPTS), 4)).encode()
    kind = draw.randrange(8)
    if kind == 0:
        return good[:draw.randrange(len(good) - 1)]
    if kind == 1:
        return draw.randbytes(draw.randrange(1, 300))
    if kind == 2:  # a flipped byte in the structure
        return good.replace(b"{", bytes([draw.randrange(0x80, 0x100)]), 1)
    if kind == 3:
        return b'{"prompt":' + b"[" * draw.choice([40, 1000, 50000])
    if kind == 4:
        return b'{"prompt":"a","prompt":"b"}'
    if kind == 5:
        return b'{"prompt":"\xff\xfe\xc0\x80","max_tokens":1}'
    if kind == 6:
        return draw.choice([b"[]", b"null", b"7", b'"x"', b"[{}]"])
    return b'{"prompt":"a","temperature":' + draw.choice([b"NaN", b"Infinity", b"-", b"1e", b"0x1", b"01"]) + b"}"


def bad_value(draw):
    field = draw.choice(list(WRONG_VALUES))
    value = draw.choice(WRONG_VALUES[field])
    body = completion_body("Once", 4) | {field: value}
    if field == "prompt" and value is None:
        del body["prompt"]
    return json.dumps(body).replace("Infinity", "1e400").encode()


def bad_chat(draw):
    messages = draw.choice([None, [], "hi", [7], [{}], [{"role": "user"}], [{"role": "wizard", "content": "x"}], [{"role": "user", "content": 7}],
                            [{"role": "user", "content": [{"type": "image_url"}]}], [{"role": "tool", "content": "x", "weird": 1}]])
    return {"messages": messages, "max_tokens": 2, draw.choice(["unknown", "functions", "frequency"]): {}}


def bad_request(draw):
    kind = draw.randrange(14)
    if kind <= 2:
        return post(bad_json(draw)), {400}
    if kind <= 5:
        return post(bad_value(draw)), {400, 404}
    if kind == 6:
        return post(bad_chat(draw), "/v1/chat/completions"), {400}
    if kind == 7:
        return post({"prompt": "a", "".join(draw.choice("abcxyz_-\u00e9\n") for _ in range(draw.randint(1, 30))): 1}), {400}
    if kind == 8:
        return post({"prompt": [draw.randrange(300) for _ in range(draw.randint(2049, 6000))], "max_tokens": 1}), {400}
    if kind == 9:
        path = draw.choice(["/v1/complete", "/v1", "//", "/v1/models/none", "/../etc/passwd", "/%2e%2e/", "/v1/completions/x", "/admin"])
        return http(draw.choice(["GET", "POST", "PUT"]), path), {400, 404, 405}
    if kind == 10:
        return http(draw.choice(["GET", "PUT", "DELETE", "PATCH"]), "/v1/completions"), {405}
    if kind == 11:
        return http("GET", "/v1/models", b"", "X-Large: " + "x" * draw.randint(MAX_HEADER, 4 * MAX_HEADER)), {431, 400}
    if kind == 12:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {draw.randint(MAX_BODY + 1, 2**40)}\r\n\r\n"
        return head.encode() + b"{" * 100, {413}
    line = draw.choice([b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
                        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
                        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
                        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n"])
    return line, {400, 404, 405, 413, 501, 505}


def read_answer(sock):
    """(status, body) of one answer; (0, what there was) when it is cut off."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            return 0, data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        part = sock.recv(65536)
        if not part:
            return 0, data
        body += part
    return int(head.split(b" ")[1]), body


class Fuzzer(threading.Thread):
    def __init__(self, port, seed, count):
        super().__init__()
        self.port, self.draw, self.count = port, random.Random(seed), count
        self.statuses, self.faults, self.times = {}, [], []

    def run(self):
        for _ in range(self.count):
            request, expected = bad_request(self.draw)
            begin = time.perf_counter()
            status, body = 0, b""
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=20) as sock:
                    try:
                        sock.sendall(request)
                    except OSError:
                        pass  # refused before it was all sent: the answer is there all the same
                    status, body = read_answer(sock)
            except OSError as fault:
                body = repr(fault).encode()
            self.times.append(time.perf_counter() - begin)
            self.statuses[status] = self.statuses.get(status, 0) + 1
            try:
                error = json.loads(body)["error"]
                shaped = bool(error["message"]) and "code" in error and "param" in error
            except (ValueError, KeyError, TypeError):
                shaped = False
            if status not in expected or not shaped:
                self.faults.append(f"{request[:160]!r}: {status} {body[:200]!r}, expected {expected}")


# ---- other bad manners


def half_open(port, seconds, verdict):
    """Connections that say nothing, or half a request, and one that dribbles a byte at a time."""
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    halves = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    for sock in halves:
        sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    dribble = socket.create_connection(("127.0.0.1", port))
    closed = None
    begin = time.monotonic()
    for byte in raw_request(completion_body("Once", 4)) * 1000:
        if time.monotonic() - begin > seconds:
            break
        try:
            dribble.sendall(bytes([byte]))
        except OSError:
            closed = time.monotonic() - begin
            break
        time.sleep(0.1)
    verdict.check(closed is not None, f"a client that writes 10 bytes a second was still there after {seconds} s")
    for sock in halves:
        sock.settimeout(5)
        try:
            status, _ = read_answer(sock)
        except OSError:
            status = -1
        verdict.check(status in (0, 408), f"half a request was answered with {status}")
    for sock in silent + halves + [dribble]:
        sock.close()
    verdict.set(slow_writer_closed_after_s=closed)


def slow_readers(port, verdict):
    """Streams that are not read: the server must not keep what they do not take, nor wait for them."""
    socks = []
    for _ in range(16):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect(("127.0.0.1", port))
        sock.sendall(raw_request(completion_body("Once", 1900, stream=True, ignore_eos=True, logprobs=5)))
        socks.append(sock)
    time.sleep(8)
    taken = 0
    for sock in socks:
        sock.settimeout(0.2)
        try:
            taken += len(sock.recv(512))
        except OSError:
            pass
        sock.close()
    verdict.set(slow_readers=len(socks), slow_reader_bytes=taken)


async def pipelines(port, alone, verdict):
    """Five requests in one write: five answers in order. Chunked bodies cut anywhere: the same answers."""
    prompts = PROMPTS[:5]
    for round_ in range(scaled(20) if SLOW <= 1 else 2):  # a sanitizer's build takes a minute a round beside the others
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
        writer.write(b"".join(raw_request(completion_body(p, TOKENS, ignore_eos=True)) for p in prompts))
        for p in prompts:
            status, headers = await read_head(reader)
            answer = json.loads(await read_body(reader, headers))
            verdict.check(status == 200 and answer["choices"][0]["text"] == alone[p][0], f"pipelined: {status} {answer}")
        draw = random.Random(round_)
        body = json.dumps(completion_body(prompts[0], TOKENS, ignore_eos=True)).encode()
        chunks = b""
        while body:
            n = draw.randint(1, 20)
            chunks += f"{len(body[:n]):x};ext=1\r\n".encode() + body[:n] + b"\r\n"
            body = body[n:]
        whole = (b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                 + chunks + b"0\r\n\r\n")
        for at in range(0, len(whole), 37):
            writer.write(whole[at:at + 37])
            await asyncio.sleep(0)
        status, headers = await read_head(reader)
        answer = json.loads(await read_body(reader, headers))
        verdict.check(status == 200 and answer["choices"][0]["text"] == alone[prompts[0]][0], f"chunked: {status} {answer}")
        writer.close()


class Disconnecter(threading.Thread):
    """Asks for a stream and leaves at a random moment, politely or not."""

    def __init__(self, port, seed, count):
        super().__init__()
        self.port, self.draw, self.count = port, random.Random(seed), count

    def run(self):
        for _ in range(self.count):
            request = raw_request(completion_body(self.draw.choice(PROMPTS), 500, stream=self.draw.random() < 0.7, ignore_eos=True,
                                                  n=self.draw.choice([1, 1, 2])))
            try:
                sock = socket.create_connection(("127.0.0.1", self.port), timeout=10)
                if self.draw.random() < 0.1:
                    request = request[:self.draw.randrange(len(request))]
                sock.sendall(request)
                time.sleep(self.draw.choice([0, 0.001, 0.01, 0.03]) * self.draw.random())
                if self.draw.random() < 0.5:  # a reset instead of a goodbye
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
            except OSError:
                pass


def run_threads(threads):
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - begin


def main():
    verdict = Verdict("chaos")
    flags = ("--max-sequences", "64", "--kv-bytes", "512M", "--max-body-bytes", str(MAX_BODY), "--max-header-bytes", str(MAX_HEADER),
             "--read-timeout", "5", "--log-level", "warn")
    with Server(*flags) as server:
        pid = server.pid
        alone = greedy_alone(server, PROMPTS, TOKENS, ignore_eos=True)
        good = GoodStreams(server, alone)
        good.start()

        fuzzers = [Fuzzer(server.port, seed, FUZZED // WORKERS) for seed in range(WORKERS)]
        seconds = run_threads(fuzzers)
        faults = [fault for fuzzer in fuzzers for fault in fuzzer.faults]
        times = sorted(t for fuzzer in fuzzers for t in fuzzer.times)
        statuses = {}
        for fuzzer in fuzzers:
            for status, n in fuzzer.statuses.items():
                statuses[str(status)] = statuses.get(str(status), 0) + n
        verdict.set(fuzzed=len(times), fuzz_seconds=seconds, statuses=statuses, slowest_refusal_s=times[-1],
                    p99_refusal_s=times[int(len(times) * 0.99)], wrongly_answered=len(faults))
        verdict.check(not faults, f"{len(faults)} bad requests were not refused as they should: {faults[:5]}")
        verdict.check(times[-1] < SLOW, f"a bad request was answered after {times[-1]:.2f} s")

        half_open(server.port, 30, verdict)
        slow_readers(server.port, verdict)
        asyncio.run(pipelines(server.port, alone, verdict))

        seconds = run_threads([Disconnecter(server.port, seed, DISCONNECTS // WORKERS) for seed in range(WORKERS)])
        verdict.set(disconnects=DISCONNECTS, disconnect_seconds=seconds)
        good.stop()
        idle = server.wait_idle()
        verdict.set(good_streams=good.done, good_streams_wrong=len(good.wrong), slowest_good_stream_s=good.longest, idle_after_s=idle)
        verdict.check(not good.wrong and good.done >= GOOD, f"{len(good.wrong)} of {good.done} good streams were hurt: {good.wrong[:3]}")
        verdict.check(server.alive() and server.pid == pid, "the process is gone")
        verdict.check(idle is not None, f"left over: {server.metrics()}")
        verdict.check(server.get("/livez")[0] == 200 and server.get("/readyz")[0] == 200, "not healthy afterwards")
    verdict.finish()


if __name__ == "__main__":
    main()
