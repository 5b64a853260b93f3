"""Run the demo on one sample, with every process that it has."""

from __future__ import annotations

from cli.demo import run_demo
from cli.demo_marks import mark_samples
from samples import list_samples


def test_the_demo_hears_what_is_true_of_a_sample_and_shows_it_by_sql(tmp_path, capsys):
    (sample,) = [sample for sample in list_samples() if sample.name == "voicemail"]

    run_demo(tmp_path / "demo", [sample])

    shown = capsys.readouterr()
    for piece in ("FROM segments", "FROM words", "FROM captions", "FROM emotions", "voicemail.wav"):
        assert piece in shown.out
    assert "Heard beside what is true" in shown.out
    assert "does not hear people" in shown.out
    assert "sqlite3" in shown.out
    assert "submitted 1 jobs" in shown.err
    marks = {mark.task: mark for mark in mark_samples(tmp_path / "demo" / "earwitness.db", [sample])}
    assert marks["transcribe"].right > 0.6 * marks["transcribe"].total
    for task in ("language", "caption", "emotion"):
        assert marks[task].right == marks[task].total, marks[task]
