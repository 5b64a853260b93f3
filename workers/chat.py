"""Be the GPU worker process of the Chat checkpoint, which answers free questions."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from settings import PREFIX, InvalidSettings, load_settings
from workers.context import WorkerContext
from workers.gpu import open_lane
from workers.process import run_worker
from workers.runner import Lane


def open_lanes(context: WorkerContext) -> Sequence[Lane]:
    """Load the Chat model and return what its worker does."""
    return open_lane(context, context.settings.chat_model)


def main() -> int:
    """Run the process; exit code 2 where no Chat model is set."""
    try:
        if load_settings().chat_model:
            return run_worker("chat", open_lanes)
    except InvalidSettings:
        return run_worker("chat", open_lanes)  # which says what is wrong
    print(f"chat worker: set {PREFIX}CHAT_MODEL to a Qwen-Audio-Chat checkpoint", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
