"""Configurations by name: packaged YAML files, and the user's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from peclip_fast.errors import InputError, hint, one_line
from peclip_fast.text_files import read_text

RECIPES = Path(str(files("peclip_fast"))) / "config" / "recipes"
_LARGEST = 1_000_000  # characters of a file of options
# Of values that YAML's types can't be made of, as in `!!int x`, each in its own way.
_NO_YAML = (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
SECTIONS = ("model", "data", "train")


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's content, nested as there and of YAML's types, or InputError that names it."""
    return _mapping(path, _TypedLoader)


def read_options(path: Path) -> dict[str, Any]:
    """The options in a YAML file, nested as there, each value as it is written.

    Its type is the option's, not YAML's: a class may be called no, 1 or 2020-01-01.

    Raises:
        InputError: the file can't be read, is no YAML, gives a key twice or has an alias; names
            the line.
    """
    return _mapping(path, _TextLoader)


def _mapping(path: Path, loader: type[Any]) -> dict[str, Any]:
    text = read_text(path)
    if len(text) > _LARGEST:
        raise InputError(f"{path}: {len(text)} characters; expected options, at most {_LARGEST}")
    try:
        options = yaml.load(text, loader)
    except _NO_YAML as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise InputError(f"{path}{line}: not a YAML file ({one_line(reason)})") from error
    if not isinstance(options, dict):
        raise InputError(f"{path}: expected the sections {', '.join(SECTIONS)}")
    return options


def _check(root: yaml.Node) -> None:
    """Raise for what makes YAML say other things than one reads: keys given twice, and aliases."""
    seen: set[int] = set()
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if id(node) in seen:  # as the node that its anchor names
            raise yaml.MarkedYAMLError(
                problem="expected values written out, got an alias of what stands here",
                problem_mark=node.start_mark,
            )
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                nodes += key, value
                if isinstance(key, yaml.ScalarNode) and key.value in keys:
                    raise yaml.MarkedYAMLError(
                        problem=f"{key.value} is given twice", problem_mark=key.start_mark
                    )
                keys |= {key.value} if isinstance(key, yaml.ScalarNode) else set()


class _TypedLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's types, from a checked file."""

    def construct_document(self, node: yaml.Node) -> Any:
        _check(node)
        return super().construct_document(node)


class _TextLoader(getattr(yaml, "CBaseLoader", yaml.BaseLoader)):  # type: ignore[misc]
    """Texts only, from a checked file."""

    def construct_document(self, node: yaml.Node) -> Any:
        _check(node)
        return super().construct_document(node)


def config_names() -> list[str]:
    """The packaged configurations: recipes (dfew) and rows of tables (table6/ta)."""
    paths = (path.relative_to(RECIPES).with_suffix("") for path in RECIPES.rglob("*.yaml"))
    return sorted(path.as_posix() for path in paths)


def config_path(name: str) -> Path:
    """The YAML file of a packaged configuration's name, or the file itself."""
    packaged = config_names()
    if name in packaged:
        return RECIPES / f"{name}.yaml"
    if os.path.isfile(name):
        return Path(name)
    rows = [n for n in packaged if n.startswith(f"{name.split('/')[0]}/")]
    told = rows or [n for n in packaged if "/" not in n]
    raise InputError(
        f"--config {name}: no such file, and no configuration of that name"
        f"{hint(name, packaged)}; known names: {', '.join(told)}"
    )


def config_layers(names: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """What resolve() takes of the configurations of these names, the later over the earlier."""
    if names and "/" in names[0] and names[0] in config_names():
        raise InputError(
            f"--config {names[0]}: a row of a table, which holds only what differs from a "
            "dataset's recipe; expected a recipe in front of it, such as dfew"
        )
    layers = []
    for place, name in enumerate(names):
        options = read_options(config_path(name))
        recipe = options.pop("over", None)
        if recipe is not None and not isinstance(recipe, str):
            raise InputError(f"{name}: over: expected the name of a configuration")
        if recipe and not any(n.startswith(recipe.partition("/")[0] + "/") for n in names[:place]):
            raise InputError(
                f"--config {name}: doesn't say how its model is trained; expected {recipe} in "
                "front of it"
            )
        layers.append((name, options))
    return layers


def config_title(names: Sequence[str]) -> str:
    """A word for configurations together, which can name a folder: dfew-table6-ta."""
    packaged = config_names()
    parts = (name.replace("/", "-") if name in packaged else Path(name).stem for name in names)
    return "-".join(parts)
