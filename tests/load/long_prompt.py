#!/usr/bin/env python3
"""Short requests beside prompts of 104,000 tokens: the 99th percentile of their gaps at most doubles, and their first
token comes within 2 s. The model is made on the spot: a context of 128k, random weights, small layers."""
import pathlib
import random
import subprocess
import tempfile
import threading
import time

from loadlib import Server, Verdict, bench, program, scaled

CONFIG = pathlib.Path(__file__).with_name("long_context.json")
LONG, SHORT_IN, SHORT_OUT, AT_ONCE = 104_000, 100, 64, 8
SECONDS = scaled(40, 10)
LIMIT_RATIO, LIMIT_TTFT_MS = 2, 2000


class LongPrompts(threading.Thread):
    """One prompt of LONG tokens after another, each with ids of its own, until stop()."""

    def __init__(self, server):
        super().__init__()
        self.server, self.stopping, self.seconds, self.faults = server, False, [], []

    def run(self):
        draw = random.Random(7)
        while not self.stopping:
            ids = [draw.randrange(8, 8000) for _ in range(LONG)]
            begin = time.monotonic()
            status, answer = self.server.post("/v1/completions", {"prompt": ids, "max_tokens": 4, "ignore_eos": True, "temperature": 0},
                                              timeout=1200)
            self.seconds.append(time.monotonic() - begin)
            if status != 200 or answer["usage"] != answer["usage"] | {"prompt_tokens": LONG, "completion_tokens": 4}:
                self.faults.append(str(answer)[:300])

    def stop(self):
        self.stopping = True
        self.join()


def short_ones(server, seed):
    return bench(server, "--concurrency", str(AT_ONCE), "--duration", str(SECONDS), "--dataset", f"random:{SHORT_IN}/{SHORT_OUT}",
                 "--ignore-eos", "--fields", '{"return_token_ids":true}', "--vocab", "8000", "--seed", str(seed))["runs"][0]


def main():
    verdict = Verdict("long_prompt")
    with tempfile.TemporaryDirectory() as folder:
        model, engine = folder + "/long-context", folder + "/long-context.lathe"
        for command in (["synth", "--config", str(CONFIG), "-o", model], ["build", model, "-o", engine]):
            subprocess.run([str(program()), *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with Server("--kv-bytes", "1G", "--max-body-bytes", str(4 << 20), "--log-level", "warn", model_path=engine) as server:
            without = short_ones(server, 1)
            long_prompts = LongPrompts(server)
            long_prompts.start()
            deadline = time.monotonic() + 30
            while server.metrics()["lathe_requests_running"] < 1 and time.monotonic() < deadline:
                time.sleep(0.01)
            beside = short_ones(server, 2)
            long_prompts.stop()
            for run, name in ((without, "without"), (beside, "beside")):
                verdict.check(run["failed"] == 0 and run["good"] > 0, f"{name}: {run['failed']} failed: {run['errors']}")
                verdict.set(**{f"{name}_{what}_ms": value for what, value in (
                    ("gap_p50", run["itl_ms"]["p50"]), ("gap_p99", run["itl_ms"]["p99"]), ("longest_gap", run["longest_gap_ms"]),
                    ("first_token_p50", run["ttft_ms"]["p50"]), ("first_token_max", run["ttft_ms"]["max"]))},
                    **{f"{name}_tokens_per_second": run["output_tokens_per_second"]})
            ratio = beside["itl_ms"]["p99"] / without["itl_ms"]["p99"]
            verdict.set(long_prompts=len(long_prompts.seconds), long_tokens=LONG, slowest_long_s=max(long_prompts.seconds), gap_p99_ratio=ratio)
            verdict.check(not long_prompts.faults, f"long prompts failed: {long_prompts.faults[:2]}")
            verdict.check(ratio <= LIMIT_RATIO, f"the 99th percentile of gaps is {ratio:.2f} times what it is without long prompts")
            verdict.check(beside["ttft_ms"]["max"] <= LIMIT_TTFT_MS, f"a first token came after {beside['ttft_ms']['max']:.0f} ms")
            verdict.check(server.wait_idle() is not None, "KV pages are left over")
    verdict.finish()


if __name__ == "__main__":
    main()
