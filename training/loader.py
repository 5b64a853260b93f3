"""Stream batches of examples of about equal length, with SpecAugment, for as long as training wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from training.clips import FRAMES_PER_TOKEN
from training.examples import Example
from training.tracks import IGNORED, TRACKS

# Few different shapes: a CPU's matrix library prepares each shape anew, which took a quarter of the time.
FRAME_STEP, PLACE_STEP = 32, 16

Draw = Callable[[np.random.Generator, float], Example]


@dataclass
class Batch:
    """Tensors of one step, padded at the end.

    ``features`` (clips, 80, frames) and ``lengths`` (clips,) in mel frames; ``ids``, ``targets``, ``segments`` and
    ``positions`` (clips, places) over the audio's places and the branches behind them: segment 0 is the audio, -1
    padding; ``phonemes`` (clips, 20 ms frames) and ``tracks`` (clips, tracks, 40 ms tokens).
    """

    features: torch.Tensor
    lengths: torch.Tensor
    ids: torch.Tensor
    targets: torch.Tensor
    segments: torch.Tensor
    positions: torch.Tensor
    phonemes: torch.Tensor
    tracks: torch.Tensor

    def to(self, device: torch.device) -> Self:
        """Move all tensors."""
        return type(self)(**{name: tensor.to(device) for name, tensor in vars(self).items()})

    @property
    def seconds(self) -> float:
        """How much audio the batch holds."""
        return float(self.lengths.sum()) / 100


@dataclass
class LoaderState:
    """Where a loader is: the number of its round, the next batch in it, and how far training was when it began."""

    round: int = 0
    place: int = 0
    progress: float = 0.0


class Loader:
    """Draws rounds of examples, sorts each by length and cuts it into batches, for ever.

    ``draw`` gives one example from a random generator and the progress of the run, 0 to 1. A round follows from the
    seed, its number and the progress at its begin alone, so a loader that is put back to a state goes on as before.
    """

    def __init__(self, draw: Draw, *, seed: int, seconds: float, bucket: int = 192) -> None:
        self.state = LoaderState()
        self._draw = draw
        self._seed = seed
        self._frames = seconds * 100
        self._bucket = bucket
        self._groups: list[list[Example]] = []

    def next(self, progress: float) -> Batch:
        """Return the next batch, of about ``seconds`` of audio with its padding."""
        if not self._groups:
            if self.state.place == 0:
                self.state.progress = progress
            self._groups = self._round()
        if self.state.place >= len(self._groups):
            self.state = LoaderState(self.state.round + 1, 0, progress)
            self._groups = self._round()
        batch = collate(self._groups[self.state.place])
        chance = np.random.default_rng([self._seed, self.state.round, self.state.place])
        spec_augment(batch.features, batch.lengths, chance)
        self.state.place += 1
        return batch

    def _round(self) -> list[list[Example]]:
        chance = np.random.default_rng([self._seed, self.state.round])
        drawn = [self._draw(chance, self.state.progress) for _ in range(self._bucket)]
        groups: list[list[Example]] = [[]]
        for example in sorted(drawn, key=lambda example: len(example.mel)):
            if groups[-1] and (len(groups[-1]) + 1) * _rounded(len(example.mel), FRAME_STEP) > self._frames:
                groups.append([])
            groups[-1].append(example)
        return [groups[place] for place in chance.permutation(len(groups))]


def _rounded(size: int, step: int) -> int:
    return -(-size // step) * step


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples to a batch."""
    frames = _rounded(max(len(example.mel) for example in examples), FRAME_STEP)
    places = _rounded(max(example.span + len(example.ids) for example in examples), PLACE_STEP)
    rows = len(examples)
    features = np.zeros((rows, 80, frames), np.float32)
    ids, positions = np.zeros((rows, places), np.int64), np.zeros((rows, places), np.int64)
    targets, segments = np.full((rows, places), IGNORED), np.full((rows, places), -1)
    phonemes = np.full((rows, frames // 2), IGNORED)
    tracks = np.full((rows, len(TRACKS), frames // FRAMES_PER_TOKEN), IGNORED)
    for row, example in enumerate(examples):
        span, last = example.span, example.span + len(example.ids)
        features[row, :, : len(example.mel)] = example.mel.T
        ids[row, span:last], targets[row, span:last] = example.ids, example.targets
        segments[row, :span], segments[row, span:last] = 0, example.segments
        positions[row, :span], positions[row, span:last] = np.arange(span), span + example.offsets
        phonemes[row, : len(example.phonemes)] = example.phonemes
        tracks[row, :, : example.tracks.shape[1]] = example.tracks
    lengths = np.array([len(example.mel) for example in examples])
    arrays = (features, lengths, ids, targets, segments, positions, phonemes, tracks)
    return Batch(*map(torch.from_numpy, arrays))


def spec_augment(features: torch.Tensor, lengths: torch.Tensor, chance: np.random.Generator) -> torch.Tensor:
    """Hide up to two bands and one short moment of each clip (Park et al., 2019), in place."""
    for row, length in enumerate(lengths.tolist()):
        mean = features[row, :, :length].mean()
        for _ in range(int(chance.integers(0, 3))):
            low, width = int(chance.integers(0, 72)), int(chance.integers(1, 9))
            features[row, low : low + width, :length] = mean
        if chance.random() < 0.5:
            start, width = int(chance.integers(0, length)), int(chance.integers(1, 8))
            features[row, :, start : min(start + width, length)] = mean
    return features
