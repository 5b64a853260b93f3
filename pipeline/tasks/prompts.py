"""Build the official prompts that more than one place needs. Source: ``eval_audio`` of Qwen-Audio."""

from __future__ import annotations

from qwen_audio.tags import Prompt, Tag, language_tag


def language_prompt() -> Prompt:
    """Ask which language is spoken: the next token is a language's tag, or ``<|unknown|>`` where nobody speaks."""
    return Prompt((Tag.START_OF_TRANSCRIPT,))


def transcript_prompt(language: str) -> Prompt:
    """Ask for a transcript as text (ASR)."""
    spoken = language_tag(language)
    return Prompt(
        (Tag.START_OF_TRANSCRIPT, spoken, Tag.TRANSCRIBE, spoken, Tag.NO_TIMESTAMPS, Tag.WITHOUT_ITN)
    )


def translation_prompt(source: str, target: str) -> Prompt:
    """Ask for a translation (S2TT)."""
    languages = language_tag(source), Tag.TRANSLATE, language_tag(target)
    return Prompt((Tag.START_OF_TRANSCRIPT, *languages, Tag.NO_TIMESTAMPS, Tag.ITN))


def emotion_prompt(language: str) -> Prompt:
    """Ask how the speaker sounds (SER)."""
    return _keyword(language_tag(language), Tag.EMOTION_RECOGNITION)


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


def keywords_prompt(language: str = "en") -> Prompt:
    """Ask what is spoken about. No prompt was published."""
    return _keyword(language_tag(language), Tag.SPEECH_UNDERSTANDING)


def entities_prompt(language: str = "en") -> Prompt:
    """Ask which names are said. No prompt was published."""
    return _keyword(language_tag(language), Tag.NAMED_ENTITY_RECOGNITION)


def music_description_prompt() -> Prompt:
    """Ask for a sentence about the music. No prompt was published."""
    return _keyword(Tag.UNKNOWN, Tag.MUSIC_DESCRIPTION)


def question_prompt(question: str, language: str = "en") -> Prompt:
    """Ask a question about the audio (AQA)."""
    return Prompt((Tag.START_OF_ANALYSIS, language_tag(language), Tag.QUESTION, question, Tag.ANSWER))


def _keyword(audio_language: Tag, instruction: Tag) -> Prompt:
    return Prompt(
        (Tag.START_OF_ANALYSIS, audio_language, Tag.KEYWORD, Tag.EN, Tag.NO_TIMESTAMPS, instruction)
    )
