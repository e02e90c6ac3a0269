"""From options, given by layers of YAML and on the command line, to a configuration.

Options have dotted names (``--data.root FOLDER``) and are those of the chosen method, the data and
the training. Their names, types, defaults and sentences come from the dataclasses.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import yaml
from jsonargparse import ArgumentError, ArgumentParser, get_loader, set_loader

from peclip_fast.config.data import DataConfig
from peclip_fast.config.layers import SECTIONS, config_layers
from peclip_fast.config.model import ModelConfig
from peclip_fast.config.options import brief, flat, nested
from peclip_fast.config.run import RunConfig
from peclip_fast.config.train import TrainConfig
from peclip_fast.errors import InputError, hint, one_line
from peclip_fast.registry import CONFIGS

_LONGEST = 400  # characters of a message
_HUGE = re.compile(r"(?<!\w)(0[xX][\da-fA-F_]{249,}|\d[\d_]{249,})(?!\w)")
METHOD, RATES, SWITCH = "model.method", "train.lr", "train.kernel_check"
DEFAULT_METHOD = ModelConfig.method
Layer = tuple[str, Mapping[str, Any]]  # where options come from, and the options as in YAML


class Option(NamedTuple):
    """An option for people."""

    name: str
    help: str
    default: Any


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line as the command's own arguments, and the dotted options with their values."""
    own: list[str] = []
    dotted: list[str] = []
    words = iter(argv)
    for word in words:
        if not (word.startswith("--") and "." in word.partition("=")[0]):
            own.append(word)
            continue
        dotted.append(word)
        if "=" not in word:
            value = next(words, None)
            if value is None:
                raise InputError(f"{word}: expected a value")
            dotted.append(value)
    return own, dotted


def check_names(dotted: Sequence[str]) -> None:
    """Raise InputError for an option that there is with no method.

    Before files are opened; options of the model and rates wait for the method that decides.
    """
    any_method = _Method(DEFAULT_METHOD)
    for word in dotted:
        name = word.partition("=")[0]
        if name.startswith("--") and not name.startswith(("--model.", f"--{RATES}.")):
            any_method.check_name(name)


def resolve(layers: Sequence[Layer], dotted: Sequence[str] = ()) -> RunConfig:
    """The configuration that options make, the later over the earlier.

    Where a later layer chooses another method, what the earlier ones say of the former method's
    own options is dropped.

    Args:
        layers: options as in YAML under the name of their source.
        dotted: the options of a command line, which have the last word.

    Raises:
        InputError: an option is unknown or of another method, or has a wrong value.
    """
    method, merged = _merged(layers)
    method = method.changed(_chosen(dotted), merged, "")
    merged |= method.parsed(dotted)
    return method.build(merged)


def configure(*names: str | Mapping[str, Any]) -> RunConfig:
    """A run's configuration, as `train --config NAME ... --OPTION VALUE ...` makes it.

    Args:
        names: packaged configurations and files by name, and options by their dotted names
            (``{"train.epochs": 4}``); the later over the earlier.

    Raises:
        InputError: a name or an option is unknown, or a value is wrong.
    """
    layers: list[Layer] = []
    for name in names:
        if isinstance(name, str):
            before = [source for source, _ in layers]
            layers.append(config_layers([*before, name])[-1])
        else:
            layers.append(("options", nested(dict(flat(name)))))
    return resolve(layers)


def as_one(layers: Sequence[Layer]) -> Layer:
    """Layers as one, which names the method that they choose together."""
    method, merged = _merged(layers)
    return layers[-1][0], nested(merged | {METHOD: method.name})


def _merged(layers: Sequence[Layer]) -> tuple[_Method, dict[str, Any]]:
    """The method that layers choose, and their options one by one."""
    merged: dict[str, Any] = {}
    method = _Method(DEFAULT_METHOD)
    for source, layer in layers:
        given = dict(flat(layer))
        method = method.changed(given.get(METHOD), merged, f"{source}: ")
        merged |= method.checked(layer, source)
    return method, merged


def options_of(method: str) -> list[Option]:
    """All options there are with a method, for ``--help``."""
    return _Method(method).options()


def chosen_method(layers: Sequence[Layer], dotted: Sequence[str]) -> str:
    """The method that options name."""
    named = [dict(flat(layer)).get(METHOD) for _, layer in layers]
    return str(_chosen(dotted) or next((n for n in reversed(named) if n), DEFAULT_METHOD))


class _Method:
    """The options that there are with a method."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parser = _parser(name)
        self.known = list(self.parser.get_defaults().keys())

    def changed(self, name: Any, merged: dict[str, Any], source: str) -> _Method:
        """The method that holds from here on; takes the former's options out of ``merged``."""
        if name is None or name == self.name:
            return self
        with _naming(source):
            new = _Method(str(name))
        for key in [k for k in merged if k not in new.known or k.startswith(f"{RATES}.")]:
            del merged[key]
        return new

    def checked(self, layer: Mapping[str, Any], source: str) -> dict[str, Any]:
        """A layer's options one by one, as values of their types."""
        for key, _ in flat(layer):
            if key not in self.known:
                raise InputError(f"{source}: {self._unknown(key)}")
        for key, value in flat(layer):
            _refuse_huge(f"{source}: {key}", value)
        if dict(flat(layer)).get(SWITCH) is False:  # YAML reads off as false
            layer = nested({**dict(flat(layer)), SWITCH: "off"})
        with _naming(f"{source}: "):
            given = self.parser.parse_object(_written(layer), defaults=False)
            return dict(flat(given.as_dict()))

    def parsed(self, dotted: Sequence[str]) -> dict[str, Any]:
        """The command line's options one by one, as values of their types."""
        name = ""
        for word in dotted:
            if word.startswith("--"):
                name = word.partition("=")[0]
                self.check_name(name)
            _refuse_huge(name, word)
        with _naming(""):
            return dict(flat(self.parser.parse_args(list(dotted), defaults=False).as_dict()))

    def check_name(self, name: str) -> None:
        """Raise InputError unless the method has this option, such as ``--data.root``."""
        if not self._takes(name[2:]):
            raise InputError(self._unknown(name[2:], "--"))

    def build(self, merged: Mapping[str, Any]) -> RunConfig:
        """The configuration, checked as a whole."""
        values = self.parser.parse_object(nested(merged))
        rates = values[SECTIONS[2]].pop("lr", None)  # none of a method that trains nothing
        built = self.parser.instantiate(values)
        model, data, train = (built[section] for section in SECTIONS)
        train = dataclasses.replace(train, lr=rates.as_dict() if rates else {})
        return RunConfig(model, data, train)

    def options(self) -> list[Option]:
        """All of them, in the order of the dataclasses."""
        shown = {name: action for action in self.parser._actions for name in action.option_strings}
        return [
            Option(f"--{key}", shown[f"--{key}"].help or "", shown[f"--{key}"].default)
            for key in self.known
        ]

    def _takes(self, key: str) -> bool:
        # A whole group, or a part of a mapping, may be given as well.
        groups = {key.rpartition(".")[0] for key in self.known}
        return key in self.known or key in groups - set(SECTIONS) or key.startswith("model.texts.")

    def _unknown(self, key: str, dashes: str = "") -> str:
        for name, config in CONFIGS.built_in().items():
            fields = {f"model.{field.name}" for field in dataclasses.fields(config)}
            rates = {f"{RATES}.{group}" for group in config.learning_rates}
            if name != self.name and key in fields | rates:
                return f"{dashes}{key}: an option of {name}; the method is {self.name}"
        known = [f"{dashes}{name}" for name in self.known]
        return f"unknown option {dashes}{brief(key)}{hint(f'{dashes}{key}', known)}"


def _chosen(dotted: Sequence[str]) -> str | None:
    """The last method that a command line names."""
    found = None
    for word, value in zip_longest(dotted, dotted[1:], fillvalue=""):
        name, equals, own = word.partition("=")
        if name == f"--{METHOD}":
            found = own if equals else value
    return found


@functools.cache
def _parser(method: str) -> ArgumentParser:
    """Of all options that there are with a method; it costs more to make than to use."""
    config = CONFIGS[method]
    parser = ArgumentParser(
        exit_on_error=False, allow_abbrev=False, add_help=False, parser_mode="options"
    )
    parser.add_class_arguments(config, SECTIONS[0])
    parser.add_class_arguments(DataConfig, SECTIONS[1])
    parser.add_class_arguments(TrainConfig, SECTIONS[2], skip={"lr"})
    for group, rate in config.learning_rates.items():
        text = f"highest learning rate of the {group}"
        parser.add_argument(f"--{RATES}.{group}", type=float, default=rate, help=text)
    parser.set_defaults({METHOD: method})
    return parser


def _written(value: Any) -> Any:
    """Options with null as it is written, which options that take none refuse."""
    if isinstance(value, Mapping):
        return {key: _written(item) for key, item in value.items()}
    return "null" if value is None else value


def _load(text: str) -> Any:
    """The value of an option on a command line. What a list or a mapping holds stays text."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        node = None
    if isinstance(node, yaml.CollectionNode):
        return yaml.load(text, yaml.BaseLoader)
    return get_loader("yaml")(text)


set_loader("options", _load, exceptions=(yaml.YAMLError, ValueError, RecursionError))


def _refuse_huge(name: str, value: object) -> None:
    """Raise InputError for a whole number that no float can hold, on which the parser fails."""
    huge = value.bit_length() > 1000 if isinstance(value, int) else False
    if huge or (isinstance(value, str) and _HUGE.search(value)):
        raise InputError(f"{name}: expected a number of fewer than 250 digits")


@contextlib.contextmanager
def _naming(source: str) -> Iterator[None]:
    """Turn the parser's errors into InputError: one line, the source in front, plain types."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{source}{error}") from error
    except (ArgumentError, TypeError, ValueError, RecursionError) as error:
        raise InputError(source + _plain_words(error)) from error


def _plain_words(error: Exception) -> str:
    """An error of the parser in a line of ours."""
    text = one_line(error)
    text = re.sub(r'Parser key "([^"]+)":', r"\1:", text)
    union = r"Does not validate against any of the Union subtypes Subtypes: \[(.*?)\] Errors: .*"
    text = re.sub(union + r"Given value: (.*)$", r"expected \1, got \2", text)
    text = text.replace("Got value: None", "Got value: null")
    text = re.sub(r"<class '(\w+)'>", r"\1", text)
    text = re.sub(r"(a )?typing\.Literal\[([^]]*)\]", r"one of \2", text)
    text = re.sub(r", got None$", ", got null", text)
    text = re.sub(r", NoneType, got ", " or null, got ", text)
    text = text.replace("Expected a int", "Expected an int")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
