"""Be the GPU worker process of the Chat checkpoint, which answers free questions."""

from __future__ import annotations

import sys

from settings import PREFIX, InvalidSettings, load_settings


def main() -> int:
    """Run the process; exit code 2 where the settings are wrong or name no Chat model."""
    try:
        chat_model = load_settings().chat_model
    except InvalidSettings as error:
        print(f"chat worker: {error}", file=sys.stderr)
        return 2
    if not chat_model:
        print(f"chat worker: set {PREFIX}CHAT_MODEL to a Qwen-Audio-Chat checkpoint", file=sys.stderr)
        return 2
    # Importing torch takes seconds, and who has set nothing shall not wait for them.
    from workers.gpu import open_lane
    from workers.process import run_worker

    return run_worker("chat", lambda context: open_lane(context, chat_model))


if __name__ == "__main__":
    sys.exit(main())
