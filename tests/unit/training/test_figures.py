"""Figures are counted as they are meant: errors by edit distance, goals reached or short, cards read back."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from bench.mini import GOALS, JSON_NAMES, table
from training.card import Making, card, figures_of
from training.curve import draw_curve
from training.evaluation import edit_alignment

FIGURES = dict.fromkeys((*JSON_NAMES, "wer_plain"), 50.0)


@pytest.mark.parametrize(
    ("said", "heard", "errors", "pairs"),
    [
        ("a b c", "a b c", 0, [(0, 0), (1, 1), (2, 2)]),
        ("a b c", "a c", 1, [(0, 0), (2, 1)]),
        ("a b", "a x b", 1, [(0, 0), (1, 2)]),
        ("a b c", "a x c", 1, [(0, 0), (2, 2)]),
        ("", "a", 1, []),
        ("a", "", 1, []),
    ],
)
def test_word_errors_are_the_edit_distance(
    said: str, heard: str, errors: int, pairs: list[tuple[int, int]]
) -> None:
    assert edit_alignment(said.split(), heard.split()) == (errors, pairs)


def test_the_table_says_which_goals_are_reached() -> None:
    figures = FIGURES | {"wer": 7.9, "wer_random": 15.1, "caption_acc": 90.0, "scene_acc": 89.9}
    lines = table(figures).splitlines()
    verdicts = {name: line.rsplit(" ", 1)[1] for name, line in zip(GOALS, lines, strict=False)}
    assert (verdicts["wer"], verdicts["wer_random"]) == ("ok", "short")
    assert (verdicts["caption_acc"], verdicts["scene_acc"]) == ("ok", "short")
    assert "wer_plain" in lines[-1]


def test_a_card_tells_its_figures_and_its_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    making = Making("train", 3, 100, 2.0, 1.0, "a laptop", "abc", "stopped once")
    text = card(tmp_path, table(FIGURES), FIGURES, making)
    assert figures_of(text) == FIGURES
    assert sha256(b"weights").hexdigest() in text
    assert "stopped once" in text


def test_a_curve_is_drawn_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(
        '{"step": 20, "answers": 3.0, "phonemes": 2.0, "tracks": 2.0}\n'
        '{"step": 40, "answers": 1.0, "phonemes": 1.0, "tracks": 1.0}\n'
        '{"step": 40, "evaluation": {"wer": 90, "wer_random": 95, "wer_new_voice": 99}}\n'
    )
    draw_curve(log, tmp_path / "curve.svg")
    picture = (tmp_path / "curve.svg").read_text()
    assert picture.count("<polyline") == 3
    draw_curve(tmp_path / "absent.jsonl", tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()
