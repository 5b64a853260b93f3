"""Translate between the official tensor names on disk and those of the composed model.

transformers renames while it loads, and back while it saves.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming, revert_weight_conversion

NAMES = {
    # language model
    "attn.c_attn": "self_attn.qkv_proj",
    "attn.c_proj": "self_attn.o_proj",
    "ln_1": "input_layernorm",
    "ln_2": "post_attention_layernorm",
    "mlp.w1": "mlp.up_proj",
    "mlp.w2": "mlp.gate_proj",
    "mlp.c_proj": "mlp.down_proj",
    # audio encoder
    "audio.blocks": "audio.layers",
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "mlp_ln": "final_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
}
"""Official part of a name to the part that transformers' layers use."""

IGNORED_TENSORS = [r"rotary_emb\.inv_freq$", r"attn\.masked_bias$", r"attn\.logn_tensor$"]
"""Constants that old checkpoints hold and that are computed here."""


def register_names(model_type: str) -> None:
    """Tell transformers the names for a model type; to be called once, at import."""
    renamings = [WeightRenaming(official, ours) for official, ours in NAMES.items()]
    register_checkpoint_conversion_mapping(model_type, renamings, overwrite=True)


def is_ignored(name: str) -> bool:
    """Say whether a tensor of that official name may stand in a checkpoint without being used."""
    return any(re.search(pattern, name) for pattern in IGNORED_TENSORS)


def official_shapes(model_class: Any, config: Any) -> dict[str, tuple[int, ...]]:
    """List the official tensor names and shapes that follow from a configuration, without allocating any."""
    with torch.device("meta"):
        model = model_class(config)
    return {name: tuple(tensor.shape) for name, tensor in official_state(model).items()}


def official_state(model: Any) -> dict[str, torch.Tensor]:
    """Return the model's state under its official names; the tensors are the model's own."""
    state: dict[str, torch.Tensor] = revert_weight_conversion(model, model.state_dict())
    return state


def official_names(model: Any) -> dict[str, str]:
    """Map the official tensor names to those of the model, of which it has all."""
    state: dict[str, torch.Tensor] = model.state_dict()
    names = {id(tensor): name for name, tensor in state.items()}
    official: dict[str, torch.Tensor] = revert_weight_conversion(model, state)
    return {name: names[id(tensor)] for name, tensor in official.items()}
