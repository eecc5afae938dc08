#!/usr/bin/env python3
"""Writes a Hugging Face Llama checkpoint (safetensors, bf16) as a BF16 GGUF file, for the peer of a benchmark.

Only what bench/cpu_vs_llamacpp.sh needs: the Llama architecture without rope scaling. With a byte-level BPE
tokenizer.json the vocabulary is the real one; without, fillers of the right number (the peer's benchmarks feed
random ids). Needs numpy and gguf from PyPI. Usage: make_gguf.py DIR -o FILE.gguf
"""
import argparse
import json
import pathlib
import struct

import gguf
import numpy as np


def open_tensors(folder):
    """name -> (dtype, array) over memory maps; bf16 as its uint16 bits."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(size))
        data = np.memmap(path, np.uint8, "r", offset=8 + size)
        for name, info in header.items():
            if name == "__metadata__":
                continue
            begin, end = info["data_offsets"]
            kind = {"BF16": np.uint16, "F32": np.float32}[info["dtype"]]
            tensors[name] = (info["dtype"], data[begin:end].view(kind).reshape(info["shape"]))
    return tensors


def interleave(rows, n_heads):
    """Rows of q or k from Hugging Face's order (halves of a head rotate together) to GGUF's (neighbours do)."""
    split = rows.reshape(n_heads, 2, rows.shape[0] // n_heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2)).reshape(rows.shape)


def add_vocabulary(writer, folder, config):
    """The tokenizer of the checkpoint, or fillers."""
    n = config["vocab_size"]
    path = folder / "tokenizer.json"
    model = json.loads(path.read_text())["model"] if path.exists() else {}
    kinds = [gguf.TokenType.NORMAL] * n
    if model.get("type") == "BPE" and model.get("merges"):
        tokens = [f"[unused{i}]" for i in range(n)]
        for token, index in model["vocab"].items():
            tokens[index] = token
        for added in json.loads(path.read_text()).get("added_tokens", []):
            tokens[added["id"]], kinds[added["id"]] = added["content"], gguf.TokenType.CONTROL
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("llama-bpe")
        merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
        writer.add_token_merges(merges)
    else:
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
        kinds[:259] = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
        tokens += [f"\u2581w{i}" for i in range(len(tokens), n)]
        writer.add_tokenizer_model("llama")
        writer.add_token_scores([-float(i) for i in range(n)])
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    eos = config["eos_token_id"]
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(eos[0] if isinstance(eos, list) else eos)


def convert(folder, out):
    config = json.loads((folder / "config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    rope = config.get("rope_parameters") or {}
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_name(folder.name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(float(rope.get("rope_theta") or config["rope_theta"]))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    add_vocabulary(writer, folder, config)

    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    per_layer = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
                 "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
                 "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    for i in range(config["num_hidden_layers"]):
        names |= {f"model.layers.{i}.{hf}": f"blk.{i}.{peer}" for hf, peer in per_layer.items()}
    for name, (dtype, array) in open_tensors(folder).items():
        target = names[name.removesuffix(".weight")] + ".weight"
        if "q_proj" in name or "k_proj" in name:
            array = interleave(array, heads if "q_proj" in name else kv_heads)
        if array.ndim == 1:  # norms are f32 in the peer
            if dtype == "BF16":
                array = (array.astype(np.uint32) << 16).view(np.float32)
            writer.add_tensor(target, np.array(array))
        elif dtype == "BF16":
            writer.add_tensor(target, np.ascontiguousarray(array).view(np.uint8),
                              raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(target, np.array(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="Hugging Face checkpoint")
    parser.add_argument("-o", "--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    convert(args.folder, args.out)
