"""Run an official evaluation: ask a model about every line of a data set, keep the answers, print the figures.

``earwitness evaluate`` becomes this process. Like the GPU worker it reaches torch.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from pipeline.errors import AudioError
from pipeline.json_lines import BadLine
from pipeline.official.captions import write_coco
from pipeline.official.data import Data, Line, read_clip, read_data
from pipeline.official.errors import EvaluationError, InvalidLine, NoData, OtherPredictions
from pipeline.official.evaluations import (
    Evaluation,
    Heard,
    Options,
    find_evaluation,
    language_pair,
    score_sources,
)
from pipeline.official.predictions import Asked, Prediction, add_prediction, read_predictions
from pipeline.official.text import check_bleu
from qwen_audio.errors import EngineClosed, EngineOutOfMemory, QwenAudioError
from qwen_audio.tags import Prompt
from settings import InvalidSettings, load_settings
from workers.meter import Meter, printable
from workers.official_engine import OfficialEngine, load_engine

INTERRUPTED = 130  # the exit code of a process that Ctrl-C ended

Hearing = Future[tuple[str, bool]]
"""What was said about a clip, and whether the clip had to be cut."""


@dataclass(frozen=True)
class Order:
    """What to evaluate, and where the predictions go."""

    evaluation: Evaluation
    data: Path
    out: Path
    options: Options
    limit: int | None = None

    def prompt(self, line: Line) -> Prompt:
        """Return the official prompt about a line; raises ``InvalidLine``."""
        return self.evaluation.prompt(line, self.options)


def read_order(order: Order) -> Data:
    """Read the data and refuse what would fail only when all is heard; raises the ``EvaluationError`` tree."""
    if order.out.exists() and order.data.exists() and order.out.samefile(order.data):
        raise OtherPredictions(f"{order.out} is the data itself: give another --out")
    data = read_data(
        order.data, order.prompt, limit=order.limit, several_gts=order.evaluation.has_several_gts
    )
    if not data.lines:
        reasons = "".join(f"\nline {one.number}: {one.reason}" for one in data.bad[:3])
        raise NoData(f"{order.data} holds no line to ask about{reasons}")
    if order.evaluation.name == "translate":
        for target in {language_pair(line, order.options)[1] for line in data.lines}:
            check_bleu(target)
    return data


def evaluate(order: Order, data: Data, engine: OfficialEngine, console: Console) -> dict[str, Any]:
    """Ask about every line that has no answer yet and return the figures as JSON values.

    An answer is in ``order.out`` as soon as it is there: whatever ends this leaves them behind, and the same order
    goes on from them. Raises the ``EvaluationError`` tree.
    """
    asked = {
        line.number: Asked(order.evaluation.name, engine.revision, str(order.prompt(line)), str(line.audio))
        for line in data.lines
    }
    answers = read_predictions(order.out, asked)
    bad = list(data.bad)
    with Meter(console, len(data.lines), len(answers)) as meter:
        if answers:
            meter.tell(f"{len(answers)} of {len(data.lines)} lines are answered in {order.out}: going on")
        for one in bad:
            meter.tell(f"line {one.number} is left out: {one.reason}")
        left = [line for line in data.lines if line.number not in answers]
        try:
            stream = order.out.open("ab")
        except OSError as error:
            raise OtherPredictions(f"{order.out} cannot be written: {error.strerror}") from None
        with stream, closing(_hear_all(order, engine, left)) as hearings:
            for line, hearing in hearings:
                found = _read_hearing(order, line, hearing, asked[line.number])
                if isinstance(found, Prediction):
                    answers[line.number] = found
                    add_prediction(stream, found)
                else:
                    bad.append(found)
                    meter.tell(f"line {found.number} is left out: {found.reason}")
                meter.advance()
    return _figures(order, engine, data, answers, len(bad))


def _hear_all(
    order: Order, engine: OfficialEngine, lines: Sequence[Line]
) -> Generator[tuple[Line, Hearing], None, None]:
    """Yield each line when it is heard; the next clips are decoded while the engine works."""
    places = threading.Semaphore(engine.places)
    decoders = threading.Semaphore(os.cpu_count() or 1)

    def hear(line: Line) -> tuple[str, bool]:
        with decoders:
            samples, was_cut = read_clip(line.audio)
        with places:
            return engine.answer(samples, order.prompt(line), order.evaluation.limit), was_cut

    waiting = iter(lines)
    with ThreadPoolExecutor(2 * engine.places) as pool:
        pending = {pool.submit(hear, line): line for line in islice(waiting, 2 * engine.places)}
        try:
            while pending:
                for hearing in wait(pending, return_when=FIRST_COMPLETED).done:
                    line = pending.pop(hearing)
                    pending.update({pool.submit(hear, after): after for after in islice(waiting, 1)})
                    yield line, hearing
        except BaseException:
            engine.close()  # else the pool would wait for the answers that it is at
            raise


def _read_hearing(order: Order, line: Line, hearing: Hearing, asked: Asked) -> Prediction | BadLine:
    try:
        text, was_cut = hearing.result()
    except (EngineClosed, EngineOutOfMemory):
        raise  # no fault of the line: the others would fail too
    except (InvalidLine, AudioError, QwenAudioError, OSError) as error:
        return BadLine(line.number, str(error))
    parsed = order.evaluation.parse(text, order.options)
    return Prediction(line.number, asked, line.source, line.gt, text, parsed, was_cut)


def _figures(
    order: Order, engine: OfficialEngine, data: Data, answers: Mapping[int, Prediction], bad_lines: int
) -> dict[str, Any]:
    heard: list[Heard] = [
        (answers[line.number].prediction, line) for line in data.lines if line.number in answers
    ]
    figures: dict[str, Any] = {
        "task": order.evaluation.name,
        "model": engine.name,
        "revision": engine.revision,
        "data": str(order.data),
        "predictions": str(order.out),
        "lines": len(heard),
        "bad_lines": bad_lines,
        "cut_to_30_seconds": sum(one.was_cut for one in answers.values()),
        "sources": score_sources(order.evaluation, heard, order.options),
    }
    if order.evaluation.not_computed:
        figures["not_computed"] = list(order.evaluation.not_computed)
        figures["coco"] = write_coco(heard, order.out)
    return figures


def show(figures: Mapping[str, Any], console: Console) -> None:
    """Print a table for people, and as the last line one JSON object for programs."""
    table = Table("source", "figure", "value", box=None)
    for source, values in figures["sources"].items():
        for name, value in values.items():
            shown = "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
            table.add_row(printable(source), name, shown)
    console.print(table)
    for name in ("lines", "bad_lines", "cut_to_30_seconds"):
        console.print(f"{name}: {figures[name]}", highlight=False)
    if "not_computed" in figures:
        console.print(
            f"not computed: {', '.join(figures['not_computed'])}. The official tools for captions need Java; the "
            "captions and their references were written for them in COCO form.",
            highlight=False,
            soft_wrap=True,
        )
    console.file.write(json.dumps(figures) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; the options are explained by ``earwitness evaluate --help``."""
    asked = _parser().parse_args(arguments)
    out, err = Console(), Console(stderr=True)
    try:
        evaluation = find_evaluation(asked.task)
        options = Options(asked.language, asked.target)
        evaluation.check(options)
        predictions = asked.out or Path(f"{asked.data.stem}.{evaluation.name}.predictions.jsonl")
        order = Order(evaluation, asked.data, predictions, options, asked.limit)
        data = read_order(order)
        chosen = {name: value for name in ("model", "device") if (value := getattr(asked, name))}
        disable_progress_bar()
        with load_engine(load_settings(**chosen)) as engine:
            figures = evaluate(order, data, engine, err)
    except (EvaluationError, QwenAudioError, InvalidSettings) as error:
        err.print(printable(f"earwitness: {error}"), style="red", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        err.print("stopped: the same command goes on from here", highlight=False)
        return INTERRUPTED
    show(figures, out)
    return 0 if figures["lines"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.evaluate", description=__doc__)
    parser.add_argument("task")
    parser.add_argument("data", type=Path)
    for name in ("out", "language", "target", "limit", "model", "device"):
        parser.add_argument(f"--{name}", type={"out": Path, "limit": int}.get(name, str))
    return parser


if __name__ == "__main__":
    sys.exit(main())
