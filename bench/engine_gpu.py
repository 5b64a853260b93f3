"""Measure the engine at full size on one GPU: ``python -m bench.engine_gpu``; ``--small`` runs it anywhere.

Prints the card's own rates, the engine's speed for one and four tasks beside the roofline that follows from them, and
transformers' Qwen2-Audio of the same size with ``generate`` at its best batch; the last line is one JSON object.
``--folder`` keeps the figures as they come, and what a step spends its time on. A part that fails, or would begin
after ``--seconds``, costs the others nothing: it is named, and the exit code is 1. What a GPU may refuse comes last.
A part that never ends is ended, with the stacks of all threads, 40 s after ``--seconds``.
It has been run at its small size on a CPU only: no GPU was at hand when it was written.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from bench.full_size import FULL, SECONDS, SMALL, EngineBench, Scale, case_tasks
from bench.journal import Journal
from bench.models import forced_lengths
from bench.peer import Peer
from bench.roofline import measure_rates
from qwen_audio.faults import release_memory

WAYS = ("", "_replayed")  # how steps are done
STANDARD_ERROR = 2
OVERTIME = 40.0  # seconds that the part that runs when the time is up may still take


def release() -> None:
    """Give memory back; a GPU that an error has spoiled refuses even that."""
    try:
        release_memory()
    except Exception as error:  # noqa: BLE001  # the figures that there are have to come out
        print(f"memory could not be given back: {error!r}", flush=True)


def measure_engine(
    journal: Journal, make: Callable[[], EngineBench], measure: Callable[[Journal, EngineBench], None]
) -> None:
    """Make the engine's model, measure with it, and give its memory back."""
    made: list[EngineBench] = []

    def add() -> dict[str, float]:
        made.append(make())
        return {}

    journal.add("the engine's model", add)
    if made:
        measure(journal, made.pop())
    release()


def measure_way(journal: Journal, bench: EngineBench, scale: Scale, way: str) -> None:
    """Measure one and four tasks, with and without word times, what matters most first."""
    for count in (4, 1):
        for name, tokens in (("words", scale.words), ("plain", scale.plain)):
            part = partial(bench.speed, name, tokens, count, way, scale.places[0])
            journal.add(f"engine{way}, {name}, {count} tasks", part)
    journal.add(f"engine{way}, equal ids", partial(bench.invariance, way))


def measure_more(journal: Journal, bench: EngineBench, scale: Scale, device: str) -> None:
    """Measure what a GPU may refuse: replayed steps, more places, cuDNN's attention; then profile."""
    measure_way(journal, bench, scale, "_replayed")
    for places in scale.places[1:]:
        part = partial(bench.speed, "words", scale.words, 4, "_replayed", places)
        journal.add(f"engine_replayed, {places} places", part)
    part = partial(bench.speed, "words", scale.words, 4, "_cudnn", scale.places[0])
    journal.add("engine_cudnn, words, 4 tasks", part)
    if journal.folder is not None:
        journal.add("profile", partial(bench.profile, journal.folder, device))


def measure_peer(journal: Journal, scale: Scale, dtype: torch.dtype, device: str) -> None:
    """Measure the peer's best batch for four tasks, for each kind of transcript.

    As torch chooses its kernels, and without cuDNN's attention, which plans anew for every length: the better counts.
    """
    made: list[Peer] = []

    def make() -> dict[str, float]:
        made.append(Peer(scale.size, dtype, device, scale.vocabulary_rows))
        return {}

    def measure(name: str, tokens: int, batch: int, *, cudnn: bool) -> dict[str, float]:
        told = f"generate, {name}, 4 tasks, batch {batch}, {'with' if cudnn else 'without'} cuDNN's attention"
        tasks = case_tasks(tokens, 4, scale)
        try:
            with _cudnn_attention(cudnn):
                made[0].seconds([replace(tasks[0], tokens=2)], batch)  # kernels and memory
                found = batch * SECONDS / made[0].seconds(tasks, batch)
        except torch.OutOfMemoryError:
            print(f"{told}: out of memory", flush=True)
            return {}
        print(f"{told}: {found:8.1f} x real time", flush=True)
        best = max(found, journal.figures.get(f"peer_{name}_4", 0.0))
        return {f"peer_{name}_4_batch_{batch}{'_cudnn' if cudnn else ''}": found, f"peer_{name}_4": best}

    journal.add("the peer's model", make)
    for name, tokens in (("words", scale.words), ("plain", scale.plain)):
        if not made:
            break
        for batch in scale.batches:
            part = partial(measure, name, tokens, batch, cudnn=False)
            journal.add(f"generate, {name}, batch {batch}", part)
        batches = {batch: journal.figures.get(f"peer_{name}_4_batch_{batch}", 0.0) for batch in scale.batches}
        best = max(batches, key=lambda batch: batches[batch])
        part = partial(measure, name, tokens, best, cudnn=True)
        journal.add(f"generate, {name}, batch {best}, with cuDNN's attention", part)
    made.clear()
    release()


@contextmanager
def _cudnn_attention(allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(allowed)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def compare(journal: Journal) -> None:
    """Put the engine beside the peer, as far as both are known."""
    figures = journal.figures
    for name in ("words", "plain"):
        for way in WAYS:
            ours, theirs = figures.get(f"rtfx_{name}_4{way}"), figures.get(f"peer_{name}_4")
            if ours and theirs:
                figures[f"vs_peer_{name}{way}"] = ours / theirs
    journal.keep()


def measure_all(journal: Journal, scale: Scale, dtype: torch.dtype, device: str) -> None:
    """Measure the card, the engine and the peer."""
    card = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    print(f"{card}, torch {torch.__version__}, {dtype}")
    rates = measure_rates(scale.matrix, scale.copy_bytes, dtype, device)
    journal.figures |= {"copy_gb_s": rates.bytes_per_second / 1e9, "matrix_tflop_s": rates.flops / 1e12}
    print(
        f"copy {rates.bytes_per_second / 1e9:.0f} GB/s, matrices {rates.flops / 1e12:.2f} TFLOP/s", flush=True
    )
    make = partial(EngineBench, scale, dtype, device, rates)
    with forced_lengths():
        measure_engine(journal, make, partial(measure_way, scale=scale, way=""))
    measure_peer(journal, scale, dtype, device)
    compare(journal)
    with forced_lengths():
        measure_engine(journal, make, partial(measure_more, scale=scale, device=device))
    compare(journal)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine_gpu", description=__doc__)
    parser.add_argument("--small", action="store_true", help="a small model, on whatever there is")
    parser.add_argument("--seconds", type=float, default=420, help="after which no part begins (default 420)")
    parser.add_argument("--folder", type=Path, help="where figures are kept as they come, and a profile")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not options.small:
        parser.error("there is no GPU here: --small runs anywhere")
    scale = SMALL if options.small else FULL
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    began = time.perf_counter()
    journal = Journal(began + options.seconds, options.folder, "engine_gpu.json", release)
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    faulthandler.dump_traceback_later(options.seconds + OVERTIME, exit=True, file=STANDARD_ERROR)
    try:
        measure_all(journal, scale, dtype, device)
    finally:
        faulthandler.cancel_dump_traceback_later()
    print(
        f"all of it took {time.perf_counter() - began:.0f} s; missing: {', '.join(journal.missing) or 'nothing'}"
    )
    print(json.dumps({name: float(f"{value:.3g}") for name, value in journal.figures.items()}), flush=True)
    return 1 if journal.missing else 0


if __name__ == "__main__":
    sys.exit(main())
