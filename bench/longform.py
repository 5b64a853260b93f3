"""Measure long recordings: what seams lose, what silence invents, and whether tasks mind company.

``python -m bench.longform [--quick] [--oracle] [--hours 3]``. Four recordings of ten minutes, whose words and times are
known exactly, are cut into chunks, heard and stitched by the service's own functions: by an oracle, which answers the
true words of what it hears, and by the bundled mini model. Prints the table of figures and what each should reach; the
last line is one JSON object, with null for what was not measured. Needs espeak-ng, which speaks the recordings.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench.longform_figures import Figures, measure_oracle
from bench.longform_recordings import make_recordings
from qwen_audio.bundled import MINI_FOLDER
from training.errors import EspeakMissing

MINUTES, QUICK_MINUTES = 10.0, 1.5

GOALS: dict[str, tuple[str, str, float]] = {
    "oracle_wrong": ("words lost or doubled, oracle", "words, at most", 0),
    "cut_wrong": ("words lost or doubled, oracle that mishears cut words", "words, at most", 0),
    "jitter_wrong": ("words lost or doubled, oracle off by up to 60 ms", "words, at most", 0),
    "stitch_shift_ms": ("word times at seams: moved by stitching, median", "ms, at most", 20),
    "seam_errors_pct": ("mini: extra word errors at seams", "% of words, at most", 0.2),
    "invented_words": ("mini: words in silence, noise and music", "words, at most", 0),
    "tasks_that_differ": ("mini: tasks that answer differently in company", "tasks, at most", 0),
}
EXTRA: dict[str, str] = {
    "words": "words in the three recordings with speech",
    "cuts": "cuts between their chunks",
    "cuts_in_speech": "of these, where speech runs through",
    "seam_words": "words at those",
    "bare_wrong": "words that the same oracle mishears where neighbours do not overlap",
    "jitter_words": "words heard with jitter, over all seeds",
    "stitch_shift_most_ms": "word times at seams: moved by stitching, most, ms",
    "seam_time_error_ms": "word times at seams: off the truth, median, ms (stamps are 40 ms apart)",
    "no_time_words_pct": "words lost or doubled in text without times, oracle, %",
    "wer": "mini: word errors, %",
    "wer_at_gaps": "mini: word errors when cut at true gaps instead, %",
    "rtfx_plan": "seconds planned a second: speech map and chunks",
    "rtfx_transcribe": "mini: seconds heard a second, transcript",
    "rtfx_five_tasks": "mini: seconds heard a second, five tasks",
    "rtfx_all_tasks": "mini: seconds heard a second, all tasks",
    "hours": "mini: hours of the recording that was heard with all tasks",
    "peak_mb": "peak memory, MB",
}
JSON_NAMES = ("seam_errors_pct", "stitch_shift_ms", "invented_words", "rtfx_all_tasks")


def table(figures: Figures) -> str:
    """Write the figures that were measured as lines, each with its goal and whether it is reached."""
    lines = []
    for name, (what, unit, goal) in GOALS.items():
        if name in figures:
            reached = "ok" if figures[name] <= goal else "short"
            lines.append(f"{what:58s} {figures[name]:9.2f}   goal {goal:g} {unit:20s} {reached}")
    extra = (f"{what:72s} {figures[name]:9.2f}" for name, what in EXTRA.items() if name in figures)
    return "\n".join([*lines, *extra])


def main() -> None:
    """Run the command."""
    arguments = _arguments()
    seconds = 60 * (QUICK_MINUTES if arguments.quick else arguments.minutes)
    try:
        recordings = make_recordings(seconds, arguments.seed)
    except EspeakMissing:
        sys.exit(
            "bench-longform needs the library libespeak-ng, which speaks its recordings: install espeak-ng"
        )
    figures = measure_oracle(recordings)
    if not arguments.oracle:
        from bench.longform_model import measure_model  # torch is for those who hear with the model

        figures |= measure_model(arguments.model, recordings, arguments.hours, arguments.threads)
    print(table(figures))
    print(json.dumps({name: round(figures[name], 3) if name in figures else None for name in JSON_NAMES}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.longform", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"length of a recording (default {MINUTES:g})"
    )
    parser.add_argument("--quick", action="store_true", help=f"recordings of {QUICK_MINUTES:g} minutes")
    parser.add_argument("--oracle", action="store_true", help="the oracle only, no model")
    parser.add_argument(
        "--hours", type=float, default=0.0, help="hear also a recording of so many hours with all tasks"
    )
    parser.add_argument(
        "--model", type=Path, default=MINI_FOLDER, help="folder of the checkpoint (default: bundled)"
    )
    parser.add_argument("--threads", type=int, default=2, help="of the model (default 2)")
    parser.add_argument("--seed", type=int, default=4, help="of the recordings (default 4)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
