#!/usr/bin/env python3
"""1,000 streams at once: each is right and complete (equal to the prompt alone, greedy), and none starves."""
import asyncio
import time

from loadlib import PROMPTS, Server, Verdict, bench, greedy_alone, scaled, stream_once

STREAMS, TOKENS, BATCH = scaled(1000), 48, 256


async def all_at_once(port):
    calls = [stream_once(port, PROMPTS[i % len(PROMPTS)], TOKENS, ignore_eos=True) for i in range(STREAMS)]
    return await asyncio.gather(*calls, return_exceptions=True)


def main():
    verdict = Verdict("streams")
    flags = ("--max-sequences", str(BATCH), "--max-connections", str(STREAMS + 100), "--kv-bytes", "1G", "--log-level", "warn")
    with Server(*flags) as server:
        alone = greedy_alone(server, PROMPTS, TOKENS, ignore_eos=True)
        begin = time.monotonic()
        answers = asyncio.run(all_at_once(server.port))
        seconds = time.monotonic() - begin
        wrong = [i for i, answer in enumerate(answers)
                 if isinstance(answer, BaseException) or answer != (200, *alone[PROMPTS[i % len(PROMPTS)]], True)]
        verdict.check(not wrong, f"{len(wrong)} streams differ, the first: {[answers[i] for i in wrong[:2]]}")
        verdict.set(streams=STREAMS, tokens_each=TOKENS, batch=BATCH, wrong=len(wrong), seconds=seconds)

        # Gaps as a client sees them, by the load generator, which is cheap enough not to make them itself. Asked for
        # ids, the server tells of every token, also of those without text (a control token, half a character), which
        # would else look like a gap of two steps and more.
        before = server.cpu_seconds()[1]
        result = bench(server, "--concurrency", str(STREAMS), "--requests", str(STREAMS), "--dataset", f"random:16/{TOKENS}",
                       "--ignore-eos", "--fields", '{"return_token_ids":true}')["runs"][0]
        after = server.cpu_seconds()[1]
        # A step has a row for every running sequence (512 rows at most, 256 sequences): a share of 1.
        gap, median = result["longest_gap_ms"], result["itl_ms"]["p50"]
        verdict.set(median_gap_ms=median, longest_gap_ms=gap, gap_ratio=gap / median, p99_gap_ms=result["itl_ms"]["p99"],
                    output_tokens_per_second=result["output_tokens_per_second"], failed=result["failed"],
                    cpu_seconds={name: round(after[name] - before.get(name, 0), 2) for name in after})
        verdict.check(result["failed"] == 0 and result["good"] == STREAMS, f"{result['failed']} failed: {result['errors']}")
        verdict.check(gap <= 3 * median, f"the longest gap, {gap:.1f} ms, is above 3 x the median of {median:.1f} ms")
        verdict.check(server.wait_idle() is not None, "KV pages are left over")
    verdict.finish()


if __name__ == "__main__":
    main()
