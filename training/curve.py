"""Draw a run's learning curve as an SVG picture from its log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, MARGIN = 720, 360, 48
COLOURS = {"answers": "#1b6ca8", "phonemes": "#7a9e2f", "tracks": "#c8553d"}
RATES = {"wer": "#1b6ca8", "wer_random": "#7a9e2f", "wer_new_voice": "#c8553d"}
"""What is drawn: losses over the steps, and below them, where the run evaluated itself, word error rates."""


def draw_curve(log: Path, picture: Path) -> None:
    """Write the picture of a log; nothing where there is no log or it holds fewer than two entries."""
    if not log.is_file():
        return
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    losses = [entry for entry in entries if "answers" in entry]
    rates = [{"step": entry["step"], **entry["evaluation"]} for entry in entries if "evaluation" in entry]
    panels = [
        panel for panel in ((losses, COLOURS, "loss"), (rates, RATES, "word errors, %")) if len(panel[0]) > 1
    ]
    if not panels:
        return
    drawn = [_panel(*panel, top=place * HEIGHT) for place, panel in enumerate(panels)]
    size = f'width="{WIDTH}" height="{HEIGHT * len(panels)}"'
    style = 'font-family="sans-serif" font-size="12" fill="#444"'
    body = "\n".join(drawn)
    picture.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n',
        encoding="utf-8",
    )


def _panel(entries: Sequence[dict[str, Any]], colours: dict[str, str], title: str, *, top: int) -> str:
    names = [name for name in colours if name in entries[0]]
    last = max(entry["step"] for entry in entries)
    highest = max(entry[name] for entry in entries for name in names) or 1.0
    left, bottom = MARGIN, top + HEIGHT - MARGIN
    across, up = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    parts = [
        f'<path d="M{left} {top + MARGIN}V{bottom}H{left + across}" fill="none" stroke="#999"/>',
        f'<text x="{left}" y="{top + MARGIN - 12}">{title}, at most {highest:.3g}</text>',
        f'<text x="{left + across}" y="{bottom + 18}" text-anchor="end">step {last}</text>',
    ]
    for place, name in enumerate(names):
        points = " ".join(
            f"{left + across * entry['step'] / last:.1f},{bottom - up * entry[name] / highest:.1f}"
            for entry in entries
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colours[name]}" stroke-width="1.5"/>')
        y = top + MARGIN + 16 * place
        parts.append(
            f'<text x="{left + across}" y="{y}" text-anchor="end" fill="{colours[name]}">{name}</text>'
        )
    return "\n".join(parts)
