"""Let several tasks listen to one chunk at once: collect what they ask, share equal questions, hand answers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.tasks.parsed import Parsed
from pipeline.tasks.questions import Hearing, Question
from qwen_audio.answers import Answer


@dataclass
class _Listener:
    """One request's hearing and the questions that it waits for."""

    hearing: Hearing
    questions: Sequence[Question] = ()


@dataclass
class Hearings:
    """Every request of a pass, by its id. Pure: who has an engine asks ``new_questions`` and gives answers back.

    What a request yields depends on its own questions only; that another request asks the same saves work and
    changes nothing.
    """

    hearings: Mapping[str, Hearing]
    parsed: dict[str, Parsed] = field(default_factory=dict)
    answers: dict[Question, Answer] = field(default_factory=dict)
    used: dict[str, list[Question]] = field(default_factory=dict)  # by request, in the order of asking
    _listeners: dict[str, _Listener] = field(default_factory=dict)
    _new: list[Question] = field(default_factory=list)
    _asked: set[Question] = field(default_factory=set)

    def __post_init__(self) -> None:
        for name, hearing in self.hearings.items():
            self.used[name] = []
            self._listeners[name] = _Listener(hearing)
            self._advance(name, None)

    @property
    def is_over(self) -> bool:
        """Whether every request has its parsed data."""
        return not self._listeners

    def new_questions(self) -> list[Question]:
        """Return what has not been handed out yet, each question once."""
        new, self._new = self._new, []
        return new

    def give(self, question: Question, answer: Answer) -> None:
        """Hand an answer to everybody who waits for it."""
        self.answers[question] = answer
        for name in list(self._listeners):
            listener = self._listeners.get(name)
            if listener is not None and question in listener.questions and self._knows_all(listener):
                self._advance(name, [self.answers[one] for one in listener.questions])

    def _knows_all(self, listener: _Listener) -> bool:
        return all(question in self.answers for question in listener.questions)

    def _advance(self, name: str, answers: Sequence[Answer] | None) -> None:
        """Let a hearing go on to its next questions that are not all answered already, or to its end."""
        listener = self._listeners[name]
        try:
            while True:
                # A generator begins with next(); it takes answers from its first yield on.
                questions = next(listener.hearing) if answers is None else listener.hearing.send(answers)
                listener.questions = tuple(questions)
                self.used[name] += listener.questions
                if not self._knows_all(listener):
                    break
                answers = [self.answers[one] for one in listener.questions]
        except StopIteration as end:
            self.parsed[name] = end.value
            del self._listeners[name]
            return
        for question in listener.questions:
            if question not in self._asked:
                self._asked.add(question)
                self._new.append(question)
