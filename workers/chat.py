"""Be the GPU worker process of the Chat checkpoint, which answers free questions."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from settings import PREFIX, InvalidSettings, load_settings
from settings.logs import say_last
from workers.context import WorkerContext
from workers.process import run_worker
from workers.runner import Lane


def main() -> int:
    """Run the process; exit code 2 where the settings are wrong or name no Chat model."""
    try:
        chat_model = load_settings().chat_model
    except InvalidSettings as error:
        say_last(f"chat worker: {error}")
        return 2
    if not chat_model:
        say_last(f"chat worker: set {PREFIX}CHAT_MODEL to a Qwen-Audio-Chat checkpoint")
        return 2
    return run_worker("chat", lambda context: _open_lanes(context, chat_model), loads=lambda _: chat_model)


def _open_lanes(context: WorkerContext, chat_model: str) -> Sequence[Lane]:
    from workers.model_lane import open_lane  # importing torch takes seconds, and by now the process is seen

    return open_lane(context, chat_model)


if __name__ == "__main__":
    sys.exit(main())
