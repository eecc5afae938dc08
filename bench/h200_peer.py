#!/usr/bin/env python3
"""transformers on the same shape in the same run: plain generate(), and a decode step compiled over a static cache.

Usage: h200_peer.py CONFIG_JSON OUT_DIR [--device cuda] [--modes plain,static] [--batches 1,256] [--inputs 32,512,2048]
                    [--output 128] [--no-compile]

Weights are random and made on the device, in bf16: speed does not depend on them. Each case is one JSON file,
OUT_DIR/peer.MODE.BATCH.INPUT.json, with the keys of `lathe bench latency` where they mean the same; one that fails has
its error in it. Needs torch and transformers.
"""
import argparse
import json
import pathlib
import time

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, StaticCache, StoppingCriteria, StoppingCriteriaList


class FirstToken(StoppingCriteria):
    """Notes when the first new token was there; never stops."""

    def __init__(self, clock):
        self.clock, self.at = clock, None

    def __call__(self, input_ids, scores, **kwargs):
        if self.at is None:
            self.at = self.clock()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class Peer:
    def __init__(self, config_path, device, compiled):
        self.device, self.compiled = device, compiled
        config = AutoConfig.from_pretrained(config_path)
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(device):
            self.model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
        self.model.eval()
        self.model.generation_config.eos_token_id = None
        self.model.generation_config.pad_token_id = 0
        self.vocab = config.vocab_size

    def clock(self):
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def prompt(self, batch, tokens):
        return torch.randint(0, self.vocab, (batch, tokens), device=self.device)

    def plain(self, batch, tokens, out):
        """Seconds to the first token, and to the last."""
        def once(n):
            ids = self.prompt(batch, tokens)
            first = FirstToken(self.clock)
            start = self.clock()
            self.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, do_sample=False,
                                stopping_criteria=StoppingCriteriaList([first]))
            return first.at - start, self.clock() - start

        once(4)
        return once(out)

    def static(self, batch, tokens, out):
        """The same with a static cache and, on CUDA, the decode step compiled into a graph."""
        cache = StaticCache(config=self.model.config, max_cache_len=tokens + out)

        def step(token, position):
            logits = self.model(token, position_ids=position[None].expand(batch, 1), cache_position=position,
                                past_key_values=cache, use_cache=True).logits
            return logits[:, -1].argmax(-1, keepdim=True)

        fast = torch.compile(step, mode="reduce-overhead", dynamic=False) if self.compiled else step

        def once(n):
            cache.reset()
            ids = self.prompt(batch, tokens)
            position = torch.arange(tokens, device=self.device)
            start = self.clock()
            token = self.model(ids, position_ids=position[None].expand(batch, tokens), cache_position=position,
                               past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].argmax(-1, keepdim=True)
            first = self.clock() - start
            where = torch.tensor([tokens], device=self.device)
            for _ in range(n - 1):
                token = fast(token, where).clone()
                where = where + 1
            return first, self.clock() - start

        start = time.perf_counter()
        once(6)  # compiles and captures
        self.compile_seconds = time.perf_counter() - start
        return once(out)


def numbers(text):
    return [int(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--modes", default="plain,static")
    parser.add_argument("--batches", default="1,256", type=numbers)
    parser.add_argument("--inputs", default="32,512,2048", type=numbers)
    parser.add_argument("--output", default=128, type=int)
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    peer = Peer(options.config, options.device, not options.no_compile)
    for mode in options.modes.split(","):
        for batch in options.batches:
            for tokens in options.inputs:
                if mode == "static" and batch > 1:
                    continue  # asked at batch 1 alone
                row = {"benchmark": "peer", "peer": f"transformers {transformers.__version__}, torch {torch.__version__}",
                       "mode": mode, "config": {"batch": batch, "input_len": tokens, "output_len": options.output}}
                try:
                    with torch.inference_mode():
                        first, total = getattr(peer, mode)(batch, tokens, options.output)
                    row |= {"first_token_ms": first * 1e3, "per_token_ms": (total - first) * 1e3 / (options.output - 1),
                            "tokens_per_second": batch * options.output / total}
                    if mode == "static":
                        row["compile_seconds"] = peer.compile_seconds
                    print(f"{mode} batch {batch}, {tokens} in, {options.output} out: first token {row['first_token_ms']:.1f} ms, "
                          f"{row['per_token_ms']:.2f} ms a token, {row['tokens_per_second']:.1f} tok/s", flush=True)
                except (RuntimeError, torch.OutOfMemoryError) as error:
                    row["error"] = str(error).splitlines()[0][:200]
                    print(f"{mode} batch {batch}, {tokens} in: {row['error']}", flush=True)
                if options.device == "cuda":
                    torch.cuda.empty_cache()
                (options.out / f"peer.{mode}.{batch}.{tokens}.json").write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
