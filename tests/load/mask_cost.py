#!/usr/bin/env python3
"""What structured output adds to a step: gaps between tokens of 64 streams bound to a JSON schema, against the same
streams unbound, in turn. Less than 5 %."""
import json
import statistics

from loadlib import Server, Verdict, bench, scaled

STREAMS, ROUNDS, LIMIT_PERCENT = 64, scaled(7, 3), 5
SCHEMA = {"type": "array", "minItems": 40, "items": {
    "type": "object", "required": ["name", "age", "tags"], "additionalProperties": False,
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}}}}}
BOUND = {"response_format": {"type": "json_schema", "json_schema": {"name": "people", "schema": SCHEMA}}}


def gap_ms(server, seed, fields):
    """(mean gap between tokens, tokens/s)"""
    run = bench(server, "--concurrency", str(STREAMS), "--requests", str(STREAMS), "--dataset", "random:16/128", "--seed", str(seed), *([] if fields else ["--ignore-eos"]),
                "--fields", json.dumps({"return_token_ids": True} | fields))["runs"][0]
    assert run["failed"] == 0, run["errors"]
    return run["itl_ms"]["p50"], run["output_tokens_per_second"]


def main():
    verdict = Verdict("mask_cost")
    with Server("--max-sequences", str(STREAMS), "--kv-bytes", "256M", "--log-level", "warn") as server:
        gap_ms(server, 0, BOUND)  # the automaton is made, and its masks are found, once
        free, bound = [], []
        for seed in range(1, ROUNDS + 1):
            free.append(gap_ms(server, seed, {}))
            bound.append(gap_ms(server, 1000 + seed, BOUND))  # other prompts: nothing is cached
        ratios = sorted(b[0] / f[0] for f, b in zip(free, bound))
        percent = 100 * (statistics.median(ratios) - 1)
        verdict.set(streams=STREAMS, rounds=ROUNDS, free_gap_ms=statistics.median(f[0] for f in free),
                    bound_gap_ms=statistics.median(b[0] for b in bound), free_tokens_per_second=statistics.median(f[1] for f in free),
                    bound_tokens_per_second=statistics.median(b[1] for b in bound), added_percent=percent,
                    added_percent_least=100 * (ratios[0] - 1), added_percent_most=100 * (ratios[-1] - 1))
        verdict.check(percent < LIMIT_PERCENT, f"a step with masks takes {percent:.1f} % longer")
    verdict.finish()


if __name__ == "__main__":
    main()
