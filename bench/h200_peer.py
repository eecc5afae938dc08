#!/usr/bin/env python3
"""transformers on the same shape in the same run: a decode step compiled over a static cache, and plain generate().

Usage: h200_peer.py CONFIG_JSON OUT_DIR [--device cuda] [--modes static,plain] [--batches 1,256] [--inputs 32,512,2048]
                    [--output 128] [--rounds 3] [--limit-compile 150] [--limit-case 60] [--no-compile]

Weights are random and made on the device, in bf16: speed does not depend on them. Each case is one JSON file,
OUT_DIR/peer.MODE.BATCH.INPUT.json, with the keys of `lathe bench latency` where they mean the same; one that fails, or
is not done within its limit, has its error in it, and the next one is run. A batch whose prompts do not fit into memory at once is
halved until they do ("batch_run"). Needs torch and transformers.

One static cache, as long as the longest prompt and its answer, serves all prompts: so the step is compiled once. Over 2,176 positions
instead of 160 it reads 0.26 GB more a token, 1.6 % of the 16 GB that it reads anyway.
"""
import argparse
import contextlib
import json
import pathlib
import signal
import statistics
import time

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, StaticCache, StoppingCriteria, StoppingCriteriaList


class TookTooLong(RuntimeError):
    pass


@contextlib.contextmanager
def limit(seconds):
    """TookTooLong in the middle of whatever is done, once `seconds` are over."""
    def stop(*_):
        raise TookTooLong(f"stopped after {seconds:g} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class FirstToken(StoppingCriteria):
    """Notes when the first new token was there; never stops."""

    def __init__(self, clock):
        self.clock, self.at = clock, None

    def __call__(self, input_ids, scores, **kwargs):
        if self.at is None:
            self.at = self.clock()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class Peer:
    def __init__(self, config_path, device, longest):
        self.device, self.longest = device, longest
        config = AutoConfig.from_pretrained(config_path)
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(device):
            self.model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
        self.model.eval()
        self.model.generation_config.eos_token_id = None
        self.model.generation_config.pad_token_id = 0
        self.vocab = config.vocab_size
        self.cache = self.step = None

    def clock(self):
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def prompt(self, batch, tokens):
        return torch.randint(0, self.vocab, (batch, tokens), device=self.device)

    def plain(self, batch, tokens, out):
        """Seconds to the first token, and to the last."""
        ids = self.prompt(batch, tokens)
        first = FirstToken(self.clock)
        start = self.clock()
        self.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=out, do_sample=False,
                            stopping_criteria=StoppingCriteriaList([first]))
        return first.at - start, self.clock() - start

    def forward(self, token, position):
        return self.model(token, position_ids=position[None], past_key_values=self.cache, use_cache=True,
                          logits_to_keep=1).logits[:, -1].argmax(-1, keepdim=True)

    def compile(self, compiled):
        """Makes the static cache and the step, and runs it a few times; the seconds it took."""
        start = time.perf_counter()
        self.cache = StaticCache(config=self.model.config, max_cache_len=self.longest)
        self.step = torch.compile(self.forward, mode="reduce-overhead", dynamic=False) if compiled else self.forward
        self.static(1, 32, 6)
        return time.perf_counter() - start

    def static(self, batch, tokens, out):
        """The same with a static cache and, on CUDA, the decode step compiled into a graph."""
        assert batch == 1
        self.cache.reset()
        ids = self.prompt(batch, tokens)
        start = self.clock()
        token = self.forward(ids, torch.arange(tokens, device=self.device))
        first = self.clock() - start
        where = torch.tensor([tokens], device=self.device)
        for _ in range(out - 1):
            token = self.step(token, where).clone()
            where = where + 1
        return first, self.clock() - start


def numbers(text):
    return [int(part) for part in text.split(",")]


def measure(peer, mode, batch, tokens, options):
    """The row of one case. Slow ones (more than 2 s) are measured once, others as often as --rounds says."""
    once = getattr(peer, mode)
    run = batch
    while True:
        try:
            once(run, tokens, 3)  # warm
            break
        except torch.OutOfMemoryError:
            if run == 1:
                raise
            run //= 2
            torch.cuda.empty_cache()
    results = [once(run, tokens, options.output)]
    while len(results) < options.rounds and results[0][1] < 2:
        results.append(once(run, tokens, options.output))
    first, total = (statistics.median(column) for column in zip(*results))
    row = {"first_token_ms": first * 1e3, "per_token_ms": (total - first) * 1e3 / (options.output - 1),
           "tokens_per_second": run * options.output / total, "rounds": len(results)}
    return row | ({"batch_run": run} if run != batch else {})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--modes", default="static,plain")
    parser.add_argument("--batches", default="1,256", type=numbers)
    parser.add_argument("--inputs", default="32,512,2048", type=numbers)
    parser.add_argument("--output", default=128, type=int)
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--limit-compile", default=150, type=float)
    parser.add_argument("--limit-case", default=60, type=float)
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    begin = time.perf_counter()
    peer = Peer(options.config, options.device, max(options.inputs) + options.output)
    peer.clock()
    print(f"model made in {time.perf_counter() - begin:.1f} s", flush=True)
    names = {"benchmark": "peer", "peer": f"transformers {transformers.__version__}, torch {torch.__version__}"}
    for mode in options.modes.split(","):
        about = dict(names)
        if mode == "static":
            try:
                with limit(options.limit_compile), torch.inference_mode():
                    about["compile_seconds"] = peer.compile(not options.no_compile)
                print(f"compiled in {about['compile_seconds']:.1f} s", flush=True)
            except RuntimeError as error:
                about["error"] = str(error).splitlines()[0][:200]
        # A step is compiled for batch 1 alone, which is all that is asked.
        for batch in options.batches if mode == "plain" else [1]:
            for tokens in options.inputs:
                row = about | {"mode": mode, "config": {"batch": batch, "input_len": tokens, "output_len": options.output}}
                try:
                    if "error" not in row:
                        with limit(options.limit_case), torch.inference_mode():
                            row |= measure(peer, mode, batch, tokens, options)
                except RuntimeError as error:  # out of memory and TookTooLong are such
                    row["error"] = str(error).splitlines()[0][:200]
                print(f"{time.perf_counter() - begin:6.1f} s: {mode} batch {row.get('batch_run', batch)}, {tokens} in, {options.output} out: " +
                      (row.get("error") or f"first token {row['first_token_ms']:.1f} ms, {row['per_token_ms']:.2f} ms a token, "
                       f"{row['tokens_per_second']:.1f} tok/s"), flush=True)
                if options.device == "cuda":
                    torch.cuda.empty_cache()
                (options.out / f"peer.{mode}.{batch}.{tokens}.json").write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
