from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from cli.errors import ProcessFailed
from cli.supervisor import Command, Supervisor, describe_exit, module_command

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def script(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def wait_for(check, seconds: float = 10.0):
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def supervise(told):
    supervisors: list[Supervisor] = []

    def make(*commands: Command, **options) -> Supervisor:
        supervisor = Supervisor(commands, tell=told.append, **options)
        supervisors.append(supervisor)
        supervisor.start()
        return supervisor

    yield make
    for supervisor in supervisors:
        supervisor.stop(0.0)


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_a_dead_process_starts_again_after_a_pause_and_says_so(supervise, told):
    clock = Clock()
    supervisor = supervise(Command("worker", SLEEP), now=clock)
    first = supervisor.pids["worker"]

    os.kill(first, signal.SIGKILL)
    wait_for(lambda: supervisor.poll() or "worker" not in supervisor.pids)
    supervisor.poll()
    assert supervisor.pids == {}
    assert told == ["worker ended with signal SIGKILL; it starts again in 1 s"]

    clock.time += 1.1
    supervisor.poll()
    assert supervisor.pids["worker"] != first


def test_the_pauses_grow_and_quick_deaths_end_it(supervise, told):
    clock = Clock()
    supervisor = supervise(Command("worker", script("import sys; sys.exit(3)")), now=clock)

    def go_on() -> bool:
        supervisor.poll()
        clock.time += 0.1 if not supervisor.pids else 0.0
        return False

    with pytest.raises(ProcessFailed, match="worker ended with exit code 3, 5 times in a row"):
        wait_for(go_on)
    assert [line.rpartition(" in ")[2] for line in told] == ["1 s", "2 s", "4 s", "8 s"]


def test_a_process_that_had_come_up_is_not_held_against_itself(supervise, told):
    clock = Clock()
    supervisor = supervise(Command("worker", SLEEP), now=clock)
    for _ in range(7):
        clock.time += 60
        os.kill(supervisor.pids["worker"], signal.SIGKILL)
        wait_for(lambda: supervisor.poll() or "worker" not in supervisor.pids)
        clock.time += 1.1
        supervisor.poll()

    assert {line.rpartition(" in ")[2] for line in told} == {"1 s"}


def test_without_restarts_the_first_death_is_the_end_and_the_log_is_told(supervise, tmp_path):
    log = tmp_path / "worker.log"
    code = "import sys; print('no such table', file=sys.stderr); sys.exit(2)"
    supervisor = supervise(Command("worker", script(code), log=log), restart=False)

    with pytest.raises(ProcessFailed, match=r"exit code 2\. The end of .*worker\.log:\nno such table"):
        wait_for(supervisor.poll)


def test_stop_ends_all_processes_at_once(supervise):
    supervisor = supervise(*(Command(f"w{i}", SLEEP) for i in range(3)))
    pids = list(supervisor.pids.values())

    began = time.monotonic()
    supervisor.stop()

    assert time.monotonic() - began < 5
    assert not any(map(alive, pids))


def test_a_process_may_end_its_work_before_it_ends(supervise, tmp_path):
    log = tmp_path / "log"
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n    time.sleep(0.3)\n    print('gave back', flush=True)\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\nprint('up', flush=True)\ntime.sleep(60)"
    )
    supervisor = supervise(Command("worker", script(code), log=log))
    wait_for(lambda: log.exists() and "up" in log.read_text())

    supervisor.stop()

    assert "gave back" in log.read_text()


def test_a_process_that_does_not_end_is_killed_with_its_children(supervise, told, tmp_path):
    log = tmp_path / "log"
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(60)"
    )
    supervisor = supervise(Command("worker", script(code), log=log))
    wait_for(lambda: log.exists() and log.read_text().strip())
    grandchild = int(log.read_text())

    supervisor.stop(0.2)

    assert "killing it" in told[0]
    wait_for(lambda: not alive(grandchild) or _is_zombie(grandchild))


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_process_gets_its_environment_and_its_sockets(supervise, tmp_path):
    read_end, write_end = os.pipe()
    code = f"import os; os.write({write_end}, os.environ['GREETING'].encode())"
    supervise(Command("api", script(code), env={"GREETING": "hello"}, keep_fds=[write_end]))
    os.close(write_end)

    with open(read_end, "rb") as pipe:
        assert pipe.read() == b"hello"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_processes_end_when_their_supervisor_is_killed(tmp_path):
    code = (
        "import sys, time\nfrom cli.supervisor import Command, Supervisor\n"
        f"s = Supervisor([Command('w', {SLEEP!r})], tell=print)\n"
        "s.start()\ntime.sleep(0.5)\nprint(s.pids['w'], flush=True)\ntime.sleep(60)"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    with supervisor.stdout:
        pid = int(supervisor.stdout.readline())
        assert alive(pid)
        supervisor.kill()
        supervisor.wait()

    wait_for(lambda: not alive(pid) or _is_zombie(pid))


def test_a_tethered_command_does_not_start_when_its_parent_is_gone(tmp_path):
    marker = tmp_path / "ran"
    command = [sys.executable, "-m", "cli.tether", "1", *script(f"open({str(marker)!r}, 'w')")]

    assert subprocess.run(command, check=False).returncode == 1
    assert not marker.exists()


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [(0, "exit code 0"), (2, "exit code 2"), (-9, "signal SIGKILL"), (-99, "signal 99")],
)
def test_how_a_process_ended_is_said_in_words(exit_code, words):
    assert describe_exit(exit_code) == words


def test_a_module_of_ours_does_not_look_into_the_folder_of_the_user(tmp_path):
    (tmp_path / "cli.py").write_text("raise SystemExit('this is no module of Earwitness')")
    ended = subprocess.run(module_command("cli.main", "--help"), cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
