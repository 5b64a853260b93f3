"""Write a tiny untrained checkpoint in the official layout: ``python -m qwen_audio.tiny OUT [--seed N]``.

It hears nothing and says nonsense, at once and on any machine: for dry runs and tests.
"""

from __future__ import annotations

import argparse
import base64
import json
import zlib
from math import prod, sqrt
from pathlib import Path

import torch
from safetensors.torch import save_file

from qwen_audio.configuration import QwenAudioConfig
from qwen_audio.encoder import sinusoids
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.names import official_shapes
from qwen_audio.tags import LAST_TIME_CENTISECONDS, Tag, TimeTag
from qwen_audio.tokenizer import VOCABULARY_FILE, QwenAudioTokenizer

HIDDEN = 64
UNUSED_ROWS = 64  # the official embedding, too, has rows that no token owns
_VOWELS = "aeiou"
_CONSONANTS = "bcdfghjklmnprstvwxyz"


def write_tiny(folder: str | Path, seed: int = 0) -> None:
    """Write config.json, generation_config.json, model.safetensors (about 2 MB, bfloat16) and qwen.tiktoken.

    The same seed gives the same bytes. Files already in ``folder`` are replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ranks = syllable_ranks()
    tokenizer = QwenAudioTokenizer(ranks)
    config = _config(tokenizer)
    lines = [b"%s %d" % (base64.b64encode(token), rank) for token, rank in ranks.items()]
    (folder / VOCABULARY_FILE).write_bytes(b"\n".join(lines) + b"\n")
    end = tokenizer.id_of(Tag.END_OF_TEXT)
    generation = {"eos_token_id": end, "pad_token_id": end, "do_sample": False, "max_new_tokens": 512}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=1) + "\n")
    config.architectures = [QwenAudioForConditionalGeneration.__name__]
    config.save_pretrained(folder)
    shapes = official_shapes(QwenAudioForConditionalGeneration, config)
    tensors = {name: _tensor(name, shape, seed) for name, shape in shapes.items()}
    tensors["lm_head.weight"] *= _loudness(ranks, config)[:, None]
    _alternate_times_and_syllables(tensors, tokenizer, ranks)
    stored = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})


def syllable_ranks() -> dict[bytes, int]:
    """Make a small vocabulary: every byte, then two-letter syllables and spaces before letters, in merge order."""
    pairs = [f" {letter}" for letter in sorted(_CONSONANTS + _VOWELS)]
    pairs += [a + b for consonant in _CONSONANTS for vowel in _VOWELS for a, b in _orders(consonant, vowel)]
    tokens = [bytes([byte]) for byte in range(256)] + [pair.encode() for pair in pairs]
    return {token: rank for rank, token in enumerate(tokens)}


def _orders(first: str, second: str) -> list[tuple[str, str]]:
    return [(first, second), (second, first)]


def _config(tokenizer: QwenAudioTokenizer) -> QwenAudioConfig:
    official = QwenAudioConfig()
    audio = dict(official.audio, n_state=HIDDEN, n_head=4, n_layer=2, output_dim=HIDDEN)
    return QwenAudioConfig(
        vocab_size=tokenizer.vocabulary_size + UNUSED_ROWS,
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        kv_channels=HIDDEN // 4,
        intermediate_size=6 * HIDDEN,
        audio=dict(audio, audio_start_id=tokenizer.id_of(Tag.AUDIO_START)),
    )


def _tensor(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Draw a tensor from its name and the seed, at a scale that lets the audio and the prompt show in the logits."""
    if name.endswith("positional_embedding"):
        return sinusoids(*shape)
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    noise: torch.Tensor = torch.randn(shape, generator=generator)
    if len(shape) == 1:
        is_norm_weight = name.endswith(
            ("ln_1.weight", "ln_2.weight", "ln_f.weight", "_ln.weight", "ln_post.weight")
        )
        return 1 + 0.1 * noise if is_norm_weight else 0.1 * noise
    if "wte" in name or "bos_eos" in name:
        return noise
    return noise * 1.2 / sqrt(prod(shape[1:]))


def _loudness(ranks: dict[bytes, int], config: QwenAudioConfig) -> torch.Tensor:
    """Scale the rows of the head, (vocab_size,): printable tokens win, the end comes now and then, the rest hardly."""
    loudness = torch.full((config.vocab_size,), 0.3)
    for token, rank in ranks.items():
        printable = token.isascii() and token.decode().isprintable() and token != b" "
        loudness[rank] = 3.0 if printable and not _is_closed(token) else 0.3
    loudness[len(ranks)] = 4.0  # the first control token is the end of text
    return loudness


def _alternate_times_and_syllables(
    tensors: dict[str, torch.Tensor], tokenizer: QwenAudioTokenizer, ranks: dict[bytes, int]
) -> None:
    """Let a time tag be followed by one of the closed syllables, and that by a time tag, as in a timed transcript.

    Two dimensions of the residual stream are kept for it: one says "the last token was a time", the other "it was
    a closed syllable". Without this a timed prompt would get no times, and dry runs would never see a word. Which
    time and which syllable stays as random as everything else.
    """
    times = torch.tensor([tokenizer.id_of(TimeTag(place)) for place in range(LAST_TIME_CENTISECONDS + 1)])
    closed = torch.tensor([rank for token, rank in ranks.items() if _is_closed(token)])
    embedding, head = tensors["transformer.wte.weight"], tensors["lm_head.weight"]
    for name, tensor in tensors.items():
        if name.startswith("transformer.h.") and name.endswith("c_proj.weight"):
            tensor[:2] = 0
    embedding[:, :2] = 0
    embedding[times, 0] = embedding[closed, 1] = 8.0
    head[:, :2] = -6.0
    head[closed, 0] = head[times, 1] = 6.0
    head[tokenizer.id_of(Tag.END_OF_TEXT), 0] = 4.5  # the noise on top ends the answer now and then


def _is_closed(token: bytes) -> bool:
    """Say whether it is a syllable that ends in a consonant."""
    return len(token) == 2 and chr(token[0]) in _VOWELS and chr(token[1]) in _CONSONANTS


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m qwen_audio.tiny", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write the checkpoint to")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same weights (default 0)")
    arguments = parser.parse_args()
    write_tiny(arguments.out, arguments.seed)
    print(f"wrote an untrained checkpoint to {arguments.out}")


if __name__ == "__main__":
    main()
