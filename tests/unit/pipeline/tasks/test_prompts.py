"""Prompts: those of ``eval_audio`` of Qwen-Audio where it has one, and the pattern of its tags where it has none."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.tasks import get_task
from pipeline.tasks.prompts import music_description_prompt

SOUND = "<|startofanalysis|><|unknown|><|keyword|><|en|><|notimestamps|>"
ENGLISH = "<|startofanalysis|><|en|><|keyword|><|en|><|notimestamps|>"


def prompt(name: str, **options: Any) -> str:
    task = get_task(name)
    return str(task.prompt(task.Options(**options)))


def test_the_transcript_prompts_are_the_official_ones() -> None:
    assert (
        prompt("transcribe", timestamps="none")
        == "<|startoftranscript|><|en|><|transcribe|><|en|><|notimestamps|><|wo_itn|>"
    )
    assert (
        prompt("transcribe", language="zh", timestamps="word")
        == "<|startoftranscript|><|zh|><|transcribe|><|zh|><|timestamps|><|0.00|>"
    )
    figures = prompt("transcribe", language="de", timestamps="segment", itn=True)
    assert figures == "<|startoftranscript|><|de|><|transcribe|><|de|><|notimestamps|><|itn|>"


def test_the_translation_prompt_is_the_official_one() -> None:
    assert (
        prompt("translate", language="de", target="zh")
        == "<|startoftranscript|><|de|><|translate|><|zh|><|notimestamps|><|itn|>"
    )


def test_the_language_is_what_follows_the_start_of_a_transcript() -> None:
    assert prompt("language") == "<|startoftranscript|>"


@pytest.mark.parametrize("style", ["clotho", "audiocaps", "plain"])
def test_the_caption_prompt_is_the_official_one(style: str) -> None:
    head = "<|startofanalysis|><|unknown|><|caption|><|en|><|notimestamps|>"
    assert prompt("caption", style=style) == f"{head}<|caption_{style}|>"


def test_the_emotion_prompt_is_the_official_one() -> None:
    assert prompt("emotion") == f"{ENGLISH}<|emotion_recognition|>"
    assert prompt("emotion", language="zh").startswith("<|startofanalysis|><|zh|><|keyword|><|en|>")


def test_the_prompts_for_scenes_voice_noises_and_notes_are_the_official_ones() -> None:
    assert prompt("scene") == f"{SOUND}<|scene|>"
    assert prompt("vocal") == f"{ENGLISH}<|vocal_classification|>"
    assert prompt("music") == f"{SOUND}<|note_analysis|>"


def test_a_question_stands_between_the_official_tags() -> None:
    asked = prompt("ask", question="is it loud?")
    assert asked == "<|startofanalysis|><|en|><|question|>is it loud?<|answer|>"


def test_a_phrase_is_looked_for_in_the_official_transcript_with_word_times() -> None:
    assert prompt("locate", phrase="hello", language="zh") == prompt("transcribe", language="zh")


def test_experimental_prompts_follow_the_pattern_of_the_published_ones() -> None:
    assert prompt("events") == f"{SOUND}<|audioset_ontology|>"
    assert prompt("speaker") == f"{ENGLISH}<|speaker_meta|>"
    assert prompt("keywords") == f"{ENGLISH}<|speech_understanding|>"
    assert prompt("entities", language="zh") == (
        "<|startofanalysis|><|zh|><|keyword|><|en|><|notimestamps|><|named_entity_recognition|>"
    )
    assert str(music_description_prompt()) == f"{SOUND}<|music_description|>"
