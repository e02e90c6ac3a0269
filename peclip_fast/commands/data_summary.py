"""``peclip-fast data summary``."""

from __future__ import annotations

from collections.abc import Sequence

from peclip_fast.commands import data
from peclip_fast.commands.running import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(data._summary, argv)
