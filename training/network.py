"""Join the model with the two heads that only training needs, and compute all losses of a batch in one pass.

A clip is encoded once. Its branches follow it in one row of the language model, each seeing the audio and itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from qwen_audio.configuration import QwenAudioConfig
from qwen_audio.encoder import sinusoids
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.tags import LAST_TIME_CENTISECONDS, Tag, TimeTag
from qwen_audio.tokenizer import QwenAudioTokenizer
from training.guides import guide_loss, guided_places
from training.loader import Batch
from training.synthesis.speech import PHONEME_COUNT
from training.tracks import IGNORED, SIZES

STAMP_SCALE = 0.07


@dataclass(frozen=True)
class Sizes:
    """The sizes of a mini model."""

    hidden: int = 256
    encoder_layers: int = 4
    decoder_layers: int = 3
    heads: int = 4
    feed_forward: int = 512


@dataclass(frozen=True)
class Weights:
    """How much each loss counts.

    The answers; phonemes of frames, and their sequence (CTC); words of tokens, and the other tracks; where the language
    model looks while it writes word times.
    """

    answers: float = 1.0
    phonemes: float = 0.5
    ctc: float = 0.1
    words: float = 1.5
    tracks: float = 0.3
    guides: float = 0.0  # for models from random weights: a trained one has its own ways to look


class Trainee(nn.Module):
    """The model under training and its auxiliary heads; the heads stay behind when a checkpoint is exported."""

    def __init__(self, model: QwenAudioForConditionalGeneration, tokenizer: QwenAudioTokenizer) -> None:
        super().__init__()
        self.model = model
        self._first_stamp = tokenizer.id_of(TimeTag(0))
        self.phoneme_head = nn.Linear(model.config.d_model, PHONEME_COUNT)
        self.track_heads = nn.Linear(model.config.hidden_size, sum(SIZES))
        self._frames: torch.Tensor | None = None
        self._looks: list[torch.Tensor] = []
        self._is_guided = False
        # The encoder returns pooled rows only; phonemes are told from frames before the pooling, at two thirds of the
        # way, so that the last layers can put words together.
        layers = model.transformer.audio.layers
        layers[max(0, 2 * len(layers) // 3 - 1)].register_forward_hook(self._keep_frames)
        for layer in model.transformer.h[1:]:
            layer.get_submodule("self_attn").register_forward_hook(self._keep_looks)

    def _keep_looks(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self._is_guided and output[1] is not None:  # the plain attention alone tells its weights
            self._looks.append(output[1])

    def _keep_frames(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._frames = output[0] if isinstance(output, tuple) else output

    def forward(self, batch: Batch, weights: Weights) -> dict[str, torch.Tensor]:
        """Compute the losses, each a scalar; ``loss`` is their weighted sum."""
        spans = self.model.encode_audio(batch.features, batch.lengths)
        frames, self._frames = self._frames, None
        assert frames is not None
        self._is_guided = self.training and weights.guides > 0
        losses = {"answers": self._answers(batch, spans)}
        looks, self._looks, self._is_guided = self._looks, [], False
        if looks:
            losses["guides"] = guide_loss(looks, self._guided(batch))
        phonemes = self.phoneme_head(frames).float()  # (clips, frames, phonemes)
        known = batch.phonemes[:, : phonemes.shape[1]]
        losses["phonemes"] = _mean_loss(phonemes, known)
        if weights.ctc:
            losses["ctc"] = _ctc_loss(phonemes, known, batch.lengths)
        rows = torch.cat([span[1:-1] for span in spans])
        labels = torch.cat(
            [one[:, : len(span) - 2] for one, span in zip(batch.tracks, spans, strict=True)], 1
        )
        guesses = self.track_heads(rows).float().split(SIZES, dim=-1)  # of each (tokens, labels)
        by_track = [_mean_loss(*pair) for pair in zip(guesses, labels, strict=True)]
        losses["words"], losses["tracks"] = by_track[0], torch.stack(by_track[1:]).sum()
        losses["loss"] = sum(
            (getattr(weights, name) * loss for name, loss in losses.items()), torch.zeros(())
        )
        return losses

    def _guided(self, batch: Batch) -> torch.Tensor:
        places = guided_places(
            batch.ids.cpu().numpy(),
            batch.segments.cpu().numpy(),
            self._first_stamp,
            LAST_TIME_CENTISECONDS + 1,
        )
        return torch.from_numpy(places).to(batch.ids.device)

    def _answers(self, batch: Batch, spans: list[torch.Tensor]) -> torch.Tensor:
        embeds = self.model.transformer.wte(batch.ids)
        audio = torch.cat(spans)
        embeds = embeds.to(audio.dtype).masked_scatter((batch.segments == 0)[..., None], audio)
        hidden = self.model.transformer(
            inputs_embeds=embeds,
            attention_mask=branch_mask(batch.segments, embeds.dtype),
            position_ids=batch.positions,
            use_cache=False,
        ).last_hidden_state
        asked = batch.targets != IGNORED
        logits = self.model.lm_head(hidden[asked]).float()  # (answer tokens, vocab_size)
        return functional.cross_entropy(logits, batch.targets[asked])


def branch_mask(segments: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Say who sees whom, (rows, 1, places, places): 0 for the audio and the own branch before a place, else -inf.

    Padding sees what is before it in its row, so that no row is without anything to see.
    """
    places = segments.shape[1]
    causal = torch.ones(places, places, dtype=torch.bool, device=segments.device).tril()
    seen = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
    mask = torch.zeros(seen.shape, dtype=dtype, device=segments.device)
    return mask.masked_fill_(~(seen & causal), torch.finfo(dtype).min)[:, None]


def _mean_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Average the cross entropy over labelled places; 0 where a batch has none."""
    known = labels != IGNORED
    if not known.any():
        return logits.sum() * 0.0
    return functional.cross_entropy(logits[known], labels[known])


def _ctc_loss(logits: torch.Tensor, labels: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Compute the connectionist loss of the phoneme sequences, a run of frames being one phoneme and 0 the blank."""
    sequences, rows = [], []
    for row, line in enumerate(labels):
        runs = torch.unique_consecutive(line[line != IGNORED])
        runs = runs[runs > 0]
        if len(runs):
            sequences.append(runs)
            rows.append(row)
    if not rows:
        return logits.sum() * 0.0
    return functional.ctc_loss(
        logits[rows].log_softmax(-1).transpose(0, 1),
        torch.cat(sequences),
        lengths[rows] // 2,
        torch.tensor([len(sequence) for sequence in sequences]),
        zero_infinity=True,
    )


def mini_config(tokenizer: QwenAudioTokenizer, sizes: Sizes) -> QwenAudioConfig:
    """Return the official configuration at the sizes and the vocabulary of a mini model."""
    audio = dict(
        QwenAudioConfig().audio,
        n_state=sizes.hidden,
        n_head=sizes.heads,
        n_layer=sizes.encoder_layers,
        output_dim=sizes.hidden,
        audio_start_id=tokenizer.id_of(Tag.AUDIO_START),
    )
    return QwenAudioConfig(
        vocab_size=tokenizer.vocabulary_size,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.decoder_layers,
        num_attention_heads=sizes.heads,
        kv_channels=sizes.hidden // sizes.heads,
        intermediate_size=2 * sizes.feed_forward,
        initializer_range=0.05,
        audio=audio,
        architectures=[QwenAudioForConditionalGeneration.__name__],
    )


def new_model(tokenizer: QwenAudioTokenizer, sizes: Sizes) -> QwenAudioForConditionalGeneration:
    """Build a mini model with random weights from torch's generator; time tags begin as points on one smooth line."""
    model = QwenAudioForConditionalGeneration(mini_config(tokenizer, sizes))
    first = tokenizer.id_of(TimeTag(0))
    count = LAST_TIME_CENTISECONDS + 1
    # A time tag begins where the encoder's frames of that time are marked, one every 20 ms.
    line = STAMP_SCALE * sinusoids(count // 2 + 1, sizes.hidden).repeat_interleave(2, dim=0)[:count]
    with torch.no_grad():
        for table in (model.transformer.wte.weight, model.lm_head.weight):
            table[first : first + count] = line
    return model
