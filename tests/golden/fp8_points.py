#!/usr/bin/env python3
"""What fp8 weights, rows, keys and values of tales-16m cost: the mean KL divergence to bf16, part by part.

    python3 tests/golden/fp8_points.py [WINDOWS]

Needs torch, safetensors and tokenizers. Emulates what the engine rounds (fp8-tensor) in f32 on the held-out
text, in windows of 1,024 tokens as gpu_test takes them (6 there; here 1 if not said: 2 s a line; 10 s at 6) on
two cores. The table of docs/lab-notes-cuda.md, "What fp8 costs".
"""

import math
import pathlib
import sys

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "models/tales-16m"
LAYERS, HEADS, KV_HEADS, DIM, FFN, EPS, THETA = 8, 6, 2, 64, 1024, 1e-5, 10000.0
KINDS = ("qkv", "o", "gate_up", "down")
WEIGHTS = {name: w.float() for name, w in load_file(str(MODEL / "model.safetensors")).items()}
torch.set_grad_enabled(False)


def bf16(x):
    return x.bfloat16().float()


def e4m3(x):
    return x.clamp(-448, 448).to(torch.float8_e4m3fn).float()


def scaled(x, target=448.0):
    """e4m3 rows, each with the scale at which its largest magnitude becomes `target`."""
    scale = x.abs().amax(-1, keepdim=True) / target
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return e4m3(x / scale) * scale


def least_error(x, scales=8):
    best, error = None, None
    for i in range(scales):
        rounded = scaled(x, 448 * 2 ** (-i / scales))
        e = ((rounded - x) ** 2).sum(-1, keepdim=True)
        best = rounded if best is None else torch.where(e < error, rounded, best)
        error = e if error is None else torch.minimum(error, e)
    return best


def noisy(x, variance=6e-4):
    """As inexact as three bits of mantissa, without them."""
    return x * (1 + math.sqrt(variance) * torch.randn_like(x))


def windows(count, size=1024):
    text = (ROOT / "tests/data/text/tales_valid.txt").read_text()
    text = "\n".join("" if line == "<|endoftext|>" else line for line in text.split("\n"))
    ids = Tokenizer.from_file(str(MODEL / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    return [torch.tensor([0] + ids[i * size : i * size + size - 1]) for i in range(count)]


def matrices(layer):
    def stack(*names):
        return torch.cat([WEIGHTS[f"model.layers.{layer}.{n}.weight"] for n in names])

    return {
        "qkv": stack("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "o": stack("self_attn.o_proj"),
        "gate_up": stack("mlp.gate_proj", "mlp.up_proj"),
        "down": stack("mlp.down_proj"),
    }


def norm(x, name):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPS) * WEIGHTS[name + ".weight"]


def rotate(x):
    inverse = THETA ** (-torch.arange(0, DIM, 2).float() / DIM)
    angle = torch.outer(torch.arange(len(x)).float(), inverse)
    c, s = angle.cos()[:, None], angle.sin()[:, None]
    a, b = x[..., : DIM // 2], x[..., DIM // 2 :]
    return torch.cat([a * c - b * s, b * c + a * s], -1)


def logprobs(ids, w, rows, k_round, v_round):
    """w[layer][kind]: matrices; rows(kind, layer, x): what a matmul reads."""
    n = len(ids)
    mask = torch.full((n, n), -math.inf).triu(1)
    x = WEIGHTS["model.embed_tokens.weight"][ids]
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."

        def matmul(kind, y, layer=layer):
            return rows(kind, layer, y) @ w[layer][kind].T

        qkv = matmul("qkv", norm(x, name + "input_layernorm")).view(n, HEADS + 2 * KV_HEADS, DIM)
        q, k, v = qkv.split((HEADS, KV_HEADS, KV_HEADS), 1)
        q, k, v = bf16(rotate(q)), k_round(rotate(k)), v_round(v)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1).transpose(0, 1) for t in (k, v))
        p = torch.softmax(q.transpose(0, 1) @ k.transpose(1, 2) / math.sqrt(DIM) + mask, -1)
        x = x + matmul("o", bf16((bf16(p) @ v).transpose(0, 1).reshape(n, -1)))
        gate, up = matmul("gate_up", norm(x, name + "post_attention_layernorm")).split(FFN, 1)
        x = x + matmul("down", bf16(torch.nn.functional.silu(gate) * up))
    return torch.log_softmax(bf16(norm(x, "model.norm")) @ WEIGHTS["model.embed_tokens.weight"].T, -1)


class Study:
    def __init__(self, count):
        self.windows = windows(count)
        self.reference = None
        self.reference = self.run()

    def run(self, weight=None, row=None, where=lambda kind, layer: True, k=bf16, v=bf16):
        """`weight` and `row` round what they name `where` that holds; None: weights as they are, rows bf16."""
        w = [
            {kind: weight(m) if weight and where(kind, layer) else m for kind, m in matrices(layer).items()}
            for layer in range(LAYERS)
        ]

        def rows(kind, layer, x):
            return row(x) if row and where(kind, layer) else bf16(x)

        return [logprobs(ids, w, rows, k, v) for ids in self.windows]

    def show(self, name, **how):
        kl, nats = [], []
        for ids, p, q in zip(self.windows, self.reference, self.run(**how)):
            kl.append((p.exp() * (p - q)).sum(-1)[:-1])
            nats.append((p - q)[torch.arange(len(ids) - 1), ids[1:]])
        change = 100 * math.expm1(torch.cat(nats).mean().item())
        print(f"{name:44s} KL {torch.cat(kl).mean().item():.5f}  perplexity {change:+.2f} %", flush=True)


def main():
    study = Study(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    inner = lambda kind, layer: 0 < layer < LAYERS - 1
    both = {"weight": scaled, "row": scaled}
    study.show("weights and rows", **both)
    study.show("weights", weight=scaled)
    study.show("rows", row=scaled)
    study.show("weights of least error, rows", weight=least_error, row=scaled)
    study.show("but first and last layer", **both, where=inner)
    study.show("but first and last layer, least error", weight=least_error, row=scaled, where=inner)
    study.show("weights of least error, rows, keys, values", weight=least_error, row=scaled, k=e4m3, v=e4m3)
    study.show("keys", k=e4m3)
    study.show("values", v=e4m3)
    study.show("keys and values", k=e4m3, v=e4m3)
    torch.manual_seed(1)
    study.show("noise instead, in weights and rows", weight=noisy, row=lambda x: noisy(bf16(x)))
    for kind in KINDS:
        study.show(f"only {kind}", **both, where=lambda k, layer, kind=kind: k == kind)
    for layer in range(LAYERS):
        study.show(f"only layer {layer}", **both, where=lambda k, at, layer=layer: at == layer)


if __name__ == "__main__":
    main()
