"""Be the command ``python -m training``: synthesise, run, export, evaluate."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from training.errors import TrainingError


def main() -> None:
    """Run the command."""
    arguments = _parser().parse_args()
    try:
        _COMMANDS[arguments.command](arguments)
    except TrainingError as error:
        sys.exit(f"{error.code}: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    synthesise = commands.add_parser("synthesise", help="make the takes that training mixes its clips from")
    synthesise.add_argument("folder", type=Path)
    synthesise.add_argument("--processes", type=int, default=1)
    synthesise.add_argument("--flite", type=int, default=0, help="shards of flite's voices too (default 0)")
    run = commands.add_parser("run", help="train, or go on with a run that was interrupted")
    run.add_argument("--config", type=Path, required=True)
    export = commands.add_parser("export", help="write a run's model as a checkpoint in the official layout")
    export.add_argument("--config", type=Path, required=True)
    export.add_argument("--out", type=Path, required=True)
    evaluate = commands.add_parser("evaluate", help="measure a checkpoint on held-out clips")
    evaluate.add_argument("folder", type=Path)
    evaluate.add_argument("--size", type=int, default=120, help="clips in a set (default 120)")
    card = commands.add_parser("card", help="measure a run's exported checkpoint and write its model card")
    card.add_argument("folder", type=Path)
    card.add_argument("--config", type=Path, required=True)
    card.add_argument("--hardware", default=platform.processor() or platform.machine())
    card.add_argument("--note", default="", help="what else to know about the making")
    return parser


def _synthesise(arguments: argparse.Namespace) -> None:
    from training.synthesis.make import Plan, make

    made = make(arguments.folder, Plan(flite=arguments.flite), arguments.processes)
    sys.stdout.write(f"{made} new takes in {arguments.folder}\n")


def _run(arguments: argparse.Namespace) -> None:
    from training.parallel import spawn
    from training.run import train
    from training.settings import read_config

    config = read_config(arguments.config)
    spawn(train, config, config.processes)


def _export(arguments: argparse.Namespace) -> None:
    from training.run import export_run
    from training.settings import read_config

    export_run(read_config(arguments.config), arguments.out)
    sys.stdout.write(f"wrote {arguments.out}\n")


def _evaluate(arguments: argparse.Namespace) -> None:
    from bench.mini import measure

    sys.stdout.write(json.dumps(measure(arguments.folder, arguments.size)) + "\n")


def _card(arguments: argparse.Namespace) -> None:
    from bench.mini import measure, table
    from training.card import CARD_FILE, Making, card
    from training.run import progress_of
    from training.settings import read_config

    config = read_config(arguments.config)
    progress = progress_of(config)
    making = Making(
        command=f"python -m training run --config {arguments.config}",
        seed=config.seed,
        steps=progress.step,
        hours_heard=progress.heard_seconds / 3600,
        hours_trained=progress.trained_seconds / 3600,
        hardware=arguments.hardware,
        commit=_commit(),
        note=arguments.note,
    )
    figures = measure(arguments.folder)
    text = card(arguments.folder, table(figures), figures, making)
    (arguments.folder / CARD_FILE).write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return "unknown"
    found = subprocess.run([git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.strip() or "unknown"


_COMMANDS = {
    "synthesise": _synthesise,
    "run": _run,
    "export": _export,
    "evaluate": _evaluate,
    "card": _card,
}

if __name__ == "__main__":
    main()
