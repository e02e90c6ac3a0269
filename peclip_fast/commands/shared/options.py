"""What the commands share in reading a command line, and their help.

A command's own arguments are argparse's. The dotted options (``--data.root``) are those of
configurations; a command shows those that mean something to it and takes the others, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NoReturn

from peclip_fast.config.layers import SECTIONS, config_layers
from peclip_fast.config.parser import (
    DEFAULT_METHOD,
    Layer,
    check_names,
    chosen_method,
    options_of,
    resolve,
    split,
)
from peclip_fast.config.run import RunConfig
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError, hint

ALL = ("*",)
# Where a run's clips and files are now, and how its model is run.
OF_MACHINE = ("model.backend", "train.device", "train.threads", "train.precision", "train.compile",
              "train.eval_batch_size", "data.num_workers", "data.prefetch")  # fmt: skip
OF_FILES = ("data.cues", "data.descriptions", *OF_MACHINE)
OF_SPLITS = ("data.dataset", "data.root", "data.fold", "data.train_list", "data.test_list",
             "data.classes", "data.shots", "data.shots_seed", "data.on_bad_clip")  # fmt: skip
OF_TEST = ("data.dataset", "data.root", "data.fold", "data.test_list", "data.classes",
           "data.decoder", "data.noise", "data.on_bad_clip", *OF_FILES)  # fmt: skip
GROUPS = {"model": "model", "data": "clips, and how they become batches", "train": "training"}
OTHER_METHOD = "--model.method METHOD --help shows the options of another method."
OTHERS = "All other options of `peclip-fast train --help` can be given, too."


class CommandLine:
    """Reads the arguments of a command.

    Args:
        name: of the command.
        description: what it does.
        usage: its arguments.
        shows: the options of configurations that its help lists, by name or pattern.
        of_run: whether the configuration is a run's, whose options are the defaults.
    """

    def __init__(
        self,
        name: str,
        description: str,
        usage: str,
        shows: Sequence[str] = ALL,
        of_run: bool = False,
    ) -> None:
        prog = f"peclip-fast {name}"
        self.shows, self.of_run = tuple(shows), of_run
        self.parser = _Parser(
            prog=prog,
            usage=f"{prog} {usage}",
            description=" ".join(description.split()),
            formatter_class=_Help,
            allow_abbrev=False,
        )
        self.add = self.parser.add_argument

    def add_config(self) -> None:
        """The option ``--config``."""
        self.add(
            "--config", nargs="+", metavar="NAME", default=[],
            help="packaged configurations by name, or files; the later over the earlier",
        )  # fmt: skip

    def add_config_argument(self) -> None:
        """The argument CONFIG."""
        self.add("config", metavar="CONFIG", help="a packaged configuration's name, or a file")

    def read(self, argv: Sequence[str]) -> CommandLineValues:
        """The arguments, or InputError; prints the help and exits where it is asked for."""
        own, dotted = split(argv)
        if dotted and not self.shows:
            raise InputError(f"unknown option {dotted[0].partition('=')[0]}")
        if {"-h", "--help"} & set(own):
            print(self.help(_config_names(own), dotted), flush=True)
            raise SystemExit(0)
        known = [name for action in self.parser._actions for name in action.option_strings]
        for word in own:
            name = word.partition("=")[0]
            if name.startswith("--") and name not in known:
                options = [option.name for option in options_of(DEFAULT_METHOD)]
                raise InputError(f"unknown option {name}{hint(name, [*known, *options])}")
        check_names(dotted)
        return CommandLineValues(self.parser.parse_args(own), dotted)

    def help(self, config: Sequence[str] = (), dotted: Sequence[str] = ()) -> str:
        """The help, with the options of the method that the arguments choose."""
        options = options_of(chosen_method(config_layers(config), dotted))
        for section in SECTIONS:
            group = None
            for name, text, default in options:
                key = name.removeprefix("--")
                shown = any(fnmatch(key, pattern) for pattern in self.shows)
                if shown and key.startswith(f"{section}."):
                    group = group or self.parser.add_argument_group(GROUPS[section])
                    # As YAML has it.
                    value = str(default).lower() if isinstance(default, bool) else default
                    value = None if self.of_run else value
                    group.add_argument(name, metavar="VALUE", help=text, default=value)
        if self.shows:
            self.parser.epilog = OTHER_METHOD if self.shows == ALL else OTHERS
        if self.of_run:
            self.parser.epilog = f"Without an option the run's own value holds. {OTHERS}"
        return self.parser.format_help().rstrip()


class CommandLineValues:
    """What a command line says: ``own`` by argument, and the options of configurations."""

    def __init__(self, own: argparse.Namespace, dotted: list[str]) -> None:
        self.own: Any = own
        self._dotted = dotted

    def resolve(self, layers: Sequence[Layer]) -> RunConfig:
        """The configuration, with the command line's options over layers of others."""
        return resolve(layers, self._dotted)

    def of_config(self) -> RunConfig:
        """The configuration that the argument CONFIG names."""
        try:
            layers = config_layers([self.own.config])
        except InputError as error:  # it isn't an option here
            raise InputError(str(error).replace("--config", "CONFIG", 1)) from None
        return self.resolve(layers)

    def of_run(self, run: RunFolder) -> RunConfig:
        """The configuration of a run that has ended; InputError where there is none."""
        run.check_trained()
        return self.resolve(run.layers())


def run_line(name: str, description: str, usage: str, shows: Sequence[str]) -> CommandLine:
    """The command line of a command that uses a run that has ended."""
    return CommandLine(name, description, usage, shows, of_run=True)


def positive(name: str, value: float | None) -> None:
    """Raise InputError unless an option of the command's own is above 0 or not given."""
    if value is not None and not 0 < value < float("inf"):
        raise InputError(f"--{name} {value:g}: expected more than 0")


def required(name: str, value: str | None, what: str) -> Path:
    """The path of an option that must be given."""
    if value is None:
        raise InputError(f"--{name}: expected {what}")
    return Path(value)


def _config_names(own: Sequence[str]) -> list[str]:
    """What ``--config`` is given, in a command line that may lack other arguments."""
    names: list[str] = []
    inside = False
    for word in own:
        if word.startswith("-"):
            inside = word == "--config"
        elif inside:
            names.append(word)
    return names


class _Parser(argparse.ArgumentParser):
    """Whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        """A wrong argument."""
        raise InputError(message.removeprefix("argument "))


class _Help(argparse.HelpFormatter):
    """Each option with its sentence and default."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = (action.help or "").replace("%", "%%")
        hidden = action.default in (argparse.SUPPRESS, None, []) or action.default is False
        shown = action.option_strings and not hidden
        return f"{text} (default: %(default)s)" if shown else text
