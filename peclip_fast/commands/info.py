"""``peclip-fast info``: what a configuration trains, and which kernels would run."""

from __future__ import annotations

import json
from collections.abc import Sequence

from peclip_fast.commands.options import CommandLine
from peclip_fast.commands.running import run_command
from peclip_fast.config.layers import config_layers

DESCRIPTION = """Count the trained parameters of a configuration, by part, and the frozen ones, and
say which kernels would run it here, with the reason for each that would not."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(_info, argv)


def _info(argv: list[str]) -> None:
    line = CommandLine("info", DESCRIPTION, "[--config NAME ...] [--model.reduction 4] [--json]",
                       ("model.*",))  # fmt: skip
    line.add_config()
    line.add("--json", action="store_true", help="print JSON")
    given = line.read(argv)
    files = {"cues": "any", "descriptions": "any"}  # counts depend on no clip
    config = given.resolve([("info", {"data": files}), *config_layers(given.own.config)])

    from peclip_fast.models.description import as_text, describe_model

    found = describe_model(config.model)
    print(json.dumps(found, indent=2) if given.own.json else as_text(found))
