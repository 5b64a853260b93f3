"""Train in several processes side by side, each on its own batches, with averaged gradients."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn as spawn_processes

T = TypeVar("T")


def ranks() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is; 0 leads: it reports, saves and evaluates."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def average_gradients(weights: Iterable[torch.nn.Parameter]) -> None:
    """Give every process the mean of all processes' gradients."""
    if ranks() == 1:
        return
    grads = []
    for one in weights:
        if one.requires_grad:  # the same ones in every process, with a gradient in this one or not
            one.grad = torch.zeros_like(one) if one.grad is None else one.grad
            grads.append(one.grad)
    flat = torch.cat([grad.reshape(-1) for grad in grads])
    distributed.all_reduce(flat)
    flat /= ranks()
    means = torch.split(flat, [grad.numel() for grad in grads])
    for grad, mean in zip(grads, means, strict=True):
        grad.copy_(mean.view_as(grad))


def leaders_value(value: float) -> float:
    """Return the leader's value in every process, so that all take the same decision."""
    if ranks() == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    distributed.broadcast(shared, 0)
    return float(shared)


def gather(value: T) -> list[T]:
    """Return every process's value, in the order of ranks."""
    if ranks() == 1:
        return [value]
    values: list[Any] = [None] * ranks()
    distributed.all_gather_object(values, value)
    return values


def spawn(task: Callable[[Any], None], argument: Any, processes: int) -> None:
    """Run a task in this process, or in several that know of each other; all end when one fails."""
    if processes == 1:
        task(argument)
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        spawn_processes(_join, (task, argument, meeting, processes), nprocs=processes)  # type: ignore[no-untyped-call]  # torch's


def _end_with_the_parent() -> None:
    # A run whose first process was ended must not go on in the others and write over its folder.
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _join(number: int, task: Callable[[Any], None], argument: Any, meeting: str, processes: int) -> None:
    Thread(target=_end_with_the_parent, daemon=True).start()
    distributed.init_process_group("gloo", init_method=meeting, rank=number, world_size=processes)
    try:
        task(argument)
    finally:
        distributed.destroy_process_group()
