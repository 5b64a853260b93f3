"""What an engine counts, and the names under which operators see it."""

import math
import re
import threading
from concurrent.futures import CancelledError, wait
from pathlib import Path

import pytest
import torch

from qwen_audio.answers import FinishReason
from qwen_audio.engine import Engine
from qwen_audio.errors import AnswerNotFinite, EngineClosed
from qwen_audio.forward import Forward
from qwen_audio.metrics import ERRORS, SERIES, Metrics, Tally
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.tags import Prompt, Tag
from qwen_audio.tuning import Tuning

CAPTION = Prompt(
    (Tag.START_OF_ANALYSIS, Tag.UNKNOWN, Tag.CAPTION, Tag.EN, Tag.NO_TIMESTAMPS, Tag.CAPTION_CLOTHO)
)
SONIC = Prompt((Tag.START_OF_ANALYSIS, Tag.SONIC))
SECONDS = 60
ROOT = Path(__file__).resolve().parents[3]


def test_every_number_has_a_documented_name_and_a_kind():
    flat = Metrics().flat()
    assert list(flat) == list(SERIES)
    assert all(type(value) is float for value in flat.values())
    assert all((series.kind == "counter") == name.endswith("_total") for name, series in SERIES.items())
    assert all(re.fullmatch(r"[a-z_]+", name) for name in SERIES)


def test_the_performance_page_lists_every_name_as_it_is():
    page = (ROOT / "docs" / "performance.md").read_text()
    missing = [name for name, one in SERIES.items() if f"| `{name}` | {one.kind} | {one.help} |" not in page]
    assert missing == []


def test_every_field_is_published():
    numbers = dict.fromkeys(Metrics.__dataclass_fields__, 7.0)
    numbers |= {"endings": Metrics().endings, "errors": Metrics().errors}
    flat = Metrics(**numbers).flat()
    silent = [name for name, value in flat.items() if value == 0]
    assert all(name.startswith(("branches_ended_", "errors_", "decode_seconds")) for name in silent)


def test_the_parts_of_busy_time_make_up_the_whole():
    metrics = Metrics(busy_seconds=5.0, encode_seconds=1.0, prefill_seconds=1.5)
    assert metrics.flat()["decode_seconds_total"] == 2.5


def test_counts_of_several_threads_are_not_lost():
    tally = Tally(Metrics())
    threads = [threading.Thread(target=lambda: [tally.add(tokens=1) for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.metrics.tokens == 8000


def test_what_operators_see_of_an_engine_at_work(tiny_model, tiny_tokenizer, clip):
    with Engine(tiny_model, tiny_tokenizer, places=2, tuning=Tuning(cells=230)) as engine:
        first = engine.open(clip("syn_8s.wav"))
        answers = [future.result(SECONDS) for future in [first.branch(CAPTION, 5) for _ in range(3)]]
        first.branch(CAPTION, 1, score=[Tag.EN]).result(SECONDS)
        seen = engine.metrics().flat()
        engine.open(clip("syn_1s005.wav")).close()
    assert (seen["slots"], seen["slots_used"]) == (2, 1)
    assert seen["audio_seconds_total"] == pytest.approx(8, abs=0.02)
    assert seen["tokens_total"] == sum(len(answer.ids) for answer in answers)
    assert (seen["clips_encoded_total"], seen["prefixes_computed_total"]) == (1, 1)
    assert (seen["prefixes_opened_total"], seen["prefixes_reused_total"]) == (1, 3)
    assert seen["reused_positions_total"] == 3 * first.positions
    assert seen["branches_started_total"] == 4
    assert seen["branches_ended_scored_total"] == 1
    ended = sum(seen[f"branches_ended_{reason}_total"] for reason in FinishReason)
    assert ended == 4
    parts = sum(seen[f"{part}_seconds_total"] for part in ("encode", "prefill", "decode"))
    assert seen["busy_seconds_total"] == pytest.approx(parts)
    assert seen["cache_cells"] >= seen["cache_cells_used"] >= first.positions
    assert all(seen[f"errors_{code}_total"] == 0 for code in ERRORS)
    assert engine.metrics().prefixes_opened == 2


def test_prefixes_that_lose_their_room_are_counted(tiny_model, tiny_tokenizer, clip):
    with Engine(tiny_model, tiny_tokenizer, tuning=Tuning(cells=50)) as engine:
        prefixes = [engine.open(clip(name)) for name in ("syn_8s.wav", "syn_3s217.wav")]
        for prefix in (*prefixes, *prefixes):  # there is one long room
            prefix.branch(CAPTION, 3).result(SECONDS)
        seen = engine.metrics().flat()
    assert (seen["evictions_total"], seen["refills_total"]) == (3, 2)


def test_errors_are_counted_by_kind(tiny_folder, tiny_tokenizer, clip, monkeypatch):
    model = QwenAudioForConditionalGeneration.from_pretrained(tiny_folder, dtype="float32")
    with torch.no_grad():
        model.transformer.wte.weight[tiny_tokenizer.id_of(Tag.SONIC)] = math.nan
    engine = Engine(model, tiny_tokenizer)
    prefix = engine.open(clip("syn_1s005.wav"))
    with pytest.raises(AnswerNotFinite):
        prefix.branch(SONIC, 5).result(SECONDS)
    with monkeypatch.context() as patch:
        patch.setattr(Forward, "feed", lambda self, groups: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prefix.branch(CAPTION, 5).result(SECONDS)
    opened = threading.Event()
    hook = model.lm_head.register_forward_pre_hook(lambda *_: opened.wait(SECONDS) and None)
    cancelled, left = prefix.branch(CAPTION, 400), prefix.branch(CAPTION, 400)
    assert cancelled.cancel()
    closing = threading.Thread(target=engine.close)
    closing.start()
    with pytest.raises(EngineClosed):
        left.result(SECONDS)
    opened.set()
    closing.join(SECONDS)
    hook.remove()
    with pytest.raises(CancelledError):
        cancelled.result(SECONDS)
    wait([cancelled, left], SECONDS)
    metrics = engine.metrics()
    assert metrics.errors == {
        "answer_not_finite": 1,
        "engine_out_of_memory": 0,
        "engine_closed": 1,
        "other": 1,
    }
    assert metrics.endings["abandoned"] == 1
    assert metrics.flat()["errors_answer_not_finite_total"] == 1
