"""Make models of random weights in the official layout, and the clips and prompts that benchmarks ask about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod, sqrt
from unittest.mock import patch

import numpy as np
import torch

from qwen_audio.configuration import QwenAudioConfig
from qwen_audio.encoder import sinusoids
from qwen_audio.features import SAMPLING_RATE
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.repetition import ends_in_a_loop
from qwen_audio.tags import Prompt, Tag, TimeTag
from qwen_audio.tiny import syllable_ranks
from qwen_audio.tokenizer import QwenAudioTokenizer

Clip = np.ndarray[tuple[int], np.dtype[np.float32]]


@dataclass(frozen=True)
class Size:
    """The sizes of a model; the widths of the layers follow as in the official one."""

    hidden: int
    layers: int
    heads: int
    audio_width: int
    audio_layers: int
    audio_heads: int

    @property
    def feed_forward(self) -> int:
        """Twice the width of the feed-forward layers, in the official proportion and a multiple of 32."""
        return round(self.hidden * 22_016 / 4_096 / 32) * 32


CPU_SIZE = Size(hidden=768, layers=8, heads=6, audio_width=384, audio_layers=4, audio_heads=6)
QUICK_SIZE = Size(hidden=256, layers=4, heads=2, audio_width=128, audio_layers=2, audio_heads=2)
OFFICIAL_SIZE = Size(hidden=4096, layers=32, heads=32, audio_width=1280, audio_layers=32, audio_heads=20)


@dataclass(frozen=True)
class Task:
    """A prompt and how many tokens its answer is forced to have."""

    name: str
    prompt: Prompt
    tokens: int


_WORDS = (Tag.START_OF_TRANSCRIPT, Tag.EN, Tag.TRANSCRIBE, Tag.EN, Tag.TIMESTAMPS, TimeTag(0))
_CAPTION = (Tag.START_OF_ANALYSIS, Tag.UNKNOWN, Tag.CAPTION, Tag.EN, Tag.NO_TIMESTAMPS, Tag.CAPTION_CLOTHO)
_EMOTION = (Tag.START_OF_ANALYSIS, Tag.EN, Tag.KEYWORD, Tag.EN, Tag.NO_TIMESTAMPS, Tag.EMOTION_RECOGNITION)
_SCENE = (Tag.START_OF_ANALYSIS, Tag.UNKNOWN, Tag.KEYWORD, Tag.EN, Tag.NO_TIMESTAMPS, Tag.SCENE)

TASKS = (
    Task("words", Prompt(_WORDS), 64),
    Task("caption", Prompt(_CAPTION), 20),
    Task("emotion", Prompt(_EMOTION), 4),
    Task("scene", Prompt(_SCENE), 6),
)


def shortened(tasks: tuple[Task, ...], tokens: int) -> tuple[Task, ...]:
    """Return the tasks with at most so many tokens each."""
    return tuple(replace(task, tokens=min(task.tokens, tokens)) for task in tasks)


def make_model(
    size: Size,
    tokenizer: QwenAudioTokenizer,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    vocabulary_rows: int | None = None,
) -> QwenAudioForConditionalGeneration:
    """Draw a model that says something else at every place and never ends by itself: lengths are forced."""
    official = QwenAudioConfig()
    audio = dict(
        official.audio,
        n_state=size.audio_width,
        n_head=size.audio_heads,
        n_layer=size.audio_layers,
        output_dim=size.hidden,
        audio_start_id=tokenizer.id_of(Tag.AUDIO_START),
    )
    config = QwenAudioConfig(
        vocab_size=vocabulary_rows or tokenizer.vocabulary_size,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        kv_channels=size.hidden // size.heads,
        intermediate_size=size.feed_forward,
        audio=audio,
    )
    with torch.device("meta"):
        model = QwenAudioForConditionalGeneration(config).to(dtype)
    model.to_empty(device=device)
    generator = torch.Generator(device=device).manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            _draw(name, tensor, generator)
        model.lm_head.weight[tokenizer.id_of(Tag.END_OF_TEXT)] = 0
    return model.eval()  # type: ignore[no-any-return]  # transformers is untyped


def make_tokenizer(plain: int = 0) -> QwenAudioTokenizer:
    """Make a small vocabulary with all control tokens, or one of at least so many plain ones."""
    ranks = syllable_ranks()
    for number in range(plain - len(ranks)):
        ranks[b"\x00" + number.to_bytes(3, "big")] = len(ranks)
    return QwenAudioTokenizer(ranks)


def make_clips(seconds: list[float]) -> list[Clip]:
    """Draw clips of noise: what they hold costs the same as speech."""
    noise = np.random.default_rng(0)
    return [
        (0.1 * noise.standard_normal(round(length * SAMPLING_RATE))).astype(np.float32) for length in seconds
    ]


@contextmanager
def forced_lengths() -> Iterator[None]:
    """Let answers go in circles, as random weights sometimes do; they are still looked at, which takes time."""

    def look(ids: Sequence[int]) -> bool:
        ends_in_a_loop(ids)
        return False

    with patch("qwen_audio.branch.ends_in_a_loop", look):
        yield


def count_parameters(model: torch.nn.Module) -> int:
    """Count the parameters beside the embedding and the head."""
    return sum(tensor.numel() for name, tensor in model.named_parameters() if not _is_vocabulary(name))


def _is_vocabulary(name: str) -> bool:
    return "wte" in name or "lm_head" in name


def _draw(name: str, tensor: torch.Tensor, generator: torch.Generator) -> None:
    if name.endswith("positional_embedding"):
        tensor.copy_(sinusoids(*tensor.shape))
    elif tensor.dim() == 1:
        tensor.fill_(0.0 if name.endswith("bias") else 1.0)
    elif "wte" in name or "bos_eos" in name:
        tensor.normal_(generator=generator)
    else:
        tensor.normal_(std=1.2 / sqrt(prod(tensor.shape[1:])), generator=generator)
