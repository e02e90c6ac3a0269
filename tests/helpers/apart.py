"""What is done in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from typing import Any


def apart(function: Callable[..., Any], *args: object) -> None:
    """Call it in a forked process.

    For SVT-AV1: if it is root's, it makes the whole process one of real time, and so those that it
    starts. All others wait for them.
    """
    child = get_context("fork").Process(target=function, args=args)
    child.start()
    child.join()
    assert child.exitcode == 0
