"""Write the tiny golden checkpoint: official names and layout, random weights seeded by tensor name.

The bytes are those that the golden figures were recorded with; ``tensor_manifest.json`` holds their hashes.
"""

import json
import zlib
from math import prod
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

HIDDEN = 64
VOCABULARY_ROWS = 155_947
CONFIG = {
    "architectures": ["QWenLMHeadModel"],
    "auto_map": {
        "AutoConfig": "configuration_qwen.QWenConfig",
        "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel",
    },
    "attn_dropout_prob": 0.0,
    "bf16": False,
    "fp16": False,
    "fp32": False,
    "emb_dropout_prob": 0.0,
    "intermediate_size": 6 * HIDDEN,
    "initializer_range": 0.02,
    "kv_channels": HIDDEN // 4,
    "layer_norm_epsilon": 1e-05,
    "model_type": "qwen",
    "hidden_size": HIDDEN,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "max_position_embeddings": 8192,
    "no_bias": True,
    "onnx_safe": None,
    "rotary_emb_base": 10000,
    "rotary_pct": 1.0,
    "scale_attn_weights": True,
    "seq_length": 2048,
    "tie_word_embeddings": False,
    "tokenizer_type": "QWenTokenizer",
    "transformers_version": "4.31.0",
    "use_cache": True,
    "vocab_size": VOCABULARY_ROWS,
    "use_dynamic_ntk": True,
    "use_logn_attn": True,
    "audio": {
        "n_mels": 80,
        "n_ctx": 1500,
        "n_state": HIDDEN,
        "n_head": 4,
        "n_layer": 2,
        "output_dim": HIDDEN,
        "avg_pool": True,
        "add_audio_bos_eos_token": True,
        "audio_start_id": 155163,
    },
}


def write_checkpoint(folder: Path, manifest: dict[str, dict[str, object]]) -> None:
    """Write config.json and model.safetensors; ``manifest`` gives the tensors' names and shapes."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    tensors = {name: golden_tensor(name, tuple(entry["shape"])) for name, entry in manifest.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def golden_tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    values = _sinusoids(shape) if name.endswith("positional_embedding") else _random(name, shape)
    return torch.tensor(values.astype(np.float32)).to(torch.bfloat16)


def _sinusoids(shape: tuple[int, ...]) -> np.ndarray:
    length, width = shape
    step = np.log(10000) / (width // 2 - 1)
    angles = torch.arange(length)[:, None] * torch.exp(-step * torch.arange(width // 2))[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1).numpy()


def _random(name: str, shape: tuple[int, ...]) -> np.ndarray:
    noise = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).standard_normal(shape)
    module, _, kind = name.rpartition(".")
    if len(shape) == 1:
        is_norm_weight = kind == "weight" and "ln" in module.rpartition(".")[2]
        return 1.0 + 0.1 * noise if is_norm_weight else 0.1 * noise
    if "wte" in name or "bos_eos" in name:
        return noise
    if "lm_head" in name:
        return noise * 3.0 / np.sqrt(HIDDEN)
    return noise * 1.2 / np.sqrt(prod(shape[1:]))
