"""Run the demo on one sample, with every process that it has."""

from __future__ import annotations

from cli.demo import run_demo
from samples import list_samples


def test_the_demo_hears_a_sample_and_shows_the_answers_by_sql(tmp_path, capsys):
    (sample,) = [sample for sample in list_samples() if sample.name == "voicemail"]

    run_demo(tmp_path / "demo", [sample])

    shown = capsys.readouterr()
    for piece in ("FROM segments", "FROM words", "FROM captions", "FROM emotions", "voicemail.wav"):
        assert piece in shown.out
    assert "Heard beside what is true" in shown.out
    assert "hello martin" in shown.out
    assert "untrained" in shown.out
    assert "sqlite3" in shown.out
    assert "submitted 1 jobs" in shown.err
    assert (tmp_path / "demo" / "earwitness.db").exists()
