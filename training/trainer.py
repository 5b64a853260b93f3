"""Train: steps, schedule, live progress, checkpoints that a run can go on from."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from training import parallel
from training.curve import draw_curve
from training.errors import RunMismatch
from training.loader import Batch, Loader, LoaderState
from training.network import Trainee
from training.settings import RunConfig, Schedule

STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"
CURVE_FILE = "curve.svg"
LOG_EVERY = 20  # steps

Evaluate = Callable[["Trainer"], dict[str, float]]


@dataclass
class Progress:
    """How far a run is; ``trained_seconds`` counts training only, across interruptions."""

    step: int = 0
    trained_seconds: float = 0.0
    heard_seconds: float = 0.0  # audio, padding left out


def share_done(progress: Progress, schedule: Schedule) -> float:
    """Return how much of the schedule is behind, 0 to 1."""
    if schedule.steps:
        return min(1.0, progress.step / schedule.steps)
    return min(1.0, progress.trained_seconds / 60 / schedule.minutes)


def rate_at(done: float, schedule: Schedule) -> float:
    """Return the learning rate: up in a line over the warm-up, then down in a line to nothing."""
    if done < schedule.warm_up:
        return schedule.rate * max(done / schedule.warm_up, 0.02)
    return schedule.rate * (1 - done) / (1 - schedule.warm_up)


@dataclass
class Trainer:
    """One run over a trainee and a loader; ``evaluate`` is called whenever the run is saved."""

    trainee: Trainee
    loader: Loader
    config: RunConfig
    evaluate: Evaluate | None = None
    on_save: Callable[[Trainer], None] | None = None
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(
            self._groups(), lr=self.config.schedule.rate, betas=(0.9, 0.98), fused=True
        )
        self.device = torch.device(self.config.device)
        self.trainee.to(self.device)
        self.config.out.mkdir(parents=True, exist_ok=True)

    def _groups(self) -> list[dict[str, Any]]:
        """Put weights into groups: the language model's learn at a rate of their own, and only matrices decay."""
        schedule = self.config.schedule
        groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = defaultdict(list)
        for name, weight in self.trainee.named_parameters():
            if weight.requires_grad:
                groups[is_of_language_model(name), weight.dim() > 1].append(weight)
        return [
            {
                "params": weights,
                "weight_decay": schedule.weight_decay if decays else 0.0,
                "scale": schedule.language_model if of_language_model else 1.0,
            }
            for (of_language_model, decays), weights in sorted(groups.items())
        ]

    def run(self, most_steps: int | None = None) -> None:
        """Train to the end of the schedule, or for ``most_steps`` from here; saves now and then and at the end."""
        schedule = self.config.schedule
        sums: dict[str, float] = defaultdict(float)
        saved_at = self.progress.trained_seconds
        began, last = self.progress.step, time.monotonic()
        while share_done(self.progress, schedule) < 1 and self.progress.step - began != most_steps:
            for name, value in self.step().items():
                sums[name] += value / LOG_EVERY
            now = time.monotonic()
            self.progress.trained_seconds = parallel.leaders_value(self.progress.trained_seconds + now - last)
            last = now
            if self.progress.step % LOG_EVERY == 0:
                self._report(sums)
                sums.clear()
            if self.progress.trained_seconds - saved_at > 60 * schedule.save_minutes:
                saved_at = self.progress.trained_seconds
                self.save()
                last = time.monotonic()  # evaluation is not training
        self.save()
        if parallel.rank() == 0:
            draw_curve(self.config.out / LOG_FILE, self.config.out / CURVE_FILE)

    def step(self) -> dict[str, float]:
        """Take one step and return its losses."""
        schedule = self.config.schedule
        done = share_done(self.progress, schedule)
        batch = self.loader.next(schedule.start + (1 - schedule.start) * done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(done, schedule) * group["scale"]
        self.trainee.train()
        with self.precision():
            losses = self.trainee(batch.to(self.device), self.config.weights)
        losses["loss"].backward()
        parallel.average_gradients(self.trainee.parameters())
        torch.nn.utils.clip_grad_norm_(self.trainee.parameters(), schedule.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._count(batch)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def precision(self) -> AbstractContextManager[Any]:
        """Multiply in bfloat16 where the configuration says so; the weights and the sums stay in float32."""
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _count(self, batch: Batch) -> None:
        self.progress.step += 1
        self.progress.heard_seconds += batch.seconds * parallel.ranks()  # all hear about the same

    def _report(self, sums: dict[str, float]) -> None:
        progress = self.progress
        done = share_done(progress, self.config.schedule)
        entry = {
            "step": progress.step,
            "minutes": round(progress.trained_seconds / 60, 2),
            "heard_hours": round(progress.heard_seconds / 3600, 2),
            "rtfx": round(progress.heard_seconds / max(progress.trained_seconds, 1e-9), 1),
            "left_minutes": round(progress.trained_seconds / 60 * (1 - done) / max(done, 1e-9), 1),
            **{name: round(value, 4) for name, value in sums.items()},
        }
        self._log(entry)

    def _log(self, entry: dict[str, Any]) -> None:
        if parallel.rank() != 0:
            return
        line = json.dumps(entry)
        with (self.config.out / LOG_FILE).open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def save(self) -> None:
        """Write everything that the run goes on from; the file appears whole or not at all. Then evaluate."""
        loaders = parallel.gather(asdict(self.loader.state))
        if parallel.rank() != 0:
            return
        partial = self.config.out / (STATE_FILE + ".part")
        torch.save(
            {
                "trainee": self.trainee.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "progress": asdict(self.progress),
                "loaders": loaders,
                "torch": torch.get_rng_state(),
            },
            partial,
        )
        partial.replace(self.config.out / STATE_FILE)
        if self.on_save:
            self.on_save(self)
        if self.evaluate:
            self._log({"step": self.progress.step, "evaluation": self.evaluate(self)})

    def resume(self) -> bool:
        """Go back to where the run's folder was saved; False where it was not. Raises ``RunMismatch``."""
        path = self.config.out / STATE_FILE
        if not path.is_file():
            return False
        state = torch.load(path, map_location="cpu", weights_only=True)
        own = {name: tensor.shape for name, tensor in self.trainee.state_dict().items()}
        stored = {name: tensor.shape for name, tensor in state["trainee"].items()}
        if own != stored:
            differing = sorted(
                name for name in own.keys() | stored.keys() if own.get(name) != stored.get(name)
            )
            raise RunMismatch(
                f"{path} holds a model of another shape, first {differing[0]}: choose another folder"
            )
        self.trainee.load_state_dict(state["trainee"])
        scales = [group["scale"] for group in self.optimizer.param_groups]  # they are the configuration's
        self.optimizer.load_state_dict(state["optimizer"])
        for group, scale in zip(self.optimizer.param_groups, scales, strict=True):
            group["scale"] = scale
        self.progress = Progress(**state["progress"])
        loaders = state["loaders"]
        self.loader.state = LoaderState(**loaders[parallel.rank() % len(loaders)])
        torch.set_rng_state(state["torch"])
        return True


def is_of_language_model(name: str) -> bool:
    """Say whether a trainee's weight belongs to the language model, by its name."""
    return name.startswith("model.") and not name.startswith("model.transformer.audio.")


def seed_everything(seed: int) -> None:
    """Fix torch's and numpy's global generators."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # libraries may still draw from it
