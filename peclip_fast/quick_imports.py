"""Without the seconds that importing torchvision and timm spends on Dynamo, which most commands
don't need.

``torchvision.ops`` asks ``torch._dynamo.utils`` whether a device can compile; torchvision's
tensors and a model of timm keep some functions from being compiled. While each is imported,
functions that turn to Dynamo only when they are called stand in for what they take of it. A
version that takes more is imported as it is.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

_DYNAMO = "torch._dynamo"
_UTILS = f"{_DYNAMO}.utils"


def without_dynamo() -> None:
    """Import torchvision and timm so from now on, in this process; nothing else changes."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds these modules alone."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _STAND_INS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None and _DYNAMO not in sys.modules:
            spec.loader = _Loader(spec.loader, _STAND_INS[name])  # type: ignore[assignment]
        return spec


class _Loader:
    """The given one, with a stand-in there meanwhile."""

    def __init__(
        self, loader: Any, stand_in: Callable[[], contextlib.AbstractContextManager[None]]
    ) -> None:
        self.loader, self.stand_in = loader, stand_in

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        found: ModuleType | None = self.loader.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self.loader
        try:
            with self.stand_in():
                self.loader.exec_module(module)
        except (ImportError, AttributeError):
            self.loader.exec_module(module)


@contextlib.contextmanager
def _instead_of_utils() -> Iterator[None]:
    import_module("torch")
    if _DYNAMO in sys.modules:  # torch has loaded it itself
        yield
        return
    package, utils = ModuleType(_DYNAMO), ModuleType(_UTILS)
    package.__path__ = []
    utils.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    sys.modules |= {_DYNAMO: package, _UTILS: utils}
    try:
        yield
    finally:
        del sys.modules[_DYNAMO], sys.modules[_UTILS]


def _is_compile_supported(device_type: str) -> bool:
    return bool(import_module(_UTILS).is_compile_supported(device_type))


@contextlib.contextmanager
def _instead_of_disable() -> Iterator[None]:
    compiler = import_module("torch").compiler
    given = compiler.disable

    def disable(function: Callable[..., Any], recursive: bool = True) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            if _DYNAMO in sys.modules:
                return given(function, recursive)(*args, **kwargs)
            return function(*args, **kwargs)

        return run

    compiler.disable = disable
    try:
        yield
    finally:
        compiler.disable = given


_STAND_INS = {
    "torchvision": _instead_of_utils,
    "torchvision.tv_tensors": _instead_of_disable,
    "timm": _instead_of_disable,
}
