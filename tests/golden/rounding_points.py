#!/usr/bin/env python3
"""What each rounding to bf16 on the way through a CUDA engine costs: the golden prompts in float64, with the points at
which kernels store bf16 switched on one at a time, and off one at a time out of all.

    python tests/golden/rounding_points.py                  # tales-16m, the table of docs/lab-notes-cuda.md
    python tests/golden/rounding_points.py gpu_qwen2 ...    # others
    python tests/golden/rounding_points.py --draws 16       # how much of "worst" is luck

"worst" is what the golden test looks at: the ten likeliest tokens at the golden positions, against the file. "rms" is
over the ten likeliest tokens of every position, against float64, and does not hang on the luck of a few positions.
A draw: all points on, and before each rounding every value is off by a random 5e-7 of itself, as sums in f32 in another
order are.
Needs what make_goldens.py needs.
"""

import json
import sys

import torch

from make_goldens import GPU_CONFIGS, HERE, load_model

# As kernels/cuda has them: each is stored, or given to the tensor cores, as bf16. All sums are f32 there.
POINTS = {
    "qkv_in": "normed rows that qkv reads",
    "q": "q, rotated",
    "k": "keys in their pages",
    "v": "values in their pages",
    "p": "weights of attention (prompts)",
    "attention": "output of attention",
    "ffn_in": "normed rows that gate and up read",
    "silu": "SiLU(gate) · up",
    "head_in": "normed rows that the head reads",
}


def norm(module, x):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + module.variance_epsilon) * module.weight.double()


def linear(module, x):
    y = x @ module.weight.double().T
    return y if module.bias is None else y + module.bias.double()


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


@torch.no_grad()
def logits_of(model, ids, on, noise=0.0):
    """(positions, vocab) in float64, rounded at the points in `on`."""

    def rounded(point, x):
        if noise > 0:
            x = x * (1 + noise * torch.randn_like(x))
        return x.to(torch.bfloat16).double() if point in on else x

    n = len(ids)
    positions = torch.arange(n)
    h = model.model.embed_tokens(torch.tensor(ids)).double()
    cos, sin = (t[0].double() for t in model.model.rotary_emb(torch.zeros(1), positions[None]))
    for layer in model.model.layers:
        attention = layer.self_attn
        dim = attention.head_dim
        x = rounded("qkv_in", norm(layer.input_layernorm, h))
        q, k, v = (linear(m, x).view(n, -1, dim) for m in (attention.q_proj, attention.k_proj, attention.v_proj))
        if hasattr(attention, "q_norm"):
            q, k = norm(attention.q_norm, q), norm(attention.k_norm, k)
        q, k = (rotate(t.transpose(0, 1), cos, sin) for t in (q, k))
        q, k, v = rounded("q", q), rounded("k", k), rounded("v", v.transpose(0, 1))
        group = q.shape[0] // k.shape[0]
        scores = q @ k.repeat_interleave(group, 0).transpose(1, 2) * attention.scaling
        distance = positions[:, None] - positions[None, :]
        window = getattr(attention, "sliding_window", None) or getattr(model.config, "sliding_window", None)
        if getattr(attention, "layer_type", None) == "full_attention" or (
                model.config.model_type != "mistral" and not getattr(attention, "sliding_window", None)):
            window = None
        seen = (distance >= 0) & (distance < (window or n))
        scores = scores.masked_fill(~seen, -torch.inf)
        weights = torch.exp(scores - scores.amax(-1, keepdim=True))
        out = rounded("p", weights) @ v.repeat_interleave(group, 0) / weights.sum(-1, keepdim=True)
        h = h + linear(attention.o_proj, rounded("attention", out.transpose(0, 1).reshape(n, -1)))
        x = rounded("ffn_in", norm(layer.post_attention_layernorm, h))
        gate, up = linear(layer.mlp.gate_proj, x), linear(layer.mlp.up_proj, x)
        h = h + linear(layer.mlp.down_proj, rounded("silu", torch.nn.functional.silu(gate) * up))
    return linear(model.lm_head, rounded("head_in", norm(model.model.norm, h)))


class Golden:
    """A golden's prompts and their logprobs in float64."""

    def __init__(self, name):
        self.name = name
        self.file = json.loads((HERE / f"{name}.json").read_text())
        # A dynamic rotation remembers its longest prompt: a model each.
        load = lambda: load_model(name, torch.float32, "eager")
        self.models = [load() for _ in self.file["prompts"]] if "dynamic" in name else (
            [load()] * len(self.file["prompts"]))
        self.exact = [self.logprobs(i, ()) for i in range(len(self.models))]
        self.top = [e.topk(10).indices for e in self.exact]

    def logprobs(self, i, on, noise=0.0):
        return torch.log_softmax(logits_of(self.models[i], self.file["prompts"][i]["ids"], on, noise), -1)

    def errors(self, on, noise=0.0):
        """[(tokens, position, worst error)] at the golden positions, and the rms error over all positions."""
        worst, squares = [], []
        for i, prompt in enumerate(self.file["prompts"]):
            got = self.logprobs(i, on, noise)
            squares.append((got - self.exact[i]).gather(1, self.top[i]).pow(2).flatten())
            for position, top in prompt["top"].items():
                off = max(abs(float(got[int(position), token]) - logprob) for token, logprob in top)
                worst.append((len(prompt["ids"]), int(position), off))
        return worst, float(torch.cat(squares).mean().sqrt())


def table(name):
    golden = Golden(name)
    cases = [("none", ())] + [(f"only {text}", (p,)) for p, text in POINTS.items()] + [("all", tuple(POINTS))] + [
        (f"all but {text}", tuple(q for q in POINTS if q != p)) for p, text in POINTS.items()]
    rows = [(text, *golden.errors(on)) for text, on in cases]
    places = [(n, position) for n, position, _ in rows[0][1]]
    print(f"| {name} | worst | rms | " + " | ".join(f"{n}: {position}" for n, position in places) + " |")
    print("|---" * (3 + len(places)) + "|")
    for text, worst, rms in rows:
        errors = [off for _, _, off in worst]
        print(f"| {text} | {max(errors):.4f} | {rms:.5f} | " + " | ".join(f"{e:.4f}" for e in errors) + " |", flush=True)


def draws(name, count):
    golden = Golden(name)
    torch.manual_seed(1)
    results = [golden.errors(tuple(POINTS), 5e-7) for _ in range(count)]
    worst = sorted(max(e[2] for e in errors) for errors, _ in results)
    rms = [r for _, r in results]
    print(f"{name}: worst of {count} draws {' '.join(f'{w:.3f}' for w in worst)}; rms {min(rms):.4f} to {max(rms):.4f}; "
          f"transformers in bf16: worst {golden.file['bf16_reference_error']:.3f}, rms {golden.file['bf16_reference_rms']:.4f}",
          flush=True)


def main(names):
    torch.set_num_threads(1)
    if names[:1] == ["--draws"]:
        for name in names[2:] or ["tales-16m", *GPU_CONFIGS]:
            draws(name, int(names[1]))
        return
    for name in names or ["tales-16m"]:
        table(name)


if __name__ == "__main__":
    main(sys.argv[1:])
