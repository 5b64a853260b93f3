from __future__ import annotations

import os
import subprocess
import sys


def test_a_chat_worker_without_a_chat_model_says_what_to_set() -> None:
    env = {**os.environ, "EARWITNESS_CHAT_MODEL": ""}
    done = subprocess.run(
        [sys.executable, "-m", "workers.chat"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "EARWITNESS_CHAT_MODEL" in done.stderr
