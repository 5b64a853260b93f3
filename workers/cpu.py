"""Be the CPU worker process: expand, plan, finish, deliver and retire. Free of torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from db.delivering import claim_deliveries
from db.states import PassKind
from workers.context import WorkerContext
from workers.deliver import DELIVER_PLACES, deliver
from workers.expand import expand
from workers.finish import finish
from workers.plan import plan
from workers.process import run_worker
from workers.retire import retire
from workers.runner import Lane


def open_lanes(context: WorkerContext) -> Sequence[Lane]:
    """Return what a CPU worker does."""
    places = context.settings.cpu_workers
    return [
        Lane(PassKind.EXPAND, 1, expand),
        Lane(PassKind.PLAN, places, plan),
        Lane(PassKind.FINISH, places, finish),
        Lane(PassKind.DELIVER, DELIVER_PLACES, deliver, claim=claim_deliveries),
        Lane(PassKind.RETIRE, 1, retire),
    ]


if __name__ == "__main__":
    sys.exit(run_worker("cpu", open_lanes))
