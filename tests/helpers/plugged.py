"""Commands with plugins, in forks (helpers.forked)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from peclip_fast.commands.shared.main import script


def command(packages: str, argv: Sequence[str]) -> None:
    """A command where pip has installed plugins into a folder."""
    sys.path.insert(0, packages)
    script(argv)
