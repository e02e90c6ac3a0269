"""What plugs in by name: methods and datasets, ours and those of other packages.

A name is registered by the module that defines it, which is imported when the name is asked for.
Other packages name such modules under the entry point group ``peclip_fast.plugins``; these are
imported when a name is asked for that isn't ours, and before kernels are chosen. So are modules
that the environment names (VARIABLE). Nothing here needs PyTorch.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from peclip_fast.errors import InputError, hint, one_line

GROUP = "peclip_fast.plugins"
VARIABLE = "PECLIP_FAST_PLUGINS"  # modules to import as well, by name, with commas between them

Thing = TypeVar("Thing")
# Nothing that registers is imported here, not even for its type: methods are subclasses of
# AdaptedCLIP, configurations of ModelConfig, and datasets functions from DataConfig to
# DatasetSplits.
Method = TypeVar("Method", bound=type[Any])
Config = TypeVar("Config", bound=type[Any])
Read = TypeVar("Read", bound=Callable[..., Any])


class Registry(Generic[Thing]):
    """Things by name.

    Args:
        option: that chooses one, for messages.
        built_in: name -> the module of ours that registers it.
    """

    def __init__(self, option: str, built_in: Mapping[str, str]) -> None:
        self.option = option
        self._modules = dict(built_in)
        self._things: dict[str, Thing] = {}

    def add(self, name: str, thing: Thing, module: str) -> None:
        """Register a thing that ``module`` defines; ValueError for a name that is taken."""
        if self._modules.get(name, module) != module:
            raise ValueError(f"{self.option}: {name!r} is the name of one of peclip_fast's own")
        if self._things.setdefault(name, thing) is not thing:
            raise ValueError(f"{self.option}: {name!r} is registered already")

    def __getitem__(self, name: str) -> Thing:
        """The thing of that name, or InputError with the names that there are."""
        if name not in self._things and name in self._modules:
            import_module(self._modules[name])
        elif name not in self._things:
            load_plugins()
        if name not in self._things:
            names, told = self.names(), name if len(name) < 100 else f"{name[:100]}..."
            raise InputError(
                f"{self.option}={told}: expected one of {', '.join(names)}{hint(name, names)}"
            )
        return self._things[name]

    def built_in(self) -> dict[str, Thing]:
        """Those of ours and those that have been registered so far; loads no plugin."""
        return {name: self[name] for name in dict.fromkeys((*self._modules, *self._things))}

    def names(self) -> list[str]:
        """All names, those of plugins too."""
        load_plugins()
        return list(dict.fromkeys((*self._modules, *self._things)))


@functools.cache
def load_plugins() -> None:
    """Import what other packages have under GROUP, and what VARIABLE names; once.

    Raises:
        InputError: one of them can't be imported or registers a name twice, with its name.
    """
    plugins = {f"plugin {p.name} ({p.value})": p.load for p in entry_points(group=GROUP)}
    for name in filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))):
        plugins[f"{VARIABLE}={name}"] = functools.partial(import_module, name)
    for name, load in plugins.items():
        try:
            load()
        except Exception as error:
            raise InputError(
                f"{name}: can't be loaded ({type(error).__name__}: {one_line(error)})"
            ) from error


@dataclass(frozen=True)
class Dataset:
    """A dataset by name.

    Args:
        name: as ``data.dataset`` has it.
        read: gives the clips that a configuration asks for.
        classes: names of the numbers in the field's lists of it, where there are such lists.
        title: for people; its name unless given.
        own_lists: whether ``read`` takes ``data.train_list`` and ``data.test_list`` itself.
        complete: fills in the places of what the dataset brings along (root, cues, descriptions).
        brings: which of those, so that the user need not give them.
        licence: under what terms its clips are, in words for a model card; empty where that is
            unknown or the user's own.
    """

    name: str
    read: Callable[[Any], Any]
    classes: tuple[str, ...] | None = None
    title: str = ""
    own_lists: bool = False
    complete: Callable[[Any], Any] | None = None
    brings: frozenset[str] = frozenset()
    licence: str = ""

    @property
    def drawn(self) -> bool:
        """Whether its clips are made by the program, not real data."""
        return self.complete is not None


_METHODS = (
    "pe_clip",
    "finecliper",
    "dfer_clip",
    "emoclip",
    "aim",
    "st_adapter",
    "clip_lora",
    "zero_shot",
    "linear_probe",
    "full",
)
CONFIGS: Registry[type[Any]] = Registry(
    "model.method", {name: f"peclip_fast.config.methods.{name}" for name in _METHODS}
)
METHODS: Registry[type[Any]] = Registry(
    "model.method", {name: f"peclip_fast.models.methods.{name}" for name in _METHODS}
)
_OF_DATASETS = "peclip_fast.data.datasets"
DATASETS: Registry[Dataset] = Registry(
    "data.dataset",
    {
        "dfew": f"{_OF_DATASETS}.dfew",
        "ferv39k": f"{_OF_DATASETS}.ferv39k",
        "mafw": f"{_OF_DATASETS}.mafw",
        "mafw-compound": f"{_OF_DATASETS}.mafw",
        "afew": f"{_OF_DATASETS}.afew",
        "crema-d": f"{_OF_DATASETS}.crema_d",
        "ravdess": f"{_OF_DATASETS}.ravdess",
        "folder": f"{_OF_DATASETS}.folder",
        "csv": f"{_OF_DATASETS}.list_files",
        "list": f"{_OF_DATASETS}.list_files",
        "demo": "peclip_fast.demo.dataset",
        "demo-order": "peclip_fast.demo.dataset",
    },
)


def register_config(name: str) -> Callable[[Config], Config]:
    """Class decorator: a method's options, in a module that doesn't need PyTorch.

    For methods of this package, whose options are shown by ``--help``; register_method() does it
    for those that keep options and model in one file.
    """

    def add(config: Config) -> Config:
        CONFIGS.add(name, config, config.__module__)
        return config

    return add


def register_method(name: str) -> Callable[[Method], Method]:
    """Class decorator: a method by name, for ``--model.method`` and ``create_model(method=...)``.

    The class is an AdaptedCLIP whose ``config_class`` is a ModelConfig with the method's options.
    docs/add-a-method.md has a whole example.

    Raises:
        ValueError: another method has the name.
    """

    def add(method: Method) -> Method:
        METHODS.add(name, method, method.__module__)
        CONFIGS.add(name, method.config_class, method.config_class.__module__)
        return method

    return add


def register_dataset(
    name: str,
    *,
    classes: tuple[str, ...] | None = None,
    title: str = "",
    own_lists: bool = False,
    complete: Callable[[Any], Any] | None = None,
    brings: tuple[str, ...] = (),
    licence: str = "",
) -> Callable[[Read], Read]:
    """Decorator of a function ``read(config: DataConfig) -> DatasetSplits``, for ``data.dataset``.

    The arguments are those of Dataset. docs/add-a-dataset.md has a whole example.

    Raises:
        ValueError: another dataset has the name.
    """

    def add(read: Read) -> Read:
        places = frozenset(brings)
        found = Dataset(name, read, classes, title or name, own_lists, complete, places, licence)
        DATASETS.add(name, found, read.__module__)
        return read

    return add
