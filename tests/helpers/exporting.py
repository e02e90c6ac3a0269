"""What is done with exported files in processes of their own (helpers.forked)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from peclip_fast.commands.shared.main import script
from peclip_fast.export import export
from peclip_fast.export.formats import read_exported
from peclip_fast.stopping import Stopped, watch


def read_two(path: Path) -> None:
    """Read a file twice and take both away, then be signalled and say so."""
    first, second = (read_exported(path) for _ in range(2))
    del first
    del second
    try:
        with watch():
            signal.raise_signal(signal.SIGTERM)
    except Stopped as stopped:
        print(stopped)


def export_signalled(number: int, argv: Sequence[str]) -> None:
    """The command, signalled while the file is checked, which takes long."""

    def check(*_: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(60)

    export._compared = check  # type: ignore[assignment]
    script(["export", *argv])
