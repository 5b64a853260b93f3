"""Keep the figures of a long bench as they come, and lose none to a part that fails."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Journal:
    """Figures as they come; ``missing`` names the parts that failed or came too late."""

    until: float  # on time.perf_counter's clock
    folder: Path | None = None
    name: str = "figures.json"  # of the file in the folder
    after_failure: Callable[[], None] = lambda: None  # gives back what a part that failed had taken
    figures: dict[str, float] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def add(self, name: str, part: Callable[[], dict[str, float]]) -> None:
        """Do a part and keep its figures; one that fails is printed with its traceback."""
        if time.perf_counter() > self.until:
            print(f"{name}: left out, the time is up", flush=True)
            self.missing.append(name)
            return
        began, has_failed = time.perf_counter(), False
        try:
            self.figures |= part()
        except Exception:  # noqa: BLE001  # one part's fault is no reason to lose minutes on a card
            print(f"{name} failed:\n{traceback.format_exc()}", flush=True)
            self.missing.append(name)
            has_failed = True
        print(f"  {name}: {time.perf_counter() - began:.0f} s", flush=True)
        self.keep()
        if has_failed:  # out here the error is gone, and with it what its frames held
            self.after_failure()

    def keep(self) -> None:
        """Write the figures down, where there is a folder for them."""
        if self.folder is not None:
            (self.folder / self.name).write_text(json.dumps(self.figures, indent=1))
