"""Names of unfinished files: whose they are, and whether nobody writes them any more."""

from __future__ import annotations

import os
import subprocess
import sys

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pacarchive.backends.hpss.temporaries import (
    OTHER_HOST_MAX_AGE,
    Writer,
    is_left_over,
    starting_time,
    this_writer,
)

ME = Writer(host="aaaaaaaa", boot="bbbbbbbb", namespace="cccccccc", pid=100, started=5000)
YOUNG, OLD = 0.0, OTHER_HOST_MAX_AGE + 1.0

digests = st.text("0123456789abcdef", min_size=8, max_size=8)
writers = st.builds(
    Writer,
    host=st.just(ME.host) | digests,
    boot=st.just(ME.boot) | digests,
    namespace=st.just(ME.namespace) | digests,
    pid=st.integers(1, 2**22),
    started=st.integers(0, 2**62),
)
ages = st.floats(-1e6, 1e9)


def nobody(pid: int) -> None:
    """No process lives."""


def asked_in_vain(pid: int) -> int | None:
    """There is no such process here to be asked after."""
    raise AssertionError(f"pid {pid} is of another machine, or another name space")


@given(writers)
def test_a_name_is_one_component(writer: Writer) -> None:
    """Short enough for HPSS, and of letters that need no care."""
    name = writer.new_name()
    assert len(name) < 255
    assert set(name) <= set("0123456789abcdef.")
    assert name != writer.new_name()


@given(writers, ages)
def test_what_is_being_written_is_not_left_over(writer: Writer, age: float) -> None:
    """Its writer asks itself, or another process of the same machine and name space."""
    others = attrs.evolve(writer, pid=writer.pid + 1, started=writer.started + 1)
    living = {writer.pid: writer.started, others.pid: others.started}
    assert not is_left_over(writer.new_name(), age, writer, living.get)
    assert not is_left_over(writer.new_name(), age, others, living.get)


@given(writers, ages)
def test_a_dead_neighbour_leaves_its_files_at_once(writer: Writer, age: float) -> None:
    """The process is gone, or its number has been given to another."""
    me = attrs.evolve(writer, pid=writer.pid + 1)
    assert is_left_over(writer.new_name(), age, me, nobody)
    assert is_left_over(writer.new_name(), age, me, {writer.pid: writer.started + 1}.get)


@given(writers, digests, ages)
def test_nobody_outlives_his_machine(writer: Writer, boot: str, age: float) -> None:
    """It has been started anew since; whoever has the number now is somebody else."""
    if boot != writer.boot:
        assert is_left_over(writer.new_name(), age, attrs.evolve(writer, boot=boot), asked_in_vain)


@pytest.mark.parametrize(
    "writer",
    [
        attrs.evolve(ME, host="dddddddd"),
        attrs.evolve(ME, host="dddddddd", boot="eeeeeeee"),
        attrs.evolve(ME, namespace="dddddddd"),
    ],
)
@pytest.mark.parametrize(("age", "left_over"), [(-1.0, False), (YOUNG, False), (OLD - 2, False), (OLD, True)])
def test_who_cannot_be_asked_after_has_a_week(writer: Writer, age: float, left_over: bool) -> None:
    """On another machine, or in another container of this one."""
    assert is_left_over(writer.new_name(), age, ME, asked_in_vain) is left_over


@given(st.text() | st.lists(st.text(max_size=8), min_size=6, max_size=6).map(".".join))
def test_what_is_not_ours_is_left_alone(name: str) -> None:
    """However old: somebody put it there, and knows why."""
    parts = name.split(".")
    assume(len(parts) != 6 or not (parts[3].isdecimal() and parts[4].isdecimal()))
    assert not is_left_over(name, OLD, ME, nobody)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "README",
        ".....",
        "aaaaaaaa.bbbbbbbb.cccccccc..5000.d",
        "aaaaaaaa.bbbbbbbb.cccccccc.100..d",
        "aaaaaaaa.bbbbbbbb.cccccccc.\u00b2.5000.d",
        "aaaaaaaa.bbbbbbbb.cccccccc.-1.5000.d",
        "aaaaaaaa.bbbbbbbb.cccccccc.100.5000",
        "aaaaaaaa.bbbbbbbb.cccccccc.100.5000.d.e",
    ],
)
def test_names_like_ours(name: str) -> None:
    """Without a number where one should be."""
    assert not is_left_over(name, OLD, ME, nobody)


# the real /proc


def test_this_process() -> None:
    """It is alive, and says so."""
    me = this_writer()
    assert me.pid == os.getpid()
    assert me.started == starting_time(os.getpid())
    assert this_writer() == me
    assert not is_left_over(me.new_name(), OLD, me, starting_time)


def test_another_process_lives_until_it_ends() -> None:
    """What it is called makes no difference: the name may hold anything, parentheses and blanks among it."""
    rename = "import ctypes; ctypes.CDLL(None).prctl(15, b'a) (b 1 2', 0, 0, 0)"
    command = [sys.executable, "-c", f"{rename}; print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        me = this_writer()
        started = starting_time(child.pid)
        assert started is not None
        assert started >= me.started
        name = attrs.evolve(me, pid=child.pid, started=started).new_name()
        assert not is_left_over(name, OLD, me, starting_time)
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert starting_time(child.pid) is None, "dead, though its parent has not asked after it"
        assert is_left_over(name, YOUNG, me, starting_time)
        child.wait(timeout=30)
        assert starting_time(child.pid) is None
        assert is_left_over(name, YOUNG, me, starting_time)
