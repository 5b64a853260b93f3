"""Load a checkpoint tensor by tensor, each straight to where it stays: host memory never holds a second copy.

transformers does so only where ``accelerate`` is installed; and rounding to 8 bits has to happen on the way.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import nn
from transformers import GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from qwen_audio.configuration import QwenAudioConfig
from qwen_audio.errors import InvalidCheckpoint
from qwen_audio.int8 import Int8Linear, use_int8
from qwen_audio.loading import StoredTensor, check_tensors, read_tensors
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.names import is_ignored, official_names, official_shapes

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""What weights may be stored in, by its name in a safetensors header."""


def load_model(
    folder: Path, device: str, dtype: torch.dtype, *, int8: bool = False
) -> QwenAudioForConditionalGeneration:
    """Load a checkpoint's folder to be asked, not trained; ``int8`` rounds the layers of the language model.

    Raises the exceptions under ``InvalidCheckpoint``. At most one tensor is held beside the weights.
    """
    config = QwenAudioConfig.from_pretrained(folder)
    check_tensors(folder, official_shapes(QwenAudioForConditionalGeneration, config))
    with torch.device("meta"):
        model = QwenAudioForConditionalGeneration(config).to(dtype)
    names = official_names(model)
    if int8:
        use_int8(model.transformer.h)
    for official, stored in read_tensors(folder).items():
        if not is_ignored(official):
            _put(model, names[official], read_tensor(stored, official).to(device), dtype)
    left = [name for name, tensor in model.state_dict().items() if tensor.is_meta]
    assert not left, f"{left[:3]} were not loaded, though the checkpoint was found complete"
    if (folder / GENERATION_CONFIG_NAME).is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return cast("QwenAudioForConditionalGeneration", model.eval())


def read_tensor(stored: StoredTensor, name: str) -> torch.Tensor:
    """Read one tensor from its file, into memory of its own; raises ``InvalidCheckpoint``."""
    if stored.dtype not in DTYPES:
        raise InvalidCheckpoint(
            f"{stored.file}: {name} is stored as {stored.dtype}, only {', '.join(DTYPES)} can be read"
        )
    content = torch.empty(stored.size, dtype=torch.uint8)
    with stored.file.open("rb") as stream:
        stream.seek(stored.offset)
        if stream.readinto(content.numpy().data) != stored.size:
            raise InvalidCheckpoint(f"{stored.file} is truncated: {name} ends too early, fetch it again")
    return content.view(DTYPES[stored.dtype]).view(stored.shape)


def _put(model: nn.Module, name: str, tensor: torch.Tensor, dtype: torch.dtype) -> None:
    """Let a tensor take the place of the empty one of its name."""
    owner, _, leaf = name.rpartition(".")
    module = model.get_submodule(owner)
    if isinstance(module, Int8Linear) and leaf == "weight":
        module.round(tensor)
    elif leaf in dict(module.named_parameters(recurse=False)):
        setattr(module, leaf, nn.Parameter(tensor.to(dtype), requires_grad=False))
    else:
        setattr(module, leaf, tensor.to(dtype))
