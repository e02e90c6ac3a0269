"""Signals that come where Python can raise nothing are raised a moment later."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from peclip_fast.errors import InputError
from peclip_fast.stopping import Stopped, hold, named, watch

# A process that gets a signal in a callback, once or twice, and says what became of it.
PROGRAM = """
import _imp, gc, os, signal, sys, threading, time, types, weakref
from importlib.machinery import ExtensionFileLoader

where, number = sys.argv[1], signal.Signals[sys.argv[2]]
signals, done = int(sys.argv[3]), []


def callback(*_):
    global signals
    if signals and os.getpid() == main:
        signals -= 1
        os.kill(main, number)
        time.sleep(0)  # the handler is called here at the latest
        done.append("callback")


main = os.getpid()
at, _, when = where.partition(":")
if when == "earlier":
    os.register_at_fork(**{at: callback})

from peclip_fast.stopping import Stopped, hold, watch

if when == "later":
    os.register_at_fork(**{at: callback})


class Thing:
    if where == "del":
        __del__ = callback


class Ring:
    def __init__(self):
        self.ring = self


class Deep:
    def __del__(self):
        library()
        done.append("to the end")


def library():
    callback()


def start(module):
    try:
        library()
    except BaseException:
        raise ImportError("initialization failed")
    done.append("to the end")


def provoke():
    if when:
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    elif where == "weakref":
        thing = Thing()
        reference = weakref.ref(thing, callback)
        del thing
    elif where == "gc":
        gc.callbacks.append(callback)
        gc.collect()
        gc.callbacks.remove(callback)
    elif where == "in a destructor":
        Deep()
    elif where == "in a compiled module":
        # As PyInit_ functions do that import modules of their own.
        started, _imp.exec_dynamic = _imp.exec_dynamic, start
        try:
            ExtensionFileLoader("module", "module.so").exec_module(types.ModuleType("module"))
        finally:
            _imp.exec_dynamic = started
    else:
        Thing()


def rest():
    end = time.monotonic() + 20
    while time.monotonic() < end:
        provoke()
        time.sleep(0.001)
    print("never stopped")


try:
    with watch():
        if sys.argv[4:]:
            with hold():
                provoke()
                time.sleep(0.1)
                done.append("held")
        else:
            rest()
except Stopped as stopped:
    print(stopped.exit_code, *done, sep=", ")
"""

FORKS = [f"{at}:{when}" for at in ("before", "after_in_parent") for when in ("earlier", "later")]


def said(*argv: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM, *argv]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.stderr == ""
    return ended.stdout.strip()


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("where", [*FORKS, "del", "weakref", "gc"])
def test_a_signal_in_a_callback_is_raised_after_it(where: str, number: str) -> None:
    code = 128 + signal.Signals[number]
    assert said(where, number, "1").split(", ")[0] == str(code)


@pytest.mark.parametrize("where", ["before:earlier", "after_in_parent:earlier"])
def test_forks_are_done_to_their_end(where: str) -> None:
    assert said(where, "SIGTERM", "1") == "143, callback"


@pytest.mark.parametrize("where", ["in a destructor", "in a compiled module"])
def test_what_would_lose_it_is_done_to_its_end(where: str) -> None:
    assert said(where, "SIGINT", "1").startswith("130, callback, to the end")


@pytest.mark.parametrize(
    "where", ["before:later", "weakref", "in a destructor", "in a compiled module"]
)
def test_what_is_held_is_done_to_its_end_too(where: str) -> None:
    assert said(where, "SIGTERM", "1", "held").endswith("held")


def test_a_signal_that_is_passed_on_is_the_same() -> None:
    assert said("weakref", "SIGTERM", "3").startswith("143")


@pytest.mark.parametrize("made", [KeyboardInterrupt, ImportError, InputError])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_a_library_makes_of_it_is_named_again(number: int, made: type[BaseException]) -> None:
    def library() -> None:
        error = made("something else")
        with contextlib.suppress(Stopped):  # as compiled code does, which keeps no context
            signal.raise_signal(number)
        raise error

    with pytest.raises(Stopped) as stopped, watch(), named():
        library()
    assert stopped.value.number == number


def test_what_fails_while_it_is_answered_stays() -> None:
    def save() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except Stopped:
            raise OSError("the disk is full") from None

    with pytest.raises(OSError, match="full"), watch(), named():
        save()


def test_what_fails_while_it_is_held_stays() -> None:
    def read() -> None:
        with hold():
            signal.raise_signal(signal.SIGTERM)
            raise InputError("a bad clip")

    with pytest.raises(InputError), watch(), named():
        read()


def test_an_interrupt_of_its_own_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt) as error, watch(), named():
        raise KeyboardInterrupt
    assert not isinstance(error.value, Stopped)
