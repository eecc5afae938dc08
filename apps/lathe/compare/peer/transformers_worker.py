"""transformers as a contender of `lathe bench compare`: reads a case a line, answers a line (apps/lathe/compare/contender.h).

Usage: transformers_worker.py MODEL --mode plain|compiled [--device auto|cpu|cuda] [--threads N]

plain: generate() as a user calls it, in the checkpoint's own type. compiled: a static cache and the decode step through
torch.compile, into a CUDA graph on a GPU; what compiling takes falls into the warm-up of each size.
"""
import argparse
import json
import resource
import sys
import time

answers = sys.stdout
sys.stdout = sys.stderr  # what libraries print is no answer


def answer(**fields):
    print(json.dumps(fields), file=answers, flush=True)


try:
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, StaticCache, StoppingCriteria, StoppingCriteriaList
except ImportError as error:
    answer(error=f"{sys.executable} cannot import what it needs ({error}): pip install torch transformers, or name another with --python")
    sys.exit(0)


class FirstToken(StoppingCriteria):
    """Notes when the first new token was there; never stops."""

    def __init__(self, clock):
        self.clock, self.at = clock, None

    def __call__(self, input_ids, scores, **kwargs):
        if self.at is None:
            self.at = self.clock()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


class Worker:
    def __init__(self, options):
        device = options.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if options.threads > 0:
            torch.set_num_threads(options.threads)
        self.device, self.mode, self.steps = device, options.mode, {}
        self.model = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto", attn_implementation="sdpa",
                                                          device_map=device if device != "cpu" else None).eval()
        self.model.generation_config.eos_token_id = None
        self.model.generation_config.pad_token_id = 0
        self.config = self.model.config

    def hello(self):
        dtype = str(self.model.dtype).removeprefix("torch.")
        where = f"{torch.get_num_threads()} threads" if self.device == "cpu" else torch.cuda.get_device_name()
        return {"ready": True, "name": f"transformers {transformers.__version__}, {self.mode}",
                "detail": f"{dtype}, {where}, torch {torch.__version__}", "vocab": self.config.vocab_size,
                "max_context": self.config.max_position_embeddings}

    def clock(self):
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def memory(self):
        if self.device == "cuda":
            return torch.cuda.max_memory_reserved()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def plain(self, ids, output, room):
        first = FirstToken(self.clock)
        start = self.clock()
        out = self.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=output, do_sample=False,
                                  stopping_criteria=StoppingCriteriaList([first]))
        return first.at - start, self.clock() - start, out[:, ids.shape[1]]

    def compiled(self, ids, output, room):
        batch, tokens = ids.shape
        if (batch, tokens + room) not in self.steps:
            self.steps.clear()  # its cache's memory is the next one's
            cache = StaticCache(config=self.config, max_cache_len=tokens + room)

            def step(token, position):
                logits = self.model(token, position_ids=position[None].expand(batch, 1), cache_position=position,
                                    past_key_values=cache, use_cache=True).logits
                return logits[:, -1].argmax(-1, keepdim=True)

            fast = torch.compile(step, mode="reduce-overhead" if self.device == "cuda" else None, dynamic=False)
            self.steps[batch, tokens + room] = cache, fast
        cache, fast = self.steps[batch, tokens + room]
        cache.reset()
        position = torch.arange(tokens, device=self.device)
        start = self.clock()
        token = self.model(ids, position_ids=position[None].expand(batch, tokens), cache_position=position,
                           past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].argmax(-1, keepdim=True)
        first, first_tokens = self.clock() - start, token[:, 0].clone()
        where = torch.tensor([tokens], device=self.device)
        for _ in range(output - 1):
            token = fast(token, where).clone()
            where = where + 1
        return first, self.clock() - start, first_tokens

    def run(self, case):
        ids = torch.tensor(case["prompts"], device=self.device)
        with torch.inference_mode():
            first, total, tokens = getattr(self, self.mode)(ids, case["output"], max(case["room"], case["output"]))
        return {"first_ms": first * 1e3, "total_ms": total * 1e3, "memory_bytes": self.memory(),
                "first_tokens": tokens.tolist()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--mode", choices=["plain", "compiled"], default="plain")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    try:
        worker = Worker(parser.parse_args())
    except (OSError, ValueError, RuntimeError) as error:
        answer(error=f"transformers cannot load the model: {str(error).splitlines()[0][:300]}")
        return
    answer(**worker.hello())
    for line in sys.stdin:
        try:
            answer(**worker.run(json.loads(line)))
        except (RuntimeError, MemoryError) as error:
            text = str(error).strip() or type(error).__name__
            answer(error=text.splitlines()[0][:300])
            if worker.device == "cuda":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
