"""Write a trained model as a checkpoint in the official layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from qwen_audio.loading import WEIGHTS_FILE
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.names import official_state
from qwen_audio.tags import Tag
from qwen_audio.tokenizer import QwenAudioTokenizer
from training.vocabulary import write_ranks

MAX_NEW_TOKENS = 512


def export(
    model: QwenAudioForConditionalGeneration,
    ranks: dict[bytes, int],
    folder: Path,
    dtype: torch.dtype = torch.float16,
    clip_seconds: float = 0.0,
) -> None:
    """Write config.json, generation_config.json, model.safetensors and qwen.tiktoken; replaces what is there.

    ``clip_seconds``, where it is not 0, says how long a clip the model follows word by word; longer ones are heard
    utterance by utterance.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_ranks(ranks, folder)
    end = QwenAudioTokenizer(ranks).id_of(Tag.END_OF_TEXT)
    generation = {
        "eos_token_id": end,
        "pad_token_id": end,
        "do_sample": False,
        "max_new_tokens": MAX_NEW_TOKENS,
        **({"clip_seconds": clip_seconds} if clip_seconds else {}),
    }
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=1) + "\n")
    model.config.architectures = [QwenAudioForConditionalGeneration.__name__]
    model.config.dtype = dtype
    model.config.save_pretrained(folder)
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in official_state(model).items()
    }
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
