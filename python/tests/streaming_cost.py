#!/usr/bin/env python3
"""What streaming through Python costs: the same load by `lathe bench throughput` and by asyncio, in turn.

64 prompts of 128 uniform ids, 128 tokens each, end of text off, no prefix cache, all at once; one task for each reads
its chunks and their text. Prints output tokens a second of each round and the medians' ratio, and
what share of the processor time the event loop's thread has taken, which other work on the machine does not blur.
Usage: streaming_cost.py LATHE ENGINE [ROUNDS]
"""
import asyncio
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

import lathe

REQUESTS, INPUT, OUTPUT = 64, 128, 128


def by_command(program, engine):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "result.json"
        subprocess.run([program, "bench", "throughput", engine, "--requests", str(REQUESTS), "--input-len", str(INPUT),
                        "--output-len", str(OUTPUT), "--json", str(file)], check=True, stdout=subprocess.DEVNULL)
        return json.loads(file.read_text())["output_tokens_per_second"]


async def stream(llm, prompt):
    text = ""
    n = 0
    async for chunk in llm.astream(prompt, temperature=0, max_tokens=OUTPUT, ignore_eos=True):
        text += chunk.text
        n += len(chunk.token_ids)
    assert n == OUTPUT
    return text


async def batch(llm, prompts):
    await asyncio.gather(*(stream(llm, prompt) for prompt in prompts))


def by_python(llm):
    draw = random.Random(0)
    prompts = [[draw.randrange(llm.info["vocab_size"]) for _ in range(INPUT)] for _ in range(REQUESTS)]
    asyncio.run(batch(llm, prompts[:2]))
    begin, own, all = time.monotonic(), time.thread_time(), time.process_time()
    asyncio.run(batch(llm, prompts))
    rate = REQUESTS * OUTPUT / (time.monotonic() - begin)
    return rate, (time.thread_time() - own) / (time.process_time() - all)


def by_python_process(engine):
    """A process for each round, as the command is one."""
    done = subprocess.run([sys.executable, __file__, "--one", engine], check=True, capture_output=True, text=True)
    rate, share = map(float, done.stdout.split())
    print(f"the event loop's thread: {100 * share:.2f} % of the processor time")
    return rate


def main():
    if sys.argv[1] == "--one":
        with lathe.LLM(sys.argv[2], prefix_cache=False) as llm:
            print(*by_python(llm))
        return
    program, engine, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 5
    command, python = [], []
    for i in range(rounds):
        for name, values, measure in (("command", command, lambda: by_command(program, engine)),
                                      ("python", python, lambda: by_python_process(engine))):
            values.append(measure())
            print(f"round {i + 1}: {name} {values[-1]:.1f} tok/s", flush=True)
    a, b = statistics.median(command), statistics.median(python)
    print(f"median: command {a:.1f}, python {b:.1f} tok/s: {100 * (1 - b / a):+.1f} % cost")


if __name__ == "__main__":
    main()
