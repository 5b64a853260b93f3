"""The bundled checkpoint is what its card says, and hears a clip alone as in company."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from pipeline.tasks import prompts
from qwen_audio.engine import Engine
from qwen_audio.loading import WEIGHTS_FILE
from qwen_audio.tokenizer import VOCABULARY_FILE, read_ranks
from training.card import CARD_FILE, figures_of
from training.clips import Clip
from training.evaluation import word_times_prompt
from training.examples import caption_branch
from training.labels import LABELS_FILE, label_maps
from training.synthesis import music, sounds
from training.vocabulary import mini_ranks

MINI = Path(__file__).resolve().parents[3] / "qwen_audio" / "mini"
MOST_BYTES = 20_000_000

pytestmark = pytest.mark.skipif(not (MINI / WEIGHTS_FILE).is_file(), reason="no mini checkpoint is bundled")


@pytest.fixture(scope="module")
def engine():
    with Engine.load(MINI, device="cpu") as engine:
        yield engine


def clips() -> list[np.ndarray]:
    chance = np.random.default_rng(5)
    rain = 0.2 * sounds.make_sound("rain", 2.0, chance)
    bell = 0.5 * sounds.make_sound("bell", 2.4, chance)
    note = 0.5 * music.play(music.Note("organ", 60, 100), 1.2, chance)
    return [wave.astype(np.float32) for wave in (rain, bell, note, np.zeros(24_000))]


def test_the_card_names_these_weights_and_their_figures() -> None:
    weights = MINI / WEIGHTS_FILE
    text = (MINI / CARD_FILE).read_text(encoding="utf-8")
    assert weights.stat().st_size <= MOST_BYTES
    assert sha256(weights.read_bytes()).hexdigest() in text
    figures = figures_of(text)
    for name in (
        "wer",
        "wer_random",
        "wer_new_voice",
        "no_speech_acc",
        "caption_acc",
        "rtfx_2cores",
        "size_mb",
    ):
        assert np.isfinite(figures[name])


def test_the_vocabulary_is_the_world_s_with_every_byte_first() -> None:
    ranks = read_ranks(MINI / VOCABULARY_FILE)
    assert ranks == mini_ranks()
    assert [ranks[bytes([byte])] for byte in range(256)] == list(range(256))


def test_a_clip_in_company_gets_the_answers_that_it_gets_alone(engine: Engine) -> None:
    asked = [word_times_prompt(), caption_branch(Clip()).prompt, prompts.scene_prompt()]
    alone = [[_ask(engine, clip, prompt) for prompt in asked] for clip in clips()]
    prefixes = [engine.open(clip) for clip in clips()]
    futures = [[prefix.branch(prompt, 24) for prompt in asked] for prefix in prefixes]
    company = [[future.result().text for future in row] for row in futures]
    for prefix in prefixes:
        prefix.close()
    assert company == alone


def _ask(engine: Engine, clip: np.ndarray, prompt: prompts.Prompt) -> str:
    with engine.open(clip) as prefix:
        return prefix.branch(prompt, 24).result().text


def test_nobody_speaks_in_rain_a_bell_a_note_and_silence(engine: Engine) -> None:
    for clip in clips():
        assert re.fullmatch(r"<\|sil\|><\|\d+\.\d\d\|>", _ask(engine, clip, word_times_prompt()))


def test_the_label_maps_are_those_of_the_world() -> None:
    assert json.loads((MINI / LABELS_FILE).read_text(encoding="utf-8")) == label_maps()


def test_rain_is_heard(engine: Engine) -> None:
    assert "rain falls" in _ask(engine, clips()[0], caption_branch(Clip()).prompt)
