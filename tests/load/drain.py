#!/usr/bin/env python3
"""SIGTERM under load loses no request that was accepted and ends with 0; after SIGKILL a new server is ready in 1 s."""
import asyncio
import json
import signal
import time

from loadlib import PROMPTS, SLOW, Server, Verdict, completion_body, greedy_alone, parse_stream, raw_request, read_body, read_head, scaled

OTHER = []  # answers that are neither right nor a refusal for the drain
CLIENTS, TOKENS, ROUNDS = 64, 64, scaled(3)


async def client(i, server, alone, counts, stop_at):
    """Requests one after another on a kept connection, until the server refuses."""
    reader = writer = None
    number = i
    while True:
        prompt, streamed = PROMPTS[number % len(PROMPTS)], number % 2 == 0
        number += CLIENTS + 1
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 22)
        except OSError:
            counts["not connected"] += 1
            return
        head = None
        sent = time.monotonic()
        try:
            writer.write(raw_request(completion_body(prompt, TOKENS, stream=streamed, ignore_eos=True)))
            head, headers = await read_head(reader)
            body = await read_body(reader, headers)
        except (OSError, asyncio.IncompleteReadError):
            if head is not None:
                counts["cut off"] += 1
            elif stop_at[0] is not None and sent >= stop_at[0] - 0.001:
                counts["closed before the request"] += 1  # sent to a connection that the server was just closing
            else:
                counts["lost"] += 1
            return
        if head == 503:
            counts["refused"] += 1
            writer.close()
            return
        if head != 200:
            counts["other status"] += 1
            OTHER.append((head, body[:300]))
            return
        if streamed:
            right = parse_stream(body) == (*alone[prompt], True)
        else:
            choice = json.loads(body)["choices"][0]
            right = (choice["text"], choice["finish_reason"]) == alone[prompt]
        counts["good" if right else "wrong"] += 1
        if headers.get("connection", "").lower() == "close":
            writer.close()
            writer = None


async def one_round(server, alone, counts):
    stop_at = [None]
    clients = [asyncio.create_task(client(i, server, alone, counts, stop_at)) for i in range(CLIENTS)]
    begin = time.monotonic()
    while counts["good"] < counts["at the start"] + 3 * CLIENTS and time.monotonic() < begin + 60:
        await asyncio.sleep(0.05)
    stop_at[0] = time.monotonic()
    server.unexpected = False
    server.process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(asyncio.gather(*clients), 60)
    return stop_at[0]


def main():
    verdict = Verdict("drain")
    counts = dict.fromkeys(("good", "refused", "closed before the request", "not connected", "wrong", "cut off", "lost", "other status"), 0)
    drains = []
    for _ in range(ROUNDS):
        with Server("--grace", "30", "--kv-bytes", "256M", "--log-level", "warn") as server:
            alone = greedy_alone(server, PROMPTS, TOKENS, ignore_eos=True)
            counts["at the start"] = counts["good"]
            began = asyncio.run(one_round(server, alone, counts))
            code = server.process.wait(60)
            drains.append(time.monotonic() - began)
            verdict.check(code == 0, f"exit code {code} after SIGTERM")
    del counts["at the start"]
    for kind in ("wrong", "cut off", "lost", "other status"):
        verdict.check(counts[kind] == 0, f"{counts[kind]} requests: {kind} {OTHER[:3] if kind == 'other status' else ''}")
    verdict.check(counts["good"] > ROUNDS * CLIENTS, "hardly any request was served")
    verdict.set(rounds=ROUNDS, clients=CLIENTS, slowest_drain_s=max(drains), **{kind.replace(" ", "_"): n for kind, n in counts.items()})

    ready = []
    for _ in range(ROUNDS):
        server = Server("--log-level", "warn")
        with server:
            counts_of_killed = dict.fromkeys(counts, 0)

            async def kill_under_load():
                clients = [asyncio.create_task(client(i, server, alone, counts_of_killed, [0])) for i in range(CLIENTS)]
                await asyncio.sleep(0.5)
                server.stop(signal.SIGKILL)
                await asyncio.wait_for(asyncio.gather(*clients), 60)
            asyncio.run(kill_under_load())
        with Server("--log-level", "warn", wait=False) as again:
            ready.append(again.wait_ready())
            verdict.check(again.post("/v1/completions", completion_body("A", 1))[0] == 200, "no answer after the restart")
    verdict.set(ready_after_kill_s=max(ready))
    verdict.check(max(ready) < SLOW, f"ready only {max(ready):.2f} s after the restart")
    verdict.finish()


if __name__ == "__main__":
    main()
