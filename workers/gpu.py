"""Be the GPU worker process: one engine, one feeder."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from workers.context import WorkerContext
from workers.process import run_worker
from workers.runner import Lane


def open_lanes(context: WorkerContext) -> Sequence[Lane]:
    """Load the model for tags and return what a GPU worker does."""
    from workers.model_lane import open_lane  # importing torch takes seconds, and by now the process is seen

    return open_lane(context, context.settings.model)


if __name__ == "__main__":
    sys.exit(run_worker("gpu", open_lanes, loads=lambda settings: settings.model))
