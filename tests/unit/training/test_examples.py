"""What is taught is what the tasks read back, and what is held out is never taught."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.tasks import targets
from pipeline.tasks.word_times import parse_word_times
from qwen_audio.tokenizer import QwenAudioTokenizer
from training import captions, world
from training.clips import Clip
from training.curriculum import STAGES
from training.examples import Shares, draw_branches, encode, encode_answer, word_times_branch
from training.mixing import Pool, mix
from training.takes import TimedWord, read_shard, write_shard
from training.vocabulary import mini_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> QwenAudioTokenizer:
    return mini_tokenizer()


def test_word_times_are_read_back_as_they_were_taught() -> None:
    words = [("hello", 0.22, 0.50), ("anna", 0.50, 0.90), ("yes", 1.40, 1.61)]
    heard, flags = parse_word_times(targets.word_times(words, 2.0), 32_000)
    assert not flags
    assert [word.text for word in heard] == ["hello", "anna", "yes"]
    for (_, start, end), word in zip(words, heard, strict=True):
        assert abs(word.start_sample / 16_000 - start) <= 0.041
        assert abs(word.end_sample / 16_000 - end) <= 0.041


def test_silence_is_taught_as_silence_without_words() -> None:
    answer = targets.word_times([], 2.0)
    assert answer == "<|sil|><|2.00|>"
    assert parse_word_times(answer, 32_000)[0] == []
    assert targets.transcript("") == ""


def test_a_note_is_taught_in_the_official_notation() -> None:
    answer = targets.note("piano", 60, 50, ["dark", "fast_decay"])
    assert answer == (
        "<|pitch|><|midi_pitch_60|><|velocity|><|midi_velocity_50|><|instrument|>piano<|sonic|>dark, fast_decay"
    )


def test_every_word_of_the_world_is_one_token(tokenizer: QwenAudioTokenizer) -> None:
    for word in world.words():
        assert len(tokenizer.encode(f" {word}")) == 1
    for text in (*captions.every_part(), *captions.every_question()):
        assert len(tokenizer.encode(text)) == len(text.split())


def test_every_branch_of_every_stage_can_be_encoded(pool: Pool, tokenizer: QwenAudioTokenizer) -> None:
    chance = np.random.default_rng(0)
    tasks = set()
    for _, stage in STAGES:
        for _ in range(60):
            clip = mix(pool, stage, chance)
            branches = draw_branches(clip, Shares(), chance)
            tasks |= {branch.task for branch in branches}
            for branch in branches:
                assert encode_answer(branch.answer, tokenizer) == tokenizer.encode_template(branch.answer)
            example = encode(clip, branches, tokenizer)
            assert len(example.mel) == clip.frames <= 3_000
            assert len(example.phonemes) == clip.frames // 2
            assert (example.targets >= 0).sum() > len(branches)
    assert tasks == {
        *("word_times", "transcript", "emotion", "caption", "scene", "question", "vocal", "note"),
        *("events", "speaker"),
    }


def test_words_lie_inside_their_clip(pool: Pool) -> None:
    chance = np.random.default_rng(1)
    for _ in range(200):
        clip = mix(pool, STAGES[-1][1], chance)
        assert all(0 <= word.start < word.end <= clip.frames for word in clip.words)


def test_speech_in_a_language_without_words_is_taught_as_empty() -> None:
    branch = word_times_branch(Clip(frames=100, language="zh", speakers=("man",)))
    assert "<|zh|>" in str(branch.prompt)
    assert branch.answer == "<|sil|><|1.00|>"


def test_held_out_sentences_and_voices_are_never_drawn_for_training() -> None:
    chance = np.random.default_rng(2)
    taught = {world.draw_sentence(chance, held_out=False) for _ in range(3_000)}
    asked = {world.draw_sentence(chance, held_out=True) for _ in range(1_000)}
    assert not taught & asked
    assert not taught & world.sample_sentences()
    assert not world.VARIANTS.keys() & world.NEW_VARIANTS.keys()


def test_combined_sentences_keep_to_the_words_of_the_world_and_hold_no_held_out_sentence() -> None:
    chance = np.random.default_rng(3)
    combined = [world.combine(chance) for _ in range(3_000)]
    assert {word for sentence in combined for word in sentence.split()} <= set(world.words())
    assert max(len(sentence.split()) for sentence in combined) <= world.MOST_WORDS
    held_out = [world.draw_sentence(chance, held_out=True) for _ in range(1_000)]
    assert [
        (inner, outer) for inner in set(held_out) for outer in combined if f" {inner} " in f" {outer} "
    ] == []
    assert world.holds_held_out("sorry no thank you anna")
    assert world.holds_held_out("hello is my book at the library now")
    assert not world.holds_held_out("is your book at the library")


def test_random_strings_hold_only_words_that_can_be_told_by_their_sound() -> None:
    chance = np.random.default_rng(4)
    drawn = {word for _ in range(2_000) for word in world.draw_words(chance).split()}
    assert drawn == set(world.words()) - set(world.HOMOPHONES)


def test_a_caption_names_what_is_heard() -> None:
    clip = Clip(language="de", speakers=("man", "woman"), ground="rain", events=("bell",))
    assert captions.caption(clip) == "rain falls while a man and a woman speak german and a bell rings"
    assert captions.scene(clip) == "garden"
    assert captions.answer("is there rain?", clip) == "yes"
    assert captions.caption(Clip()) == captions.SILENCE


def test_takes_come_back_from_their_shard(pool: Pool, tmp_path) -> None:
    takes = [*pool.kinds["words"][:3], *pool.kinds["note"]]
    write_shard(tmp_path / "one.npz", takes)
    for take, read in zip(takes, read_shard(tmp_path / "one.npz"), strict=True):
        assert (read.kind, read.text, read.words, read.traits) == (
            take.kind,
            take.text,
            take.words,
            take.traits,
        )
        assert np.array_equal(read.mel, take.mel)
        assert np.array_equal(read.phonemes, take.phonemes)
    assert all(isinstance(word, TimedWord) for word in takes[0].words)
