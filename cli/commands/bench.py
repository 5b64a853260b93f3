"""Measure the model on the user's own machine."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from cli.errors import MissingPackages
from cli.supervisor import module_command


def bench(
    model: Annotated[
        str | None, typer.Option(help="Checkpoint folder, owner/name@commit, mini or tiny. Default: as set.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. Default: as set.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32 or bfloat16. Default: as set.")] = None,
    weights: Annotated[str | None, typer.Option(help="full or int8. Default: as set.")] = None,
    cuda_graphs: Annotated[
        bool | None,
        typer.Option("--cuda-graphs/--no-cuda-graphs", help="Replay steps on a GPU. Default: as set."),
    ] = None,
    places: Annotated[
        int | None,
        typer.Option(help="Chunks that the model holds at a time. Default: as set.", min=1, max=1024),
    ] = None,
    chunks: Annotated[int, typer.Option(help="Chunks to hear.", min=1)] = 8,
    seconds: Annotated[float, typer.Option(help="Length of each chunk.", min=0.03, max=30.0)] = 30.0,
) -> None:
    """Say how fast this machine hears: bundled recordings, one task and then four; the last line is JSON."""
    from cli.service import CPU_PACKAGES, MODEL_PACKAGES, missing_packages

    if missing := missing_packages((*CPU_PACKAGES, *MODEL_PACKAGES)):
        raise MissingPackages(
            f"missing Python packages: {', '.join(missing)}. Run pip install -c constraints.txt -e '.[gpu]'"
        )
    options = {
        "model": model,
        "device": device,
        "precision": precision,
        "weights": weights,
        "cuda-graphs": cuda_graphs,
        "places": places,
        "chunks": chunks,
        "seconds": seconds,
    }
    given = [f"--{name}={value}" for name, value in options.items() if value is not None]
    os.execv(sys.executable, module_command("workers.bench", *given))  # noqa: S606 - a module of ours
