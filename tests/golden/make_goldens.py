#!/usr/bin/env python3
"""Writes the reference outputs in this directory: tiny random models of every family, and tales-16m.

The reference is transformers 5.17 in float32 with eager attention, on the CPU. Weights are not stored: they are
regenerated from (config, seed) by the generator described in src/model/synth.h, of which `synth_tensor` below is
the numpy twin; `checksums` in every file lets the C++ side prove that it has the same bits.

    python tests/golden/make_goldens.py            # all files
    python tests/golden/make_goldens.py qwen3 rope # some
    python tests/golden/make_goldens.py --errors   # what transformers loses in 16 bits, in all files as they are

Needs: torch 2.11, transformers 5.17, numpy. Nothing at run time of lathe or its tests needs Python.

Each model file holds: config, seed, checksums, rope (inv_freq and attention_scaling of the reference), and for
each prompt its ids, `top` = the ten likeliest next tokens [id, logprob] after positions 0, middle and last, and
`greedy` = the 16 tokens that follow with `margins` = logprob of the first minus the second at each step. Short
prompts have `mean_hidden`, the mean over positions of the last hidden state. `bf16_reference_error` is how far
transformers' own bf16 (same weights, its default attention, on the CPU) is at worst from the logprobs in `top`;
`bf16_reference_rms` is the root of the mean square over the ten likeliest tokens of every position. By these a GPU is
measured that multiplies in bf16. The rms is hardly luck, the worst of a few positions is (docs/lab-notes-cuda.md).
`fp16_reference_error` and `fp16_reference_rms` are the same in fp16, in the files of models that GPUs run.

Models named gpu_* have sizes that CUDA kernels take: what a matmul reads is a multiple of 64, heads are of 64, 80,
96, 128 and 256; 1 to 8 query heads share a key head. All engines run them, GPUs run only them.

Dynamic RoPE: a model is made anew for every prompt, because the reference keeps stretched frequencies from one
call to the next. Its prompt of P tokens is rotated for length P, each token after it for its own length.
"""

import json
import math
import pathlib
import sys

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

HERE = pathlib.Path(__file__).resolve().parent
TALES = HERE.parent.parent / "models" / "tales-16m"
VECTOR_STD = 0.1
GREEDY_TOKENS = 16
MASK = (1 << 64) - 1


# ---- the generator of src/model/synth.cc -------------------------------------------------------------------------
def splitmix64(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def splitmix64_array(x):
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def fnv1a64(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def lower_quantile(p):
    a = [-3.969683028665376e01, 2.209460984245205e02, -2.759285104469687e02, 1.383577518672690e02,
         -3.066479806614716e01, 2.506628277459239e00]
    b = [-5.447609879822406e01, 1.615858368580409e02, -1.556989798598866e02, 6.680131188771972e01,
         -1.328068155288572e01]
    c = [-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e00, -2.549732539343734e00,
         4.374664141464968e00, 2.938163982698783e00]
    d = [7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e00, 3.754408661907416e00]
    if p < 0.02425:
        q = math.sqrt(-2 * math.log(p))
        return (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) / (
            (((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1)
    q = p - 0.5
    r = q * q
    return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q / (
        ((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1)


def to_bf16_bits(values):
    bits = np.asarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


QUANTILES = np.array([lower_quantile((i + 0.5) / 65536) for i in range(32768)])


def normal_table(mean, std):
    low = to_bf16_bits(mean + std * QUANTILES)
    high = to_bf16_bits(mean - std * QUANTILES)
    return np.concatenate([low, high[::-1]])


def synth_tensor(seed, name, shape, config):
    """bf16 bits of one tensor, with random norms and biases."""
    is_norm = name.endswith("norm.weight")
    mean, std = (1, VECTOR_STD) if is_norm else (0, VECTOR_STD) if len(shape) == 1 else (
        0, config.get("initializer_range", 0.02))
    count = int(np.prod(shape))
    words = (count + 3) // 4
    start = splitmix64(seed ^ fnv1a64(name))
    with np.errstate(over="ignore"):
        states = np.uint64(start) + np.arange(words, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    index = splitmix64_array(states).astype("<u8").view("<u2")[:count]
    return normal_table(mean, std)[index].reshape(shape)


def checksum(bits):
    """Sum of (k + 1) * bits[k] modulo 2^64: notices a wrong value and a wrong place."""
    flat = bits.reshape(-1).astype(np.uint64)
    with np.errstate(over="ignore"):
        return int(np.sum(flat * np.arange(1, flat.size + 1, dtype=np.uint64), dtype=np.uint64))


# ---- models ------------------------------------------------------------------------------------------------------
def base(architecture, model_type, **more):
    config = {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_act": "silu",
        "vocab_size": 515,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
        "use_cache": True,
        "num_hidden_layers": 3,
    }
    config.update(more)
    return config


# std is about 1 / sqrt(hidden), which keeps the variance of what goes through a matmul: attention scores then have
# a deviation near 1, as soft as a trained model's. (At 1.7 / sqrt(hidden) attention is so peaked that rounding K
# and V to bf16, the only rounding left in the bf16-fma class, moves logprobs by up to 0.1.)
def sizes(hidden, ffn, heads, kv_heads, std, **more):
    return {"hidden_size": hidden, "intermediate_size": ffn, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "initializer_range": std, **more}


V4 = {"torch_dtype": "bfloat16", "transformers_version": "4.44.0"}
V5 = {"dtype": "bfloat16", "transformers_version": "5.17.0"}
LLAMA, MISTRAL = ("LlamaForCausalLM", "llama"), ("MistralForCausalLM", "mistral")
QWEN2, QWEN3 = ("Qwen2ForCausalLM", "qwen2"), ("Qwen3ForCausalLM", "qwen3")

CONFIGS = {
    "llama2_mha": base(*LLAMA, **V4, **sizes(128, 352, 4, 4, 0.09), rope_theta=10000.0, rope_scaling=None,
                       attention_bias=False, pretraining_tp=1),
    "llama3_tied": base(*LLAMA, **V4, **sizes(256, 384, 4, 2, 0.0625), vocab_size=512, tie_word_embeddings=True,
                        rope_theta=500000.0, head_dim=64, mlp_bias=False,
                        rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                      "high_freq_factor": 4.0, "original_max_position_embeddings": 256}),
    "llama_biases": base(*LLAMA, **V5, **sizes(96, 200, 6, 3, 0.1), attention_bias=True, mlp_bias=True,
                         rope_parameters={"rope_type": "default", "rope_theta": 10000.0}),
    "llama_linear": base(*LLAMA, **V4, **sizes(160, 296, 2, 1, 0.08), max_position_embeddings=512,
                         rope_theta=10000.0, rope_scaling={"type": "linear", "factor": 4.0}),
    "llama_dynamic": base(*LLAMA, **V4, **sizes(128, 264, 4, 2, 0.09), max_position_embeddings=512,
                          rope_theta=10000.0, rope_scaling={"type": "dynamic", "factor": 4.0}),
    "llama_yarn": base(*LLAMA, **V5, **sizes(128, 264, 2, 2, 0.09),
                       rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0,
                                        "original_max_position_embeddings": 256, "beta_fast": 24.0,
                                        "beta_slow": 2.0, "mscale": 1.0, "mscale_all_dim": 0.7,
                                        "truncate": False}),
    "mistral_window": base(*MISTRAL, **V4, **sizes(192, 328, 4, 2, 0.07), head_dim=96, sliding_window=64,
                           rope_theta=10000.0),
    "mistral_full": base(*MISTRAL, **V5, **sizes(160, 296, 3, 1, 0.08), head_dim=128, sliding_window=None,
                         rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
    "qwen2": base(*QWEN2, **V4, **sizes(128, 352, 4, 2, 0.09), tie_word_embeddings=True, rope_theta=1000000.0,
                  use_sliding_window=False, sliding_window=64, max_window_layers=1, rms_norm_eps=1e-6),
    "qwen2_yarn": base(*QWEN2, **V4, **sizes(128, 264, 4, 1, 0.09), max_position_embeddings=512,
                       rope_theta=1000000.0, use_sliding_window=False,
                       rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}),
    "qwen2_window": base(*QWEN2, **V4, **sizes(96, 200, 6, 2, 0.1), num_hidden_layers=4, rope_theta=1000000.0,
                         use_sliding_window=True, sliding_window=48, max_window_layers=2),
    "qwen3": base(*QWEN3, **V5, **sizes(96, 296, 4, 2, 0.1), head_dim=128, attention_bias=False,
                  use_sliding_window=False, sliding_window=None, max_window_layers=3,
                  layer_types=["full_attention"] * 3,
                  rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
    "qwen3_mixed": base(*QWEN3, **V5, **sizes(128, 264, 3, 3, 0.09), head_dim=80, attention_bias=True,
                        tie_word_embeddings=True, use_sliding_window=True, sliding_window=32, max_window_layers=0,
                        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
}

# std: as above, here 1 / sqrt(hidden).
GPU_CONFIGS = {
    "gpu_llama2_mha": base(*LLAMA, **V4, **sizes(128, 320, 2, 2, 0.088), rope_theta=10000.0, rope_scaling=None,
                           attention_bias=False, pretraining_tp=1),
    "gpu_llama3_tied": base(*LLAMA, **V4, **sizes(256, 384, 4, 2, 0.0625), tie_word_embeddings=True,
                            rope_theta=500000.0, head_dim=64, mlp_bias=False,
                            rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                          "high_freq_factor": 4.0, "original_max_position_embeddings": 256}),
    "gpu_llama_biases": base(*LLAMA, **V5, **sizes(320, 448, 4, 1, 0.056), num_hidden_layers=2,
                             attention_bias=True, mlp_bias=True,
                             rope_parameters={"rope_type": "default", "rope_theta": 10000.0}),
    "gpu_llama_linear": base(*LLAMA, **V4, **sizes(128, 256, 8, 1, 0.088), num_hidden_layers=2, head_dim=256,
                             max_position_embeddings=512, rope_theta=10000.0,
                             rope_scaling={"type": "linear", "factor": 4.0}),
    "gpu_llama_dynamic": base(*LLAMA, **V4, **sizes(192, 320, 3, 1, 0.072), head_dim=128, max_position_embeddings=512,
                              rope_theta=10000.0, rope_scaling={"type": "dynamic", "factor": 4.0}),
    "gpu_llama_yarn": base(*LLAMA, **V5, **sizes(256, 320, 2, 1, 0.0625), vocab_size=1027,
                           rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0,
                                            "original_max_position_embeddings": 256, "beta_fast": 24.0,
                                            "beta_slow": 2.0, "mscale": 1.0, "mscale_all_dim": 0.7,
                                            "truncate": False}),
    "gpu_mistral_window": base(*MISTRAL, **V4, **sizes(192, 320, 6, 1, 0.072), head_dim=96, sliding_window=64,
                               rope_theta=10000.0),
    "gpu_mistral_full": base(*MISTRAL, **V5, **sizes(192, 256, 5, 1, 0.072), num_hidden_layers=2, head_dim=128,
                             sliding_window=None, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
    "gpu_qwen2": base(*QWEN2, **V4, **sizes(448, 512, 7, 1, 0.047), num_hidden_layers=2, tie_word_embeddings=True,
                      rope_theta=1000000.0, use_sliding_window=False, sliding_window=64, max_window_layers=1,
                      rms_norm_eps=1e-6),
    "gpu_qwen2_yarn": base(*QWEN2, **V4, **sizes(256, 320, 2, 1, 0.0625), max_position_embeddings=512,
                           rope_theta=1000000.0, use_sliding_window=False,
                           rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}),
    "gpu_qwen2_window": base(*QWEN2, **V4, **sizes(192, 256, 3, 1, 0.072), num_hidden_layers=4, rope_theta=1000000.0,
                             use_sliding_window=True, sliding_window=48, max_window_layers=2),
    "gpu_qwen3": base(*QWEN3, **V5, **sizes(192, 320, 8, 2, 0.072), num_hidden_layers=2, head_dim=128,
                      attention_bias=False, use_sliding_window=False, sliding_window=None, max_window_layers=2,
                      layer_types=["full_attention"] * 2,
                      rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
    "gpu_qwen3_mixed": base(*QWEN3, **V5, **sizes(128, 256, 4, 4, 0.088), head_dim=80, attention_bias=True,
                            tie_word_embeddings=True, use_sliding_window=True, sliding_window=32, max_window_layers=0,
                            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                            rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
}
SEEDS = {name: 1000 + i for i, name in enumerate(CONFIGS)} | {name: 2000 + i for i, name in enumerate(GPU_CONFIGS)}
CONFIGS |= GPU_CONFIGS


def make_model(config, seed, dtype=torch.float32, attention="eager"):
    hf_config = CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))
    hf_config._attn_implementation = attention
    hf_config.dtype = dtype
    model = AutoModelForCausalLM.from_config(hf_config, attn_implementation=attention, dtype=dtype).eval()
    checksums = {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # a tied lm_head is not listed again
            bits = synth_tensor(seed, name, tuple(parameter.shape), config)
            checksums[name] = str(checksum(bits))
            values = (bits.astype(np.uint32) << 16).view(np.float32)
            parameter.copy_(torch.from_numpy(values))
    return model, checksums


@torch.no_grad()
def run_prompt(model, ids):
    """Top ten at three positions and the greedy continuation, with the key-value cache as generate() uses it."""
    out = model(torch.tensor([ids]), use_cache=True, output_hidden_states=True)
    mean_hidden = out.hidden_states[-1][0].double().mean(dim=0)  # after the final norm
    logprobs = torch.log_softmax(out.logits[0], dim=-1)
    top = {}
    for position in sorted({0, len(ids) // 2, len(ids) - 1}):
        values, tokens = torch.topk(logprobs[position], 10)
        top[str(position)] = [[int(t), round(float(v), 5)] for t, v in zip(tokens, values)]
    greedy, margins, last, cache = [], [], logprobs[-1], out.past_key_values
    for _ in range(GREEDY_TOKENS):
        values, tokens = torch.topk(last, 2)
        greedy.append(int(tokens[0]))
        margins.append(round(float(values[0] - values[1]), 5))
        out = model(torch.tensor([[greedy[-1]]]), past_key_values=cache, use_cache=True)
        cache, last = out.past_key_values, torch.log_softmax(out.logits[0, -1], dim=-1)
    result = {"ids": ids, "top": top, "greedy": greedy, "margins": margins}
    if len(ids) < 100:
        result["mean_hidden"] = [round(float(v), 5) for v in mean_hidden]
    return result, float(out.logits.std())


def load_model(name, dtype, attention):
    if name == "tales-16m":
        return AutoModelForCausalLM.from_pretrained(TALES, dtype=dtype, attn_implementation=attention).eval()
    return make_model(CONFIGS[name], SEEDS[name], dtype, attention)[0]


def half_errors(name, prompts):
    errors = errors_of(name, prompts, "bf16", torch.bfloat16)
    if name.startswith("gpu_") or name == "tales-16m":
        errors |= errors_of(name, prompts, "fp16", torch.float16)
    return errors


@torch.no_grad()
def errors_of(name, prompts, label, dtype):
    """Of transformers in that type with its default attention, over all prompts: the worst, and the rms."""
    worst, squares = 0, []
    for prompt in prompts:
        ids = torch.tensor([prompt["ids"]])
        want, got = (
            torch.log_softmax(load_model(name, *how)(ids, use_cache=False).logits[0].double(), dim=-1)
            for how in ((torch.float32, "eager"), (dtype, "sdpa")))
        for position, top in prompt["top"].items():
            worst = max(worst, *(abs(float(got[int(position), token]) - logprob) for token, logprob in top))
        likeliest = want.topk(10).indices
        squares.append((got - want).gather(1, likeliest).pow(2).flatten())
    rms = float(torch.cat(squares).mean().sqrt())
    print(f"  {name}: {label} off by {worst:.5f}, rms {rms:.6f}")
    digits = 4 if label == "bf16" else 5
    return {f"{label}_reference_error": round(worst, digits), f"{label}_reference_rms": round(rms, digits + 1)}


def prompt_ids(seed, length, vocab):
    """Ids from 3 on, so that no control token is among them."""
    return [3 + splitmix64(seed * 7919 + length * 104729 + i) % (vocab - 3) for i in range(length)]


def rope_values(rotary, lengths):
    """inv_freq as the model has it, and for dynamic scaling at lengths beyond the trained one."""
    out = {"inv_freq": [float(v) for v in rotary.inv_freq], "attention_scaling": float(rotary.attention_scaling)}
    at = {}
    for length in lengths:
        if rotary.rope_type == "dynamic":
            rotary(torch.zeros(1), torch.tensor([[length - 1]]))
            at[str(length)] = [float(v) for v in rotary.inv_freq]
    if at:
        out["inv_freq_at"] = at
    return out


def write(name, content):
    path = HERE / f"{name}.json"
    lines = []
    for key, value in content.items():
        if key == "prompts":
            inner = ",\n".join("    " + json.dumps(p, separators=(",", ":")) for p in value)
            lines.append(f'  "prompts": [\n{inner}\n  ]')
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{path.name}: {path.stat().st_size} bytes")


def synthetic_golden(name):
    config, seed = CONFIGS[name], SEEDS[name]
    model, checksums = make_model(config, seed)
    rope = rope_values(model.model.rotary_emb, [])
    prompts = []
    for length in (5, 40, 1030):
        model, _ = make_model(config, seed)
        result, std = run_prompt(model, prompt_ids(seed, length, config["vocab_size"]))
        prompts.append(result)
        print(f"  {name} {length}: logits std {std:.2f}, smallest margin {min(result['margins']):.4f}")
    write(name, {"transformers": transformers.__version__, "config": config, "seed": seed, "checksums": checksums,
                 "rope": rope, **half_errors(name, prompts), "prompts": prompts})


# Openings of public-domain texts and a chat, and for the long one a whole passage of "Shawl-Straps" (L. M. Alcott).
TALES_TEXTS = ["Once upon a time",
               "The old king had three sons, and when he felt that his end was near he called them to his bed and "
               "said to them that the one who brought him the most wonderful thing in all lands",
               None]


def tales_golden():
    tokenizer = AutoTokenizer.from_pretrained(TALES)
    model = load_model("tales-16m", torch.float32, "eager")
    passage = (HERE / "tales_passage.txt").read_text()
    prompts = []
    for text in TALES_TEXTS:
        ids = tokenizer(text if text is not None else passage)["input_ids"]
        result, std = run_prompt(model, ids)
        prompts.append({"text": text if text is not None else {"file": "tales_passage.txt"}, **result})
        print(f"  tales-16m {len(ids)}: logits std {std:.2f}, smallest margin {min(result['margins']):.4f}, "
              f"{tokenizer.decode(result['greedy'])!r}")
    write("tales-16m", {"transformers": transformers.__version__, "model": "models/tales-16m",
                        **half_errors("tales-16m", prompts), "prompts": prompts})


def add_errors():
    for name in [*CONFIGS, "tales-16m"]:
        golden = json.loads((HERE / f"{name}.json").read_text())
        prompts = golden.pop("prompts")
        write(name, {**golden, **half_errors(name, prompts), "prompts": prompts})


# Shapes and scalings of published models, and corners: name -> (config, lengths for dynamic).
ROPE_CASES = {
    "default_10k": ({"rope_theta": 10000.0, "head_dim": 128}, []),
    "default_1m_odd": ({"rope_theta": 1000000.0, "head_dim": 80}, []),
    "linear": ({"rope_theta": 10000.0, "head_dim": 64, "rope_scaling": {"type": "linear", "factor": 2.5}}, []),
    "dynamic": ({"rope_theta": 10000.0, "head_dim": 128, "max_position_embeddings": 2048,
                 "rope_scaling": {"type": "dynamic", "factor": 2.0}}, [2049, 3000, 4096]),
    "llama31": ({"rope_theta": 500000.0, "head_dim": 128, "max_position_embeddings": 131072,
                 "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                  "original_max_position_embeddings": 8192, "rope_type": "llama3"}}, []),
    "llama32_1b": ({"rope_theta": 500000.0, "head_dim": 64, "max_position_embeddings": 131072,
                    "rope_scaling": {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                     "original_max_position_embeddings": 8192, "rope_type": "llama3"}}, []),
    "qwen25_yarn": ({"rope_theta": 1000000.0, "head_dim": 128, "max_position_embeddings": 32768,
                     "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}}, []),
    "yarn_no_factor": ({"head_dim": 64, "max_position_embeddings": 8192,
                        "rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": None,
                                            "original_max_position_embeddings": 2048}}, []),
    "yarn_attention_factor": ({"head_dim": 64, "max_position_embeddings": 8192,
                               "rope_parameters": {"rope_type": "yarn", "rope_theta": 150000.0, "factor": 32.0,
                                                   "attention_factor": 0.8125, "beta_fast": 32.0, "beta_slow": 1.0,
                                                   "truncate": False, "original_max_position_embeddings": 4096}}, []),
    "yarn_mscale": ({"head_dim": 64, "max_position_embeddings": 163840,
                     "rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 40.0, "mscale": 0.707,
                                         "mscale_all_dim": 1.0, "beta_fast": 32, "beta_slow": 1,
                                         "original_max_position_embeddings": 4096}}, []),
}


def rope_golden():
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
    cases = {}
    for name, (config, lengths) in ROPE_CASES.items():
        full = base(*LLAMA, **V4, **sizes(256, 512, 4, 2, 0.02))
        full.update(config)
        full.setdefault("max_position_embeddings", 2048)
        rotary = LlamaRotaryEmbedding(config=CONFIG_MAPPING["llama"].from_dict(dict(full)))
        cases[name] = {"config": full, **rope_values(rotary, lengths)}
    path = HERE / "rope.json"
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in cases.items())
    path.write_text("{\n" + lines + "\n}\n")
    print(f"{path.name}: {path.stat().st_size} bytes")


def main(names):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if names == ["--errors"]:
        add_errors()
        return
    for name in names or [*CONFIGS, "tales-16m", "rope"]:
        if name == "tales-16m":
            tales_golden()
        elif name == "rope":
            rope_golden()
        else:
            synthetic_golden(name)


if __name__ == "__main__":
    main(sys.argv[1:])
