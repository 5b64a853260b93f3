"""Find the GPUs of this machine and compose one model worker for each. Asks torch in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from cli.errors import NoGpu, UnknownGpu
from cli.supervisor import Command, module_command
from settings import PREFIX

VISIBLE = "CUDA_VISIBLE_DEVICES"
ALL = "all"
ASK_SECONDS = 120.0  # a cold disk reads torch slowly
_COUNT = "import torch; print(torch.cuda.device_count())"


def count_devices() -> int:
    """Say how many GPUs torch sees here, 0 where it sees none or cannot be asked."""
    try:
        asked = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-P", "-c", _COUNT], capture_output=True, timeout=ASK_SECONDS, check=True
        )
    except subprocess.SubprocessError:
        return 0
    return int(asked.stdout.split()[-1])


def list_gpus(count: Callable[[], int] = count_devices) -> list[str]:
    """Name the GPUs as ``CUDA_VISIBLE_DEVICES`` names them: those that it allows, else by number from 0."""
    there = count()
    allowed = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return (allowed or [str(number) for number in range(there)])[:there]


def choose_gpus(asked: str, there: Sequence[str]) -> list[str]:
    """Return the GPUs that ``all`` or names with commas stand for; raises ``NoGpu`` or ``UnknownGpu``."""
    if not there:
        raise NoGpu(
            "torch sees no GPU here. Install a torch with CUDA and the driver (nvidia-smi lists the cards), or run "
            "`earwitness worker --kind gpu`, which hears on the CPU"
        )
    if asked.strip() == ALL:
        return list(there)
    names = [name.strip() for name in asked.split(",")]
    unknown = [name for name in names if name not in there]
    if unknown or len(set(names)) < len(names):
        wrong = f"there is no GPU {unknown[0]!r}" if unknown else f"{asked!r} names a GPU twice"
        raise UnknownGpu(f"{wrong}: write {ALL}, or some of {','.join(there)}")
    return names


def worker_commands(kind: str, gpus: Sequence[str]) -> list[Command]:
    """Return one worker process for each GPU; each sees its own alone, so a fault of one card ends one process."""
    return [
        Command(
            f"{kind} worker on GPU {gpu}",
            module_command(f"workers.{kind}"),
            env={VISIBLE: gpu, f"{PREFIX}DEVICE": "cuda"},
        )
        for gpu in gpus
    ]
