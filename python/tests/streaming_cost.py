#!/usr/bin/env python3
"""What streaming through Python costs: the same load by `lathe bench throughput` and by asyncio, in turn.

64 prompts of 128 uniform ids, 128 tokens each, end of text off, no prefix cache, all at once; one task for each reads
its chunks and their text. A round is a process of each, one after the other. Prints output tokens a second of each
round, medians, and what share of the processor time the event loop's thread has taken, which other work on the machine
does not blur; the last line is the verdict. Begins no round after two minutes, so that it ends within three.
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
ROUNDS, SECONDS, BAR = 9, 120, 5.0  # the bar: percent
ROW = "{:>7} {:14.1f} {:13.1f} {:+7.1f} {:13.1f}".format


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
    """(tokens a second, the loop's share of processor time) of a process, as the command is one."""
    done = subprocess.run([sys.executable, __file__, "--one", engine], check=True, stdout=subprocess.PIPE, text=True)
    rate, share = map(float, done.stdout.split())
    return rate, share


def main():
    if sys.argv[1] == "--one":
        with lathe.LLM(sys.argv[2], prefix_cache=False) as llm:
            print(*by_python(llm))
        return 0
    program, engine, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else ROUNDS
    begin = time.monotonic()
    print("  round  command tok/s  Python tok/s  cost %  loop's CPU %", flush=True)
    measured = []
    while len(measured) < rounds and (not measured or time.monotonic() - begin < SECONDS):
        command = by_command(program, engine)
        python, share = by_python_process(engine)
        measured.append((command, python, 100 * (1 - python / command), 100 * share))
        print(ROW(len(measured), *measured[-1]), flush=True)
    medians = [statistics.median(column) for column in zip(*measured, strict=True)]
    print(ROW("median", *medians))
    cost = medians[2]  # of each round's, whose two processes had the same minute of the machine
    print(f"streaming {REQUESTS} requests through Python costs {cost:+.1f} % of the command's throughput (median of "
          f"{len(measured)} rounds): {'below' if cost < BAR else 'NOT below'} {BAR:.0f} %")
    return 0 if cost < BAR else 1


if __name__ == "__main__":
    sys.exit(main())
