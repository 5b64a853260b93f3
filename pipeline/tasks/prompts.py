"""Build the official prompts of the tasks that have no module of their own yet.

Source: ``eval_audio`` of Qwen-Audio. Transcripts, captions and emotions build theirs in their task modules.
"""

from __future__ import annotations

from qwen_audio.tags import Prompt, Tag, language_tag


def language_prompt() -> Prompt:
    """Ask which language is spoken: the next token is a language's tag, or ``<|unknown|>`` where nobody speaks."""
    return Prompt((Tag.START_OF_TRANSCRIPT,))


def scene_prompt() -> Prompt:
    """Ask where this is (ASC)."""
    return _keyword(Tag.UNKNOWN, Tag.SCENE)


def vocal_prompt(language: str = "en") -> Prompt:
    """Ask which noise a voice makes: laughter, a cough ... (VSC)."""
    return _keyword(language_tag(language), Tag.VOCAL_CLASSIFICATION)


def note_prompt() -> Prompt:
    """Ask what note sounds, how strong, on which instrument (MNA)."""
    return _keyword(Tag.UNKNOWN, Tag.NOTE_ANALYSIS)


def events_prompt() -> Prompt:
    """Ask what sounds, in AudioSet's terms. No prompt was published: the tags follow the pattern of the others."""
    return _keyword(Tag.UNKNOWN, Tag.AUDIOSET_ONTOLOGY)


def speaker_prompt(language: str = "en") -> Prompt:
    """Ask who speaks, such as a woman or a man. No prompt was published: the tags follow the pattern of the others."""
    return _keyword(language_tag(language), Tag.SPEAKER_META)


def question_prompt(question: str, language: str = "en") -> Prompt:
    """Ask a question about the audio (AQA)."""
    return Prompt((Tag.START_OF_ANALYSIS, language_tag(language), Tag.QUESTION, question, Tag.ANSWER))


def _keyword(audio_language: Tag, instruction: Tag) -> Prompt:
    return Prompt(
        (Tag.START_OF_ANALYSIS, audio_language, Tag.KEYWORD, Tag.EN, Tag.NO_TIMESTAMPS, instruction)
    )
