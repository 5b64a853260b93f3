"""Write captions (AAC) in the COCO form that the official metrics read.

METEOR, SPICE and the tokenizer in front of all of them are Java programs, so no caption figure is computed here.
Source: ``reformat_to_coco`` in ``eval_audio/metrics.py`` of Qwen-Audio.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.official.data import Gt, Line

NOT_COMPUTED = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr", "SPICE", "SPIDEr")


def coco_results(captions: Sequence[str]) -> list[dict[str, Any]]:
    """Return the predictions; a clip's id is its place."""
    return [{"audio_id": place, "caption": caption} for place, caption in enumerate(captions)]


def coco_references(truths: Sequence[Gt]) -> dict[str, Any]:
    """Return the true captions of the same clips, numbered through."""
    captions = [
        (place, caption)
        for place, gt in enumerate(truths)
        for caption in ((gt,) if isinstance(gt, str) else gt)
    ]
    return {
        "info": {"description": "reference captions"},
        "audio samples": [{"id": place} for place in range(len(truths))],
        "licenses": [],
        "type": "captions",
        "annotations": [
            {"audio_id": place, "id": number, "caption": caption}
            for number, (place, caption) in enumerate(captions)
        ],
    }


def write_coco(heard: Sequence[tuple[str, Line]], beside: Path) -> dict[str, dict[str, str]]:
    """Write predictions and references of each source beside a file; return their paths by source."""
    by_source: dict[str, list[tuple[str, Line]]] = {}
    for one in heard:
        by_source.setdefault(one[1].source, []).append(one)
    written = {}
    for number, (source, group) in enumerate(by_source.items(), start=1):
        parts = {
            "results": coco_results([caption for caption, _ in group]),
            "references": coco_references([line.gt for _, line in group]),
        }
        paths = {name: beside.with_name(f"{beside.stem}.coco-{number}-{name}.json") for name in parts}
        for name, path in paths.items():
            path.write_text(json.dumps(parts[name]))
        written[source] = {name: str(path) for name, path in paths.items()}
    return written
