"""List the sound events of a chunk in AudioSet's terms."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.tasks.findings import Findings, Part, Summary, milliseconds
from pipeline.tasks.items import annotate, as_label, item, join_equal, names_in, parsed_items, read_text
from pipeline.tasks.parsed import Parsed
from pipeline.tasks.prompts import events_prompt
from pipeline.tasks.task import PlainTask, TaskOptions
from qwen_audio.answers import Answer
from qwen_audio.tags import Prompt

MAX_EVENT_TOKENS = 48
MAX_EVENTS = 16  # an answer with more is a list that got out of hand


class EventsOptions(TaskOptions):
    """There is nothing to choose."""


class Events(PlainTask[EventsOptions]):
    """What sounds in each chunk. Parsed: ``items``, one for each event, with ``label`` and ``text``; ``flags``."""

    name = "events"
    title = "Sound events"
    description = (
        "What sounds, in AudioSet's terms, such as Speech, Rain or Bell. Experimental: the tag exists, no prompt was "
        "published."
    )
    prompt_version = 1
    is_experimental = True
    cost = "about 8 tokens a chunk"
    view = "sounds"
    limits = {"events": MAX_EVENTS, "answer_tokens": MAX_EVENT_TOKENS}  # noqa: RUF012  # never changed
    Options = EventsOptions

    def prompt(self, options: EventsOptions) -> Prompt:
        """Return keyword tags with AudioSet's ontology as the output instruction."""
        return events_prompt()

    def limit(self, options: EventsOptions, heard_seconds: float) -> int:
        """Return one limit for all."""
        return MAX_EVENT_TOKENS

    def applies(self, speech_samples: int, options: EventsOptions) -> bool:
        """Ask always."""
        return True

    def parse(self, answer: Answer, heard_samples: int, options: EventsOptions) -> Parsed:
        """Return an item for each name between commas, each name once."""
        text, flags = read_text(answer)
        window = (0, heard_samples)
        events = [
            item(window, name, as_label(name), answer=answer, flags=flags)
            for name in names_in(text, MAX_EVENTS)
        ]
        return parsed_items(events, flags)

    def merge(self, parts: Sequence[Part], options: EventsOptions) -> Findings:
        """Join equal neighbours: what goes on over chunks is one event; say how long each lasts in all."""
        found = join_equal(annotate(self.name, parts))
        lasting: dict[str, int] = {}
        for one in found:
            if one.label is not None:
                lasting[one.label] = lasting.get(one.label, 0) + milliseconds(
                    one.end_sample - one.start_sample
                )
        if not lasting:
            return Findings(annotations=tuple(found))
        ordered = sorted(lasting, key=lambda label: (-lasting[label], label))
        summary = Summary(label=ordered[0], text=", ".join(ordered), data={"lasting_ms": lasting})
        return Findings(annotations=tuple(found), summary=summary)
