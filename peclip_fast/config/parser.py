"""The command line of configurations."""

from __future__ import annotations

import argparse
import contextlib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace

from peclip_fast.config.data import DataConfig
from peclip_fast.config.layers import SECTIONS
from peclip_fast.config.model import ModelConfig
from peclip_fast.config.options import flat, hint
from peclip_fast.config.run import RunConfig
from peclip_fast.config.train import TrainConfig
from peclip_fast.errors import InputError, one_line


class _Help(DefaultHelpFormatter):
    """Each option with its sentence and default, without Python's types."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34)

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return "VALUE"

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        shown = action.option_strings and action.default not in (argparse.SUPPRESS, None)
        return f"{text} (default: %(default)s)" if shown else text

    def _format_action(self, action: argparse.Action) -> str:
        section = action.metavar == "CONFIG"  # a file for one section; --config serves for all
        return "" if section else super()._format_action(action)


def make_parser(command: str, description: str, usage: str) -> ArgumentParser:
    """A parser with the options of all sections; the command adds its own."""
    parser = ArgumentParser(
        prog=f"python -m peclip_fast.{command}",
        usage=f"python -m peclip_fast.{command} {usage}",
        description=description,
        formatter_class=_Help,
        exit_on_error=False,
        allow_abbrev=False,
    )
    return _add_sections(parser)


def add_config_option(parser: ArgumentParser) -> None:
    """The option --config, for config_layers()."""
    parser.add_argument(
        "--config",
        nargs="+",
        metavar="NAME",
        help="packaged configurations by name, or files; the later over the earlier",
    )


def _add_sections(parser: ArgumentParser) -> ArgumentParser:
    for section, kind in zip(SECTIONS, (ModelConfig, DataConfig, TrainConfig), strict=True):
        parser.add_class_arguments(kind, section)
    return parser


@functools.cache
def _sections() -> ArgumentParser:
    """Checks layers; it costs more to make than to use, and is never changed."""
    return _add_sections(ArgumentParser(exit_on_error=False))


def read_arguments(parser: ArgumentParser, argv: Sequence[str]) -> Namespace:
    """The command line's values over the parser's defaults; checked one by one, not together."""
    options = [f"--{key}" for key in parser.get_defaults().keys()] + ["--help"]  # noqa: SIM118
    for argument in argv:
        name = argument.split("=")[0]
        if name.startswith("--") and name not in options:
            raise InputError(f"unknown option {name}{hint(name, options)}")
    with _naming(""):
        return parser.parse_args(list(argv))


def resolve(
    parser: ArgumentParser, argv: Sequence[str], layers: Sequence[tuple[str, Mapping[str, Any]]]
) -> RunConfig:
    """The configuration that ``argv`` makes of the parser's defaults and ``layers``.

    Args:
        parser: from make_parser(); the layers become its defaults.
        argv: the command line, which has the last word.
        layers: options as in YAML under the name of their source, the later over the earlier.
    """
    sections = _sections()
    known = list(sections.get_defaults().keys())
    for source, layer in layers:
        for key, _ in flat(layer):
            if key not in known:
                raise InputError(f"{source}: unknown option {key}{hint(key, known)}")
        with _naming(f"{source}: "):
            values = sections.parse_object(dict(layer), defaults=False)
        parser.set_defaults(dict(flat(values.as_dict())))
    built = parser.instantiate(read_arguments(parser, argv))
    return RunConfig(*(built[section] for section in SECTIONS))


@contextlib.contextmanager
def _naming(source: str) -> Iterator[None]:
    """Turn the parser's errors into InputError: one line, the source in front, plain types."""
    try:
        yield
    except (ArgumentError, TypeError) as error:
        text = one_line(error)
        text = re.sub(r'Parser key "([^"]+)":', r"\1:", text)
        text = re.sub(r"<class '(\w+)'>", r"\1", text)
        text = re.sub(r"a typing\.Literal\[([^]]*)\]", r"one of \1", text)
        text = text.replace("Expected a int", "Expected an int")
        raise InputError(source + text) from error
