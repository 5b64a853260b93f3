"""Read a training configuration from TOML and refuse what it does not know."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from training.errors import InvalidTrainingConfig
from training.network import Sizes, Weights

T = TypeVar("T")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: ``minutes`` of training, or exactly ``steps`` where that is not 0.

    The rate rises over the first ``warm_up`` of the run and falls evenly to nothing at its end.
    """

    minutes: float = 60.0
    steps: int = 0
    rate: float = 1.5e-3
    warm_up: float = 0.03
    batch_seconds: float = 40.0
    clip_norm: float = 1.0
    weight_decay: float = 0.02
    save_minutes: float = 5.0
    language_model: float = 1.0  # its rate, as a multiple of the encoder's
    start: float = 0.0  # how far the curriculum is at the begin, for a warm start

    def __post_init__(self) -> None:
        if self.minutes <= 0 and self.steps <= 0:
            raise InvalidTrainingConfig("schedule: give minutes or steps above 0")
        if self.rate <= 0 or self.language_model <= 0 or not 0 <= self.warm_up < 1 or self.batch_seconds <= 0:
            raise InvalidTrainingConfig(
                "schedule: rate, language_model and batch_seconds must be above 0, warm_up in [0, 1)"
            )


@dataclass(frozen=True)
class RunConfig:
    """One run, kept in the folder ``out``.

    It learns from ``takes``, the folder of the synthesised pieces, or from ``data``, a user's JSONL file. ``base`` is a
    checkpoint's folder to start from, empty for random weights. ``freeze`` keeps the encoder or the language model as
    it is. ``bad_lines`` of the JSONL file are reported and left out, or stop the run.
    """

    out: Path
    takes: Path | None = None
    data: Path | None = None
    base: str = ""
    freeze: Literal["", "encoder", "language_model"] = ""
    bad_lines: Literal["skip", "stop"] = "skip"
    clip_seconds: float = 0.0  # the longest clip that the exported model should be given for words; 0: any
    held_out_clips: int = 0  # per set, asked about whenever the run is saved; they need espeak-ng
    seed: int = 0
    device: str = "cpu"
    processes: int = 1  # that train side by side; each on its own batches
    threads: int = 1  # of each process
    precision: str = "bfloat16"  # of the products; the weights stay in float32
    sizes: Sizes = field(default_factory=Sizes)
    weights: Weights = field(default_factory=Weights)
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        if (self.takes is None) == (self.data is None):
            raise InvalidTrainingConfig("give either takes, a folder, or data, a JSONL file")
        if self.data is not None and not self.base:
            raise InvalidTrainingConfig("data needs a base: the folder of the checkpoint to train further")
        for name, known in (("freeze", ("", "encoder", "language_model")), ("bad_lines", ("skip", "stop"))):
            if getattr(self, name) not in known:
                raise InvalidTrainingConfig(f"{name} must be one of {', '.join(map(repr, known))}")
        if self.precision not in ("bfloat16", "float32"):
            raise InvalidTrainingConfig(f"precision must be bfloat16 or float32, not {self.precision!r}")


def read_config(path: Path) -> RunConfig:
    """Read a run's configuration; raises ``InvalidTrainingConfig`` with the names that exist."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidTrainingConfig(f"{path}: {error}") from None
    for name, kind in (("sizes", Sizes), ("weights", Weights), ("schedule", Schedule)):
        values[name] = _build(kind, values.get(name, {}), f"{path}: {name}")
    if "out" not in values:
        raise InvalidTrainingConfig(f"{path}: out is missing: give a folder for the run")
    values |= {name: Path(values[name]) for name in ("takes", "data", "out") if name in values}
    return _build(RunConfig, values, str(path))


def _build(kind: type[T], values: dict[str, Any], where: str) -> T:
    known = [one.name for one in fields(kind)]  # type: ignore[arg-type]  # every kind here is a dataclass
    unknown = sorted(values.keys() - set(known))
    if unknown:
        raise InvalidTrainingConfig(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(known)}")
    return kind(**values)
