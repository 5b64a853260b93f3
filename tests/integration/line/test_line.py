"""The line as it runs in production: S3, REST, Redis and Celery processes, PostgreSQL, query."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import audio_makers as make
from support.databases import PostgresServer
from support.servers import ROOT, RedisServer, WorkerProcess, wait_until
from support.stack import BUCKET, Stack, running_stack

# The untrained model hears any language: word times need one that has them.
ALL_TASKS = [
    {"task": "transcribe", "options": {"timestamps": "word", "language": "en"}}, "caption", "emotion"
]  # fmt: skip
REAL_AUDIO = ROOT.parent / "shared" / "audio"
SAMPLES = ROOT / "samples" / "audio"


@pytest.fixture(scope="module")
def stack(
    postgres: PostgresServer, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    with running_stack(postgres, redis_server, tmp_path_factory.mktemp("line")) as running:
        running.start_worker("cpu")
        running.start_worker("gpu")
        yield running
        for process in running.workers:
            if process.process.poll() is None:
                assert process.stop() == 0, process.text()


def recordings_of(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    response = stack.client.get(f"/v1/jobs/{job_id}/recordings")
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


FORMATS = [
    # name, codec, sampling rate in Hz, channels
    ("a.wav", "pcm_s16le", 8_000, 1),
    ("b.wav", "pcm_s16le", 44_100, 2),
    ("c.flac", "flac", 16_000, 1),
    ("d.flac", "flac", 48_000, 2),
    ("e.mp3", "libmp3lame", 22_050, 1),
    ("f.mp3", "libmp3lame", 44_100, 2),
    ("g.ogg", "libopus", 48_000, 1),
    ("h.webm", "libopus", 48_000, 2),
    ("i.m4a", "aac", 16_000, 1),
    ("j.m4a", "aac", 48_000, 2),
]


def test_every_format_goes_from_s3_to_rows(stack: Stack, tmp_path: Path) -> None:
    uris = []
    for name, codec, rate, channels in FORMATS:
        path = make.encode(tmp_path / name, make.tone(2.0, rate, channels=channels), rate, codec)
        uris.append(stack.put(f"formats/{name}", path.read_bytes()))
    job_id = stack.submit(uris, ALL_TASKS, metadata={"batch": 7})
    job = stack.wait(job_id)
    assert job["state"] == "succeeded", json.dumps(recordings_of(stack, job_id), indent=1)
    rows = stack.query(
        "SELECT r.uri, r.sampling_rate, r.source_channels, r.duration_ms FROM recordings r "
        "JOIN job_recordings j ON j.recording_id = r.id WHERE j.job_id = :job ORDER BY j.position",
        job=job_id,
    )
    for (uri, rate, channels, duration_ms), (name, codec, wanted_rate, wanted_channels) in zip(
        rows, FORMATS, strict=True
    ):
        assert uri.endswith(name)
        assert (rate, channels) == (48_000 if codec == "libopus" else wanted_rate, wanted_channels)
        assert duration_ms == pytest.approx(2_000, abs=120)  # lossy codecs pad
    captions = stack.query("SELECT uri, caption FROM captions WHERE uri LIKE '%/formats/%'")
    assert len(captions) == len(FORMATS)
    assert all(caption for _, caption in captions)


def test_speech_becomes_segments_words_captions_and_emotions(stack: Stack) -> None:
    uris = [stack.put(f"samples/{path.name}", path.read_bytes()) for path in sorted(SAMPLES.iterdir())]
    job_id = stack.submit(uris, ALL_TASKS)
    assert stack.wait(job_id)["state"] == "succeeded"
    for recording in recordings_of(stack, job_id):
        recording_id = recording["recording"]["id"]
        chunks = stack.query(
            "SELECT channel, owned_start, owned_end, heard_end - heard_start FROM chunks "
            "WHERE recording_id = :id ORDER BY channel, index",
            id=recording_id,
        )
        end = 0
        for _, start, owned_end, heard in chunks:
            assert start == end
            assert heard <= 480_000
            end = owned_end
        assert end // 16 == recording["recording"]["duration_ms"]
    spoken = stack.query("SELECT count(*) FROM segments s JOIN recordings r ON r.id = s.recording_id")
    assert spoken[0][0] > 0
    words = stack.query(
        "SELECT count(*) FROM words w JOIN recordings r ON r.id = w.recording_id "
        "WHERE w.start_ms >= 0 AND w.start_ms <= w.end_ms AND w.end_ms <= r.duration_ms"
    )
    assert words == stack.query("SELECT count(*) FROM words")
    assert words[0][0] > 0
    assert stack.query("SELECT count(*) FROM emotions")[0][0] > 0


EVERY_TASK = [
    "transcribe", {"task": "transcribe", "options": {"timestamps": "segment", "language": "de"}},
    {"task": "translate", "options": {"target": "de", "language": "en"}}, "language", "caption", "scene",
    {"task": "emotion", "options": {"per": "utterance"}}, {"task": "vocal", "options": {"always": True}},
    {"task": "music", "options": {"always": True, "description": True}},
    {"task": "ask", "options": {"question": "is there a bell?", "choices": ["yes", "no"]}},
    {"task": "locate", "options": {"phrase": "thank you"}}, "events", "speaker", "keywords", "entities",
]  # fmt: skip
VIEWS = (
    "words", "languages", "translations", "captions", "scenes", "emotions", "vocals", "sounds", "notes", "answers",
    "places",
)  # fmt: skip


def test_every_task_answers_for_every_chunk_and_its_view_can_be_read(stack: Stack) -> None:
    job_id = stack.submit(
        [stack.put("every/kitchen.mp3", (SAMPLES / "kitchen.mp3").read_bytes())], EVERY_TASK
    )
    assert stack.wait(job_id)["state"] == "succeeded", json.dumps(recordings_of(stack, job_id), indent=1)
    recording_id = recordings_of(stack, job_id)[0]["recording"]["id"]
    counted = stack.query(
        "SELECT count(*), sum(q.chunks_total), sum(q.chunks_done), sum(q.chunks_failed) FROM recording_requests q "
        "WHERE q.recording_id = :id",
        id=recording_id,
    )
    assert counted == [(len(EVERY_TASK), len(EVERY_TASK), len(EVERY_TASK), 0)]
    for view in VIEWS:
        stack.query(f"SELECT * FROM {view} LIMIT 1")
    answers = stack.query("SELECT question, answer FROM answers WHERE recording_id = :id", id=recording_id)
    assert [question for question, _ in answers] == ["is there a bell?"]
    assert answers[0][1] in ("yes", "no")
    languages = stack.query(
        "SELECT language, probability FROM languages WHERE recording_id = :id", id=recording_id
    )
    assert all(0 < probability <= 1 for _, probability in languages)
    assert languages
    summaries = stack.client.get(f"/v1/recordings/{recording_id}/summaries").json()["items"]
    assert {"language", "ask"} <= {summary["task"] for summary in summaries}


def test_a_stereo_call_split_keeps_its_two_people_apart(stack: Stack) -> None:
    uri = stack.put("split/call.m4a", (SAMPLES / "call.m4a").read_bytes())
    job_id = stack.submit([uri], ALL_TASKS, channels="split")
    assert stack.wait(job_id)["state"] == "succeeded"
    heard = stack.query(
        "SELECT c.channel, sum(c.speech_samples) FROM results r JOIN chunks c ON c.id = r.chunk_id "
        "JOIN requests q ON q.id = r.request_id JOIN job_recordings j ON j.recording_id = r.recording_id "
        "WHERE j.job_id = :job AND q.task = 'transcribe' GROUP BY c.channel ORDER BY 1",
        job=job_id,
    )
    assert [channel for channel, _ in heard] == [0, 1]
    assert all(speech > 5 * 16_000 for _, speech in heard)


def test_a_second_job_runs_only_the_task_that_is_new(stack: Stack) -> None:
    uri = stack.put("again/tour.ogg", (SAMPLES / "tour.ogg").read_bytes())
    first = stack.submit([uri], ["transcribe"])
    assert stack.wait(first)["state"] == "succeeded"
    second = stack.submit([uri], ["transcribe", "caption"])
    assert stack.wait(second)["state"] == "succeeded"
    passes = stack.query(
        "SELECT p.job_id, count(*), min(t.task), max(t.task) FROM passes p "
        "JOIN results r ON r.pass_id = p.id JOIN requests t ON t.id = r.request_id "
        "WHERE p.job_id IN (:first, :second) GROUP BY p.job_id",
        first=first,
        second=second,
    )
    assert {str(job): tasks for job, _, *tasks in passes} == {
        first: ["transcribe", "transcribe"],
        second: ["caption", "caption"],
    }
    assert len(stack.query("SELECT id FROM recordings WHERE uri = :uri", uri=uri)) == 1


def freeze_at_work(stack: Stack, process: WorkerProcess) -> list[tuple[Any, ...]]:
    """Stop the process dead at a moment when it holds leases, and return them."""
    held: list[tuple[Any, ...]] = []

    def frozen() -> bool:
        os.killpg(process.process.pid, signal.SIGSTOP)
        held[:] = stack.query("SELECT id, epoch FROM passes WHERE kind = 'understand' AND state = 'leased'")
        if not held:
            os.killpg(process.process.pid, signal.SIGCONT)
        return bool(held)

    wait_until(frozen, 60, "the GPU worker holds leases")
    return held


def test_a_gpu_worker_killed_in_mid_pass_loses_nothing_and_doubles_nothing(stack: Stack) -> None:
    body = (SAMPLES / "tour.ogg").read_bytes()
    uris = [stack.put(f"kill/{number}.ogg", body) for number in range(4)]
    job_id = stack.submit(uris, ALL_TASKS)
    doomed = next(
        process for process in stack.workers if "gpu" in process.log.name and process.process.poll() is None
    )
    held = freeze_at_work(stack, doomed)
    doomed.kill()
    stack.start_worker("gpu")
    assert stack.wait(job_id)["state"] == "succeeded"
    again = stack.query(
        "SELECT attempts, crashes, state FROM passes WHERE id IN "
        f"({', '.join(repr(str(pass_id)) for pass_id, _ in held)})"
    )
    assert set(again) == {(2, 1, "done")}
    doubled = stack.query("SELECT chunk_id FROM results GROUP BY chunk_id, request_id HAVING count(*) > 1")
    assert doubled == []
    wanted, found = stack.query(
        "SELECT sum(q.chunks_total), (SELECT count(*) FROM results r JOIN job_recordings j "
        "ON j.recording_id = r.recording_id WHERE j.job_id = :job) FROM recording_requests q "
        "JOIN job_recordings j ON j.recording_id = q.recording_id WHERE j.job_id = :job",
        job=job_id,
    )[0]
    assert wanted == found


def test_workers_go_on_when_redis_is_gone_and_the_api_accepts(
    stack: Stack, redis_server: RedisServer
) -> None:
    body = (SAMPLES / "voicemail.wav").read_bytes()
    redis_server.kill()
    try:
        job_id = stack.submit([stack.put("no-redis/a.wav", body)], ["transcribe"])
        assert stack.wait(job_id)["state"] == "succeeded"
    finally:
        redis_server.start()
    job_id = stack.submit([stack.put("no-redis/b.wav", body)], ["transcribe"])
    assert stack.wait(job_id)["state"] == "succeeded"


def test_bad_input_gets_its_code_and_the_others_go_on(stack: Stack, tmp_path: Path) -> None:
    uris, wanted = [], []
    for name, bad in make.BAD_AUDIO.items():
        uris.append(stack.put(f"bad/{name}{bad.suffix}", bad.write(tmp_path, name).read_bytes()))
        wanted.append(bad.code)
    uris += [f"s3://{BUCKET}/not/there.wav", "s3://no-such-bucket/a.wav", "file:///etc/hostname"]
    wanted += ["input_not_found", "input_not_found", "input_access_denied"]
    whole = make.encode(tmp_path / "whole.wav", make.tone(3.0, 16_000), 16_000, "pcm_s16le").read_bytes()
    uris.append(stack.put("bad/cut.wav", whole[: len(whole) // 2]))
    wanted.append("truncated")
    uris.append(stack.put("bad/none.wav", (SAMPLES / "voicemail.wav").read_bytes()))
    job_id = stack.submit(uris, ["caption"])
    job = stack.wait(job_id, 180)
    assert job["state"] == "partial"
    found = recordings_of(stack, job_id)
    codes = {item["uri"]: item["error"] and item["error"]["code"] for item in found}
    assert codes == dict(zip(uris, [*wanted, None], strict=True))
    assert all(item["error"]["message"] for item in found[:-1])
    assert [item["state"] for item in found[-2:]] == ["partial", "succeeded"]
    assert "declared 3" in found[-2]["error"]["message"]
    assert [process.process.poll() for process in stack.workers if "cpu" in process.log.name] == [None]


@pytest.mark.skipif(not REAL_AUDIO.is_dir(), reason="the real recordings are not beside this checkout")
def test_real_recordings_go_through_the_line(stack: Stack) -> None:
    files = sorted(path for path in REAL_AUDIO.iterdir() if path.suffix in (".wav", ".flac", ".mp3"))
    uris = [stack.put(f"real/{path.name}", path.read_bytes()) for path in files]
    job_id = stack.submit(uris, ALL_TASKS)
    assert stack.wait(job_id)["state"] == "succeeded"
    durations = dict(
        stack.query(
            "SELECT r.uri, r.duration_ms FROM recordings r JOIN job_recordings j ON j.recording_id = r.id "
            "WHERE j.job_id = :job",
            job=job_id,
        )
    )
    assert durations["s3://calls/real/1272-128104-0000.flac"] == 5_855
    assert durations["s3://calls/real/es.mp3"] == pytest.approx(8_320, abs=60)
