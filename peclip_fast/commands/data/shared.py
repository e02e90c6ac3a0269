"""What the data commands share."""

from __future__ import annotations

from peclip_fast.commands.shared.options import OF_SPLITS, CommandLine, CommandLineValues, positive
from peclip_fast.config.run import RunConfig

OPTIONS = (*OF_SPLITS, "data.num_workers")


def data_line(name: str, description: str, usage: str, *shows: str) -> CommandLine:
    """The command line of ``peclip-fast data NAME``."""
    usage = f"CONFIG [--data.root FOLDER] {usage}"
    line = CommandLine(f"data {name}", description, usage, (*OPTIONS, *shows))
    line.add_config_argument()
    line.add("--timeout", type=float, default=600.0, metavar="SECONDS",
             help="for one clip, after which it counts as bad")  # fmt: skip
    return line


def read(line: CommandLine, argv: list[str]) -> tuple[CommandLineValues, RunConfig]:
    """The command's own arguments, and the configuration."""
    given = line.read(argv)
    positive("timeout", given.own.timeout)
    return given, given.of_config()
