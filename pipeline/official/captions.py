"""Write captions (AAC) in the COCO form that the official metrics read.

METEOR, SPICE and the tokenizer in front of all of them are Java programs, so no caption figure is computed here.
Source: ``reformat_to_coco`` in ``eval_audio/metrics.py`` of Qwen-Audio.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.official.data import Gt

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
