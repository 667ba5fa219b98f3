"""The process supervisor: logs, readiness, crashes, the order of stopping, and that nothing is left after a kill -9."""

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from config.bootstrap import PROJECT_DIRECTORY
from config.stack import ProcessDied, ProcessSupervisor, StackError
from tests.config.process_tree import descendants, is_alive, wait_until_gone

PYTHON = sys.executable
SLEEP = "import time; print('up', flush=True); time.sleep(600)"
# Starts a child of its own that ignores every polite signal, then sleeps.
WITH_STUBBORN_CHILD = """
import subprocess, sys, time
deafness = "import signal, time; [signal.signal(number, signal.SIG_IGN) for number in (1, 2, 15)]; "
child = deafness + "print('deaf', flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE).stdout.readline()
print("up", flush=True)
time.sleep(600)
"""
LAUNCHER = """
import sys, threading, time
from pathlib import Path
from config.stack import ProcessSupervisor

log_directory, code, in_thread = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "thread"
supervisor = ProcessSupervisor(log_directory, orphans_grace_seconds=1)

def start():
    is_up = lambda: "up" in (log_directory / "sleeper.log").read_text()
    supervisor.start("sleeper", [sys.executable, "-c", code], ready=is_up)
    print("ready", flush=True)

if in_thread:
    threading.Thread(target=start).start()
else:
    start()
time.sleep(600)
"""


def is_up(supervisor: ProcessSupervisor, name: str) -> bool:
    return "up" in (supervisor.log_directory / f"{name}.log").read_text()


def test_output_goes_to_a_log_named_after_the_process(processes: ProcessSupervisor) -> None:
    code = "import sys; print('to stdout'); print('to stderr', file=sys.stderr)"
    process = processes.start("talker", [PYTHON, "-u", "-c", code])
    process.popen.wait()
    assert process.log == processes.log_directory / "talker.log"
    assert process.log.read_text().splitlines() == ["to stdout", "to stderr"]


def test_a_crash_names_the_process_its_exit_and_its_last_lines(processes: ProcessSupervisor) -> None:
    processes.start("healthy", [PYTHON, "-c", SLEEP])
    code = "[print(f'line {n}') for n in range(100)]; raise SystemExit(3)"
    processes.start("crasher", [PYTHON, "-c", code]).popen.wait()
    with pytest.raises(ProcessDied, match=r"crasher ended with exit code 3") as caught:
        processes.wait(seconds=5)
    assert "line 99" in str(caught.value)
    assert "line 50" not in str(caught.value)


def test_a_killed_process_is_told_by_its_signal(processes: ProcessSupervisor) -> None:
    process = processes.start("victim", [PYTHON, "-c", SLEEP], ready=lambda: is_up(processes, "victim"))
    os.kill(process.popen.pid, signal.SIGKILL)
    process.popen.wait()
    with pytest.raises(ProcessDied, match="victim ended with signal SIGKILL"):
        processes.require_all_alive()


def test_ending_before_being_ready_is_a_crash(processes: ProcessSupervisor) -> None:
    with pytest.raises(ProcessDied, match="early ended with exit code 0"):
        processes.start("early", [PYTHON, "-c", "pass"], ready=lambda: False)


def test_never_being_ready_is_an_error(processes: ProcessSupervisor) -> None:
    with pytest.raises(StackError, match="slow was not ready after 0 s"):
        processes.start("slow", [PYTHON, "-c", SLEEP], ready=lambda: False, ready_timeout_seconds=0.3)


def test_a_name_is_used_once(processes: ProcessSupervisor) -> None:
    processes.start("one", [PYTHON, "-c", SLEEP])
    with pytest.raises(StackError, match="a process named one already runs"):
        processes.start("one", [PYTHON, "-c", SLEEP])


def test_processes_end_in_reverse_order_of_their_start(tmp_path: Path) -> None:
    ends = tmp_path / "ends"
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n open(sys.argv[2], 'a').write(sys.argv[1] + ' ')\n sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\nprint('up', flush=True)\ntime.sleep(600)"
    )
    with ProcessSupervisor(tmp_path / "logs") as supervisor:
        for name in ("first", "second", "third"):
            command = [PYTHON, "-c", code, name, str(ends)]
            supervisor.start(name, command, ready=partial(is_up, supervisor, name))
    assert ends.read_text().split() == ["third", "second", "first"]


def test_one_that_does_not_listen_is_killed_with_its_children(processes: ProcessSupervisor) -> None:
    process = processes.start("parent", [PYTHON, "-c", WITH_STUBBORN_CHILD], ready=lambda: is_up(processes, "parent"))
    family = {process.popen.pid} | descendants(process.popen.pid)
    assert len(family) == 2
    processes.stop("parent", timeout_seconds=1)
    assert wait_until_gone(family) == set()


def test_a_process_can_be_killed_and_started_again(processes: ProcessSupervisor) -> None:
    processes.start("worker", [PYTHON, "-c", SLEEP], ready=lambda: is_up(processes, "worker"))
    assert processes.kill("worker") == -signal.SIGKILL
    assert processes.names() == []
    assert processes.start("worker", [PYTHON, "-c", SLEEP]).popen.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("started_in", ["main", "thread"], ids=["the kernel's signal", "the watchdog alone"])
@pytest.mark.parametrize("code", [SLEEP, WITH_STUBBORN_CHILD], ids=["one process", "with a stubborn child"])
def test_nothing_is_left_after_the_launcher_is_killed(tmp_path: Path, code: str, started_in: str) -> None:
    launcher = subprocess.Popen(
        [PYTHON, "-c", LAUNCHER, str(tmp_path / "logs"), code, started_in],
        cwd=PROJECT_DIRECTORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert launcher.stdout is not None
    with launcher.stdout:
        assert launcher.stdout.readline() == "ready\n"
    family = descendants(launcher.pid)
    assert all(is_alive(pid) for pid in family)
    assert len(family) == (2 if code == SLEEP else 3)  # the watchdog is one of them
    launcher.kill()
    launcher.wait()
    assert wait_until_gone(family) == set()


def test_a_process_started_outside_the_main_thread_outlives_its_thread(processes: ProcessSupervisor) -> None:
    thread = threading.Thread(target=lambda: processes.start("sleeper", [PYTHON, "-c", SLEEP]))
    thread.start()
    thread.join()
    assert processes.process("sleeper").popen.poll() is None
