"""``peclip-fast info``: what a configuration trains, and which kernels would run."""

from __future__ import annotations

import json
from collections.abc import Sequence

from peclip_fast.commands.shared.options import CommandLine
from peclip_fast.commands.shared.running import run_command
from peclip_fast.config.layers import config_layers

DESCRIPTION = """Count the trained parameters of a configuration, by part, and the frozen ones, and
say which kernels would run it here, with the reason for each that would not, and what was found by
checking them on this machine, with times in ms: of a forward pass, and of both passes."""


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

    from peclip_fast.engine.kernels.table import known_here, table_text
    from peclip_fast.models.description import as_text, describe_model

    verdicts = known_here()
    found = describe_model(config.model) | {"verdicts": verdicts}
    if given.own.json:
        print(json.dumps(found, indent=2))
        return
    print(as_text(found))
    for device, rows in verdicts.items():
        print("\n".join(["", f"checked on {device}", *table_text(rows)]))
