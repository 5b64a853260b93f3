"""The benches of the engine run, count right, and end in the JSON line that others read."""

import json
import sys
import time
import weakref
from dataclasses import fields, replace

import pytest
import torch

from bench import engine, engine_gpu, full_size, switches
from bench.journal import Journal
from bench.models import TASKS, Size, forced_lengths, make_tokenizer, shortened
from bench.roofline import Rates, Shares, shares
from qwen_audio.metrics import Metrics
from qwen_audio.prefix import Prefix
from qwen_audio.tokenizer import control_tokens
from qwen_audio.tuning import tuning_of

TINY = Size(hidden=64, layers=2, heads=2, audio_width=32, audio_layers=1, audio_heads=2)
LOAD = engine.Load(TINY, chunks=2, seconds=1.0, tasks=shortened(TASKS, 5), mixed_chunks=5)


def _json(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_engine_bench_ends_in_its_figures(monkeypatch, capsys):
    monkeypatch.setattr(engine, "QUICK", LOAD)
    monkeypatch.setattr(sys, "argv", ["bench.engine", "--quick", "--repeats", "1"])
    engine.main()
    found = _json(capsys)
    assert list(found) == list(engine.GOALS)
    assert found["encodes_per_chunk"] == 1
    assert 0 < found["slot_use"] <= 1
    assert all(found[name] > 0 for name in ("vs_generate_1", "vs_generate_batched", "one_task_vs_batched"))


def test_every_way_of_asking_gives_the_same_ids():
    with forced_lengths():
        bench = engine.Bench(LOAD)
        task = LOAD.tasks[0]
        inputs = engine.generate_inputs(bench.tokenizer, bench.clips, task.prompt)
        ids = bench.model.generate(
            **inputs, max_new_tokens=5, min_new_tokens=5, do_sample=False, pad_token_id=0
        )
        expected = [tuple(row) for row in ids[:, inputs["input_ids"].shape[1] :].tolist()]
        _, _, answers = full_size.ask(bench.model, bench.tokenizer, bench.clips, [task])
    assert answers == expected


def test_the_bench_counts_what_a_chunk_costs():
    with forced_lengths():
        run = engine.Bench(LOAD).run()
    assert run["prefilled_per_chunk"] == 27  # one second
    assert run["fed_per_chunk"] == 4 * 6 + (5 + 5 + 4 + 5) - 4


def test_a_step_of_few_rows_is_bound_by_reading_and_one_of_many_by_multiplying():
    model = engine.Bench(LOAD).model
    language, head = 2 * (4 * 64**2 + 3 * 64 * TINY.feed_forward // 2), model.lm_head.weight.numel()
    cells = 1_000
    made = Metrics(
        steps=10, busy_seconds=5.0, prefill_seconds=1.0, read_positions=cells, fed_positions=20, tokens=10
    )
    assert (
        language * 0.99
        < sum(one.numel() for name, one in model.named_parameters() if ".h." in name)
        < language * 1.01
    )
    reading = 4 * (10 * (language + head) + cells * 2 * 2 * 64) / 4.0
    multiplying = (20 * (2 * language + 4 * 27 * 64 * 2) + 10 * 2 * head) / 4.0

    def reached(bytes_per_second: float, flops: float) -> Shares:
        return shares(model, Rates(bytes_per_second, flops), made, 1.0)

    assert reached(reading, 1e9).decode == pytest.approx(1, rel=0.02)
    assert reached(1e9, multiplying).decode == pytest.approx(1, rel=0.02)
    assert reached(reading, multiplying / 2).decode == pytest.approx(2, rel=0.02)
    assert reached(reading, multiplying / 2).decode_reading == pytest.approx(1, rel=0.02)


def test_figures_are_medians_of_ratios_inside_a_run():
    names = ("generate_1", "generate_batched", "generate_batched_one_task")
    runs = [
        {**dict.fromkeys(names, seconds), "engine_four": 2.0, "engine_three": 1.9, "engine_one": 1.0}
        | {"encodes_per_chunk": 1.0}
        for seconds in (8.0, 2.0, 9.0)
    ]
    found = engine.figures(runs, slot_use=0.9)
    assert (found["vs_generate_1"], found["one_task_vs_batched"]) == (4, 8)
    assert found["fourth_task_cost"] == pytest.approx(2 / 1.9 - 1)
    assert engine.is_reached("vs_generate_1", 4.0)
    assert not engine.is_reached("fourth_task_cost", 0.1)
    assert not engine.is_reached("encodes_per_chunk", 1.1)


GPU_SCALE = full_size.Scale(TINY, 4_096, 3, 2, (2, 3), 1_024, (2,), 64, 1 << 16)


def test_the_gpu_script_runs_small_on_a_cpu(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(engine_gpu, "SMALL", GPU_SCALE)
    monkeypatch.setattr(engine_gpu.torch.cuda, "is_available", lambda: False)
    assert engine_gpu.main(["--small", "--folder", str(tmp_path / "out")]) == 0
    found = _json(capsys)
    for way in ("", "_replayed"):
        assert found[f"equal_ids{way}"] == found[f"equal_ids_turned{way}"] == 1
        for name in ("words", "plain"):
            assert found[f"vs_peer_{name}{way}"] > 0
            assert found[f"prefill_{name}_4{way}"] > 0
            assert found[f"decode_{name}_4{way}"] > 0
    assert found["rtfx_words_4_replayed_3_places"] > 0
    assert json.loads((tmp_path / "out" / "engine_gpu.json").read_text()).keys() <= found.keys()
    assert "scaled_dot_product" in (tmp_path / "out" / "profile.txt").read_text()


def test_a_part_of_the_gpu_script_that_fails_costs_the_others_nothing(monkeypatch, capsys):
    monkeypatch.setattr(engine_gpu, "SMALL", GPU_SCALE)
    monkeypatch.setattr(engine_gpu.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(engine_gpu.EngineBench, "invariance", lambda bench, way: 1 / 0)
    assert engine_gpu.main(["--small"]) == 1
    printed = capsys.readouterr().out
    assert "missing: engine, equal ids, engine_replayed, equal ids" in printed
    assert "ZeroDivisionError" in printed
    found = json.loads(printed.splitlines()[-1])
    assert found["vs_peer_words"] > 0
    assert "equal_ids" not in found


def test_the_gpu_script_begins_nothing_when_its_time_is_up(monkeypatch, capsys):
    monkeypatch.setattr(engine_gpu, "SMALL", GPU_SCALE)
    monkeypatch.setattr(engine_gpu.torch.cuda, "is_available", lambda: False)
    assert engine_gpu.main(["--small", "--seconds", "0"]) == 1
    assert _json(capsys).keys() == {"copy_gb_s", "matrix_tflop_s"}


@pytest.mark.parametrize("name", ["EngineBench", "Peer"])
def test_a_model_of_the_gpu_script_that_cannot_be_made_costs_the_other_nothing(monkeypatch, capsys, name):
    def no_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine_gpu, "SMALL", GPU_SCALE)
    monkeypatch.setattr(engine_gpu.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(engine_gpu, name, no_memory)
    assert engine_gpu.main(["--small"]) == 1
    found = _json(capsys)
    assert ("peer_words_4" in found) is (name == "EngineBench")
    assert ("rtfx_words_4" in found) is (name == "Peer")


def test_what_spoils_the_gpu_for_all_that_follows_spoils_neither_engine_nor_peer(monkeypatch, capsys):
    """An error of CUDA stays until the process ends."""
    speed, seconds, broken = engine_gpu.EngineBench.speed, engine_gpu.Peer.seconds, []

    def spoil(bench, name, tokens, count, way, places):
        broken.extend([way] if way else [])
        assert not broken
        return speed(bench, name, tokens, count, way, places)

    def ask(peer, tasks, batch):
        assert not broken
        return seconds(peer, tasks, batch)

    def release():
        assert not broken

    monkeypatch.setattr(engine_gpu, "SMALL", GPU_SCALE)
    monkeypatch.setattr(engine_gpu.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(engine_gpu, "release_memory", release)
    monkeypatch.setattr(engine_gpu.EngineBench, "speed", spoil)
    monkeypatch.setattr(engine_gpu.Peer, "seconds", ask)
    assert engine_gpu.main(["--small"]) == 1
    found = _json(capsys)
    assert broken
    assert found["vs_peer_words"] > 0
    assert found["vs_peer_plain"] > 0
    assert "equal_ids" in found


def test_a_batch_that_the_peer_has_no_memory_for_leaves_the_best_of_the_others(monkeypatch, capsys):
    seconds = engine_gpu.Peer.seconds

    def ask(peer, tasks, batch):
        if batch == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return seconds(peer, tasks, batch)

    monkeypatch.setattr(engine_gpu, "SMALL", replace(GPU_SCALE, batches=(1, 2, 3)))
    monkeypatch.setattr(engine_gpu.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(engine_gpu.Peer, "seconds", ask)
    assert engine_gpu.main(["--small"]) == 0
    found = _json(capsys)
    tried = {name: value for name, value in found.items() if name.startswith("peer_words_4_")}
    assert len(tried) == 3  # one and two, and the better of them with cuDNN's attention
    assert found["peer_words_4"] == max(tried.values())


def test_the_gpu_script_ends_by_itself_when_a_part_does_not(monkeypatch, capsys):
    ends = []
    monkeypatch.setattr(engine_gpu, "SMALL", GPU_SCALE)
    monkeypatch.setattr(engine_gpu.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        engine_gpu.faulthandler, "dump_traceback_later", lambda seconds, **how: ends.append((seconds, how))
    )
    monkeypatch.setattr(
        engine_gpu.faulthandler, "cancel_dump_traceback_later", lambda: ends.append("cancelled")
    )
    engine_gpu.main(["--small", "--seconds", "0"])
    assert ends == [(engine_gpu.OVERTIME, {"exit": True, "file": 2}), "cancelled"]


def test_what_a_failed_part_held_is_given_back_before_the_next_begins(tmp_path):
    class Weights:
        """Too many."""

    held, seen = [], []

    def fail():
        weights = Weights()
        held.append(weakref.ref(weights))
        raise torch.OutOfMemoryError("CUDA out of memory")

    journal = Journal(time.perf_counter() + 60, tmp_path, after_failure=lambda: seen.append(held[0]()))
    journal.add("too much", fail)
    journal.add("enough", lambda: {"one": 1.0})
    assert seen == [None]
    assert journal.missing == ["too much"]
    assert json.loads((tmp_path / "figures.json").read_text()) == {"one": 1.0}


def test_all_questions_begin_together_so_that_every_round_has_the_same_steps(monkeypatch):
    branch = Prefix.branch

    def slowly(*arguments):
        time.sleep(0.1)
        return branch(*arguments)

    monkeypatch.setattr(Prefix, "branch", slowly)
    with forced_lengths():
        bench = engine.Bench(LOAD)
        _, metrics, _ = full_size.ask(bench.model, bench.tokenizer, bench.clips, LOAD.tasks[:1])
    assert metrics.steps == LOAD.tasks[0].tokens


def test_a_vocabulary_may_be_as_large_as_the_official_one():
    assert make_tokenizer(151_643).vocabulary_size == 151_643 + len(control_tokens())
    assert make_tokenizer().vocabulary_size < 10_000


def test_equal_ids_are_counted_over_what_both_have():
    assert full_size.equal_ids([(1, 2), (3,)], [(1, 2), (4,), (5,)]) == 0.5


def test_only_what_happened_between_two_snapshots_is_counted():
    before = Metrics(steps=3, prefills=1, busy_seconds=2.0, encode_seconds=0.5, prefill_seconds=0.5)
    after = Metrics(
        steps=10, prefills=4, busy_seconds=9.0, encode_seconds=1.5, prefill_seconds=2.5, read_positions=7
    )
    found = full_size.since(before, after)
    assert (found.steps, found.prefills, found.busy_seconds) == (7, 3, 7.0)
    assert (found.encode_seconds, found.prefill_seconds, found.read_positions) == (1.0, 2.0, 7)


def test_the_gpu_script_asks_for_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr(engine_gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        engine_gpu.main([])
    assert "no GPU here" in capsys.readouterr().err


def test_every_switch_is_timed_beside_the_default_and_changes_no_answer(monkeypatch, capsys):
    monkeypatch.setattr(switches, "QUICK", LOAD)
    monkeypatch.setattr(switches.torch.cuda, "is_available", lambda: False)
    switches.main(["--quick", "--repeats", "1"])
    found = _json(capsys)
    assert set(found) == {
        f"{name}{part}"
        for name in ("together", "calls", "device_features", "static")
        for part in ("", "_equal_ids")
    }
    assert all(found[name] > 0 for name in found)
    assert all(found[name] == 1 for name in found if name.endswith("equal_ids"))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_switch_differs_from_the_default_in_what_it_is_named_for(device):
    base = tuning_of(device, 8)
    turned = switches.switches(base, device)
    assert ("graph" in turned) is (device == "cuda")
    for name, tuning in turned.items():
        differs = {
            field.name for field in fields(tuning) if getattr(tuning, field.name) != getattr(base, field.name)
        }
        expected = {"calls": {"call_positions", "call_frames"}}
        expected |= {key: {"decode"} for key in ("static", "plain", "graph")}
        assert differs == expected.get(name, {name})
