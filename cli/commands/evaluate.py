"""Measure a model as its authors did."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CliError, MissingPackages
from cli.supervisor import module_command

PACKAGES = ("rapidfuzz", "sacrebleu")


def evaluate(
    task: Annotated[
        str,
        typer.Argument(
            help="transcribe (asr), words (srwt), translate (s2tt), caption (aac), scene (asc), emotion (ser), "
            "vocal (vsc), ask (aqa) or music (mna)."
        ),
    ],
    data: Annotated[Path, typer.Argument(help="Data set in the official JSONL format.", dir_okay=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File of the predictions; what is in it is not asked again. Default: here, named after DATA.",
            dir_okay=False,
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            help="Spoken language: of transcripts, en by default; of translations, from the source."
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Language to translate into; from the source by default.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first lines of DATA.", min=1)] = None,
    model: Annotated[
        str | None, typer.Option(help="Checkpoint folder, owner/name@commit, mini or tiny.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
) -> None:
    """Run the official evaluation of Qwen-Audio on a data set: its prompts, limits, parsing and metrics."""
    from cli.service import CPU_PACKAGES, MODEL_PACKAGES, missing_packages
    from pipeline.official.errors import EvaluationError
    from pipeline.official.evaluations import Options, find_evaluation

    if missing := missing_packages((*CPU_PACKAGES, *MODEL_PACKAGES, *PACKAGES)):
        raise MissingPackages(
            f"missing Python packages: {', '.join(missing)}. "
            "Run pip install -c constraints.txt -e '.[gpu,evaluate]'"
        )
    try:
        evaluation = find_evaluation(task)
        evaluation.check(Options(language, target))
    except EvaluationError as error:
        raise CliError(str(error)) from None
    options = {
        "out": out,
        "language": language,
        "target": target,
        "limit": limit,
        "model": model,
        "device": device,
    }
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    command = module_command("workers.evaluate", *given, "--", evaluation.name, os.fspath(data))
    os.execv(sys.executable, command)  # noqa: S606 - a module of ours
