"""Hold the tasks whose tags exist and whose prompts were never published: off unless asked for, and marked so."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from pydantic import Field

from pipeline.tasks.findings import Findings, Part
from pipeline.tasks.hearing_language import find_language
from pipeline.tasks.items import annotate, as_label, item, join_equal, names_in, parsed_items, read_text, vote
from pipeline.tasks.parsed import Flag
from pipeline.tasks.prompts import entities_prompt, keywords_prompt, speaker_prompt
from pipeline.tasks.questions import HeardChunk, Hearing, Question, ask_patiently
from pipeline.tasks.task import AnyLanguage, Task, TaskOptions
from qwen_audio.tags import Prompt

MAX_LABEL_TOKENS = 16
MAX_LIST_TOKENS = 96
MAX_LIST = 32


class SpeechOptions(TaskOptions):
    """In which language."""

    language: AnyLanguage = Field("auto", description="The language that is spoken; `auto` asks the model.")


class _AboutSpeech(Task[SpeechOptions]):
    """A short text about each chunk with speech. Parsed: ``items``, ``flags``."""

    is_experimental = True
    prompt_version = 1
    is_list = False
    Options = SpeechOptions

    @abstractmethod
    def prompt_in(self, language: str) -> Prompt:
        """Return the prompt for audio in a language; the answer is asked for in English."""

    def prompt(self, options: SpeechOptions) -> Prompt:
        """Return the prompt; ``auto`` must have been found by now, here it stands for English."""
        return self.prompt_in("en" if options.language == "auto" else options.language)

    def applies(self, speech_samples: int, options: SpeechOptions) -> bool:
        """Ask only where somebody speaks."""
        return speech_samples > 0

    def hear(self, chunk: HeardChunk, options: SpeechOptions) -> Hearing:
        """Find the language, then ask."""
        language = yield from find_language(options.language)
        limit = MAX_LIST_TOKENS if self.is_list else MAX_LABEL_TOKENS
        (answer,) = yield from ask_patiently([Question(self.prompt_in(language.code), limit)])
        text, flags = read_text(answer)
        names = names_in(text, MAX_LIST) if self.is_list else [text] if as_label(text) else []
        window = (0, chunk.samples)
        items = [item(window, name, as_label(name), answer=answer, flags=flags) for name in names]
        return parsed_items(items, flags if language.is_known else [Flag.UNKNOWN_LANGUAGE, *flags])

    def merge(self, parts: Sequence[Part], options: SpeechOptions) -> Findings:
        """Join equal neighbours."""
        found = join_equal(annotate(self.name, parts))
        return Findings(annotations=tuple(found), summary=vote(found))


class Speaker(_AboutSpeech):
    """Who speaks."""

    name = "speaker"
    title = "Speaker"
    description = (
        "Who speaks, such as a woman or a man. Experimental: the tag exists, no prompt was published."
    )
    cost = "about 4 tokens a chunk"
    heard = "chunks with speech"
    limits = {"answer_tokens": MAX_LABEL_TOKENS}  # noqa: RUF012  # never changed

    def prompt_in(self, language: str) -> Prompt:
        """Return keyword tags with the speaker as the output instruction."""
        return speaker_prompt(language)


class Keywords(_AboutSpeech):
    """What it is about."""

    name = "keywords"
    title = "Keywords"
    description = (
        "What is spoken about, in a few words. Experimental: the tag exists, no prompt was published."
    )
    cost = "about 16 tokens a chunk"
    heard = "chunks with speech"
    limits = {"names": MAX_LIST, "answer_tokens": MAX_LIST_TOKENS}  # noqa: RUF012  # never changed
    is_list = True

    def prompt_in(self, language: str) -> Prompt:
        """Return keyword tags with speech understanding as the output instruction."""
        return keywords_prompt(language)


class Entities(_AboutSpeech):
    """Names that are said."""

    name = "entities"
    title = "Entities"
    description = "Names of people, places and things. Experimental: the tags exist, no prompt was published."
    cost = "about 24 tokens a chunk"
    heard = "chunks with speech"
    limits = {"names": MAX_LIST, "answer_tokens": MAX_LIST_TOKENS}  # noqa: RUF012  # never changed
    is_list = True

    def prompt_in(self, language: str) -> Prompt:
        """Return keyword tags with named entity recognition as the output instruction."""
        return entities_prompt(language)
