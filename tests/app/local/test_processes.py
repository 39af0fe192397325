"""Child processes: their lines are named, their end is told, and none outlives the process that started it."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from app.local.processes import Children, interruptible
from tests.app.local.other import Other, exists, until

PYTHON = sys.executable

# Starts a child that starts a child of its own and tells both numbers; then waits to be killed.
FAMILY = """
import sys, time
from app.local.processes import Children
inner = "import os, signal, subprocess, time; c = subprocess.Popen(['sleep', '600']); "
if sys.argv[1] == "stubborn":
    inner += "signal.signal(signal.SIGTERM, signal.SIG_IGN); "
inner += "print('family', os.getpid(), c.pid); time.sleep(600)"
with Children(lambda line: print(line, flush=True), limit=0.3) as children:
    children.start("web", [sys.executable, "-c", inner])
    time.sleep(600)
"""


def test_each_line_carries_its_childs_name() -> None:
    said: list[str] = []
    with Children(said.append) as children:
        children.start("web", [PYTHON, "-c", "print('listening'); import sys; print('careful', file=sys.stderr)"])
        assert children.wait(20) is not None
    assert sorted(said) == ["web    | careful", "web    | listening"]


def test_a_child_that_ends_is_named_with_its_status_and_its_last_lines() -> None:
    with Children(lambda _: None) as children:
        children.start("web", ["sleep", "600"])
        children.start("worker", [PYTHON, "-c", "for n in range(100): print('line', n)\nraise SystemExit(3)"])
        ended = children.wait(20)
    assert ended is not None
    assert (ended.name, ended.status) == ("worker", 3)
    assert ended.last_lines == tuple(f"line {number}" for number in range(80, 100))
    assert str(ended).startswith("The worker process ended with status 3. The last it said:\n  line 80")


def test_a_child_that_was_killed_is_told_by_its_signal() -> None:
    with Children(lambda _: None) as children:
        children.start("worker", [PYTHON, "-c", "import os; os.kill(os.getpid(), 9)"])
        ended = children.wait(20)
    assert "was ended by SIGKILL" in str(ended)
    assert "(nothing)" in str(ended)


def test_waiting_gives_up_after_the_time_given() -> None:
    with Children(lambda _: None) as children:
        children.start("web", ["sleep", "600"])
        assert children.wait(0.05) is None


def test_a_child_may_finish_what_it_does_when_it_is_stopped() -> None:
    code = (
        "import signal, sys, time\n"
        "def finish(*_):\n    print('finished'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, finish)\nprint('ready')\ntime.sleep(600)"
    )
    said: list[str] = []
    with Children(said.append) as children:
        children.start("worker", [PYTHON, "-c", code])
        until(lambda: said)
    assert said == ["worker | ready", "worker | finished"]


def test_a_child_may_ask_for_another_signal() -> None:
    code = (
        "import signal, sys, time\n"
        "def finish(*_):\n    print('cold'); sys.exit(0)\n"
        "signal.signal(signal.SIGQUIT, finish)\nprint('ready')\ntime.sleep(600)"
    )
    said: list[str] = []
    with Children(said.append) as children:
        children.start("worker", [PYTHON, "-c", code], stop_signal=signal.SIGQUIT)
        until(lambda: said)
    assert said[-1] == "worker | cold"


def test_a_child_that_will_not_stop_is_killed_at_the_limit() -> None:
    code = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid()); time.sleep(600)"
    said: list[str] = []
    with Children(said.append, limit=0.3) as children:
        children.start("worker", [PYTHON, "-c", code])
        until(lambda: said)
    assert not exists(int(said[0].split("|")[1]))


def test_what_a_child_left_behind_is_ended_with_it() -> None:
    said: list[str] = []
    with Children(said.append) as children:
        children.start("worker", [PYTHON, "-c", "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"])
        assert children.wait(20) is not None
        until(lambda: not exists(int(said[0].split("|")[1])))


@pytest.mark.parametrize("manner", ["obedient", "stubborn"])
def test_children_and_theirs_die_with_a_parent_that_is_killed(manner: str) -> None:
    with Other(FAMILY, manner) as parent:
        child, grandchild = map(int, parent.line().split("family")[1].split())
        assert exists(child)
        assert exists(grandchild)
        parent.process.kill()
        until(lambda: not exists(child))
        until(lambda: not exists(grandchild))


def test_children_are_out_of_reach_of_the_terminals_ctrl_c() -> None:
    with Children(lambda _: None) as children:
        leash = children.start("web", ["sleep", "600"])
        assert os.getpgid(leash) != os.getpgid(0)
        assert os.getsid(leash) != os.getsid(0)


def test_the_environment_is_added_to_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_TEST_OUTER", "outer")
    code = "import os; print(os.environ['HONE_TEST_OUTER'], os.environ['HONE_TEST_INNER'])"
    said: list[str] = []
    with Children(said.append) as children:
        children.start("web", [PYTHON, "-c", code], environment={"HONE_TEST_INNER": "inner"})
        assert children.wait(20) is not None
    assert said == ["web    | outer inner"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_every_way_of_asking_to_stop_interrupts_the_wait(number: signal.Signals) -> None:
    with interruptible(), Children(lambda _: None) as children:
        children.start("web", ["sleep", "600"])
        timer = threading.Timer(0.05, os.kill, [os.getpid(), number])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            children.wait(20)
        timer.join()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_command_that_does_not_exist_is_told_like_any_other_end(tmp_path: Path) -> None:
    with Children(lambda _: None) as children:
        children.start("web", [str(tmp_path / "nothing")])
        ended = children.wait(20)
    assert ended is not None
    assert ended.status != 0
    assert any("nothing" in line for line in ended.last_lines)


def test_a_child_that_is_started_again_for_days_holds_no_more_than_one() -> None:
    with Children(lambda _: None) as children:
        held = []
        for _ in range(4):
            children.start("worker", [PYTHON, "-c", "pass"])
            assert children.wait(20) is not None
            held.append(sum(1 for _ in Path("/dev/fd").iterdir()))
    assert len(set(held)) == 1
