"""Configurations by name: packaged YAML files, and the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from peclip_fast.errors import InputError, hint, one_line

RECIPES = Path(str(files("peclip_fast"))) / "config" / "recipes"
SECTIONS = ("model", "data", "train")


def read_yaml(path: Path) -> dict[str, Any]:
    """The options in a YAML file, nested as there, or InputError that names it."""
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML file ({one_line(error)})") from error
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
    if not isinstance(options, dict):
        raise InputError(f"{path}: expected the sections {', '.join(SECTIONS)}")
    return options


def config_names() -> list[str]:
    """The packaged configurations: recipes (dfew) and rows of tables (table6/ta)."""
    paths = (path.relative_to(RECIPES).with_suffix("") for path in RECIPES.rglob("*.yaml"))
    return sorted(path.as_posix() for path in paths)


def config_path(name: str) -> Path:
    """The YAML file of a packaged configuration's name, or the file itself."""
    packaged = config_names()
    if name in packaged:
        return RECIPES / f"{name}.yaml"
    if Path(name).is_file():
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
        options = read_yaml(config_path(name))
        recipe = options.pop("over", None)
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
