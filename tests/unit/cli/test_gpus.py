from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from cli import gpus, service
from cli.commands.service import MARGIN_SECONDS
from cli.errors import NoGpu, UnknownGpu
from cli.supervisor import Command, Supervisor


def test_gpus_are_numbered_unless_the_environment_allows_others(monkeypatch):
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    assert gpus.list_gpus(lambda: 3) == ["0", "1", "2"]
    assert gpus.list_gpus(lambda: 0) == []
    monkeypatch.setenv(gpus.VISIBLE, "2, GPU-ab12")
    assert gpus.list_gpus(lambda: 2) == ["2", "GPU-ab12"]
    assert gpus.list_gpus(lambda: 1) == ["2"]  # torch passes over what is behind one that is not there


def test_all_means_every_gpu_and_names_choose():
    assert gpus.choose_gpus("all", ["0", "1"]) == ["0", "1"]
    assert gpus.choose_gpus("1, 0", ["0", "1", "2"]) == ["1", "0"]


@pytest.mark.parametrize(("asked", "said"), [("3", "no GPU '3'"), ("0,0", "twice"), ("0,", "no GPU ''")])
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(asked, said):
    with pytest.raises(UnknownGpu, match=said) as refused:
        gpus.choose_gpus(asked, ["0", "1"])
    assert "all, or some of 0,1" in str(refused.value)


def test_a_machine_without_a_gpu_says_what_to_do():
    with pytest.raises(NoGpu, match=r"nvidia-smi.*--kind gpu"):
        gpus.choose_gpus("all", [])


def test_every_worker_sees_its_own_gpu_alone():
    first, second = gpus.worker_commands("gpu", ["0", "GPU-ab12"])
    assert first.argv == [sys.executable, "-P", "-m", "workers.gpu"]
    assert first.env == {"CUDA_VISIBLE_DEVICES": "0", "EARWITNESS_DEVICE": "cuda"}
    assert second.env["CUDA_VISIBLE_DEVICES"] == "GPU-ab12"
    assert first.name != second.name
    assert gpus.worker_commands("chat", ["0"])[0].argv[-1] == "workers.chat"


def test_torch_is_asked_in_another_process():
    code = "import sys, cli.gpus as g; n = g.count_devices(); sys.exit('torch' in sys.modules or n < 0)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=110).returncode == 0


def test_a_torch_that_cannot_be_asked_means_no_gpu(monkeypatch):
    monkeypatch.setattr(gpus, "_COUNT", "import no_such_module")
    assert gpus.count_devices() == 0


def test_the_command_says_what_to_do_where_there_is_no_gpu(run, monkeypatch):
    monkeypatch.setattr(gpus, "list_gpus", list)
    done = run("worker", "--gpus", "all")
    assert done.exit_code == 1
    assert "torch sees no GPU here" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--kind", "cpu", "--gpus", "all"), "a CPU worker uses no GPU"),
        ((), "'cpu', 'gpu'"),
    ],
)
def test_what_does_not_fit_together_is_refused(run, arguments, said):
    done = run("worker", *arguments)
    assert done.exit_code == 2
    assert said in done.output


def test_missing_packages_are_named_before_a_gpu_is_looked_for(run, monkeypatch):
    monkeypatch.setattr(service, "MODEL_PACKAGES", ("no_such_package",))
    monkeypatch.setattr(gpus, "list_gpus", lambda: pytest.fail("looked"))
    assert "no_such_package" in run("worker", "--gpus", "all").stderr


def test_a_checkpoint_that_is_not_there_is_said_once_before_anything_starts(run, monkeypatch, tmp_path):
    monkeypatch.setattr(gpus, "list_gpus", lambda: pytest.fail("looked"))
    monkeypatch.setenv("EARWITNESS_MODEL", str(tmp_path / "nothing"))
    done = run("worker", "--gpus", "all")
    assert done.exit_code == 1
    assert "nothing" in done.stderr
    assert "EARWITNESS_MODEL" in done.stderr


WORKER = """
import os, signal, sys, time
name = os.path.join({folder!r}, os.environ["CUDA_VISIBLE_DEVICES"])
def end(*_):
    open(name + ".ended", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
with open(name, "a") as file:
    file.write(str(os.getpid()) + chr(10))
time.sleep(60)
"""


def test_a_worker_that_ends_starts_again_and_sigterm_reaches_all(run, monkeypatch, tmp_path):
    """Two GPUs that are not there, each with a process that notes its start and its end."""

    def commands(kind, names):
        code = WORKER.format(folder=str(tmp_path))
        return [
            Command(f"{kind} {name}", [sys.executable, "-c", code], env={gpus.VISIBLE: name})
            for name in names
        ]

    def pids(name):
        path = tmp_path / name
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def until(check):
        end = time.monotonic() + 60
        while not check() and time.monotonic() < end:
            time.sleep(0.02)

    def disturb():
        until(lambda: pids("4") and pids("7"))
        os.kill(pids("4")[0], signal.SIGKILL)
        until(lambda: len(pids("4")) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(gpus, "list_gpus", lambda: ["4", "7"])
    monkeypatch.setattr(gpus, "worker_commands", commands)
    monkeypatch.setenv("EARWITNESS_DRAIN_SECONDS", "37")
    graces, stop = [], Supervisor.stop

    def stop_and_note(supervisor, grace_seconds=0.0):
        graces.append(grace_seconds)
        stop(supervisor, grace_seconds)

    monkeypatch.setattr(Supervisor, "stop", stop_and_note)
    disturber = threading.Thread(target=disturb)
    disturber.start()
    done = run("worker", "--gpus", "all")
    disturber.join()

    assert done.exit_code == 0, done.output
    assert graces == [37 + MARGIN_SECONDS]
    assert (len(pids("4")), len(pids("7"))) == (2, 1)
    assert "gpu 4 ended with signal SIGKILL; it starts again in 1 s" in done.stderr
    assert all((tmp_path / f"{name}.ended").exists() for name in ("4", "7"))
    for pid in (*pids("4"), *pids("7")):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
