"""The language model is shown where to listen while it writes word times."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.guides import guide_loss, guided_places

STAMP = 100  # the id of <|0.00|>; ids below are words and tags


def test_between_two_stamps_the_audio_between_them_is_looked_at() -> None:
    # Ten places of audio (<audio>, eight tokens, </audio>), then 0.00 word 0.12 sil 0.24, and another branch's stamp.
    ids = np.array([[0] * 10 + [STAMP, 7, STAMP + 12, 8, STAMP + 24, STAMP + 30]])
    segments = np.array([[0] * 10 + [1] * 5 + [2]])
    found = guided_places(ids, segments, STAMP, 3_001)
    assert found.tolist() == [[0, 10, 1, 5], [0, 11, 1, 5], [0, 12, 3, 8], [0, 13, 3, 8]]


def test_times_that_run_backwards_and_padding_guide_nothing() -> None:
    ids = np.array([[0] * 4 + [STAMP + 8, 7, STAMP, STAMP + 4]])
    segments = np.array([[0] * 4 + [1, 1, 1, -1]])
    assert len(guided_places(ids, segments, STAMP, 3_001)) == 0


def test_the_loss_is_nothing_for_who_looks_right_and_grows_for_who_looks_away() -> None:
    guided = torch.tensor([[0, 3, 1, 3]])
    right, away = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    right[0, 0, 3, 1:3] = 0.5
    away[0, 0, 3, 3] = 1.0
    assert float(guide_loss([right], guided)) == pytest.approx(0.0, abs=1e-3)
    assert float(guide_loss([away], guided)) > 5
    assert float(guide_loss([right], guided[:0])) == 0.0
