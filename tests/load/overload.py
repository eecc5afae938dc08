#!/usr/bin/env python3
"""Under full load a refusal still comes within 50 ms: bad parameters (400), unknown paths (404), a full queue (429)."""
import json
import socket
import time

from loadlib import Server, Verdict, completion_body, raw_request, scaled, start_bench

PROBES, LIMIT_MS = scaled(400, 60), 50
BAD = [{"prompt": "a", "temperature": -1}, {"prompt": "a", "no_such_field": 1}, {"prompt": [1] * 5000}, {"prompt": "word " * 3000},
       {"prompt": 7}, {}, {"prompt": "a", "max_tokens": "many"}, {"prompt": "a", "stop": [""]}]


def timed(sock, request):
    """(status, seconds, error object) of one request on a kept connection."""
    begin = time.perf_counter()
    sock.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536) or b"\r\n\r\n"
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += sock.recv(65536)
    seconds = time.perf_counter() - begin
    return int(head.split(b" ")[1]), seconds, json.loads(body)


def measure(server, requests, verdict, name, statuses):
    """The sorted times of one kind of probe, in ms."""
    times = []
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(PROBES):
            status, seconds, answer = timed(sock, requests[i % len(requests)])
            if verdict.check(status in statuses, f"{name}: {status} {answer}"):
                verdict.check(answer["error"]["code"] and answer["error"]["message"], f"{name}: {answer}")
            times.append(seconds * 1e3)
            time.sleep(0.005)
    times.sort()
    verdict.set(**{f"{name}_p50_ms": times[len(times) // 2], f"{name}_p99_ms": times[int(len(times) * 0.99)], f"{name}_max_ms": times[-1]})
    verdict.check(times[int(len(times) * 0.99)] <= LIMIT_MS, f"{name}: p99 {times[int(len(times) * 0.99)]:.1f} ms")


def main():
    verdict = Verdict("overload")
    flags = ("--max-sequences", "32", "--max-queued-requests", "64", "--kv-bytes", "256M", "--log-level", "warn")
    with Server(*flags) as server:
        load = start_bench(server, "--concurrency", "100", "--duration", "600", "--dataset", "random:64/256", "--ignore-eos")
        try:
            deadline = time.monotonic() + 30
            while server.metrics()["lathe_requests_running"] < 32 and time.monotonic() < deadline:
                time.sleep(0.05)
            verdict.check(server.metrics()["lathe_requests_running"] >= 32, "the load did not fill the server")
            measure(server, [raw_request(body) for body in BAD], verdict, "bad_parameters", {400})
            measure(server, [b"GET /no/such/path HTTP/1.1\r\nHost: localhost\r\n\r\n"], verdict, "unknown_path", {404})
            full = raw_request(completion_body("Once", 1900))
            measure(server, [full], verdict, "queue_full", {429})
            m = server.metrics()
            verdict.set(running=m["lathe_requests_running"], waiting=m["lathe_requests_waiting"], probes_each=PROBES)
        finally:
            load.terminate()
            load.wait()
        verdict.check(server.wait_idle(30) is not None, "KV pages are left over")
    verdict.finish()


if __name__ == "__main__":
    main()
