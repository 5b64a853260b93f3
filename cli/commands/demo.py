"""Offer the demo, which ``make run`` runs."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from settings import load_settings


def demo(
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder to keep the demo in; by default a new one in the data folder.")
    ] = None,
) -> None:
    """Hear the bundled samples with the mini model, read the answers by SQL, and see what was wrong."""
    from cli.demo import run_demo

    run_demo(data_dir or new_folder(load_settings().data_dir))


def new_folder(data_dir: Path) -> Path:
    """Make and return a folder for one demo, beside those of earlier ones."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    for attempt in range(100):
        folder = data_dir / f"demo-{stamp}{f'-{attempt}' if attempt else ''}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{data_dir} holds a hundred demos of this second")
