"""The model's forward and backward pass for batches of one size: compiled, or as CUDA graphs.

Nothing here has been run on a GPU yet.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from peclip_fast.errors import InputError
from peclip_fast.files import cache_folder
from peclip_fast.models.adapted_clip import AdaptedCLIP


class GraphedModel:
    """A model whose whole batches run as CUDA graphs; what has another shape runs as it is.

    The graphs are captured at the first whole batch: the forward pass under the autocast of that
    call, the backward pass outside of it. Its logits and the gradients from it are the same memory
    at every call. So gradients that are added up over several batches are copied first; otherwise
    they must be dropped before the next backward pass. Text and vision are in the graphs; frozen
    weights must stay where they are.

    Args:
        model: in training mode at each call.
        clips: of a whole batch.
        adds_up: whether gradients of several batches are added up.
    """

    def __init__(self, model: AdaptedCLIP, clips: int, adds_up: bool = False) -> None:
        self.model = model
        self.clips = clips
        self.adds_up = adds_up
        self._graphed: Callable[..., Any] | None = None
        self._shapes: list[torch.Size] = []

    def __call__(self, frames: Tensor | None = None, **others: Tensor) -> Tensor:
        """Logits of a batch's inputs, which need no gradient, as the model gives them."""
        inputs = others if frames is None else {"frames": frames, **others}
        names, tensors = tuple(sorted(inputs)), tuple(inputs[name] for name in sorted(inputs))
        shapes, kind = [t.shape for t in tensors], tensors[0].device.type
        if self._graphed is None and all(len(t) == self.clips for t in tensors):
            module = _Graphed(self.model, kind, names)
            # Backward passes are captured in here too, and no autocast may reach them.
            with torch.autocast(kind, enabled=False):
                # The copies are where every later batch will be put.
                given = tuple(t.clone() for t in tensors)
                self._graphed = torch.cuda.make_graphed_callables(module, given)
            if self.adds_up:  # from here on: the copies are in no graph
                for parameter in module.parameters():
                    parameter.register_hook(torch.clone)
            self._shapes = shapes
        if self._graphed is None or shapes != self._shapes:
            logits: Tensor = self.model(**inputs)
        else:
            logits = self._graphed(*tensors)
        return logits


class _Graphed(nn.Module):
    """The model under the autocast of now, with its trained tensors only, all that the graphs give
    gradients of.

    A module of its own because capturing puts the graphs in the place of its forward().
    """

    def __init__(self, model: AdaptedCLIP, kind: str, names: tuple[str, ...]) -> None:
        super().__init__()
        on, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        # A cast that autocast keeps is in no graph.
        self.autocast = functools.partial(
            torch.autocast, kind, dtype, enabled=on, cache_enabled=False
        )
        self.parts = nn.ModuleDict(model.parts())
        self.compute, self.names = model.forward, names

    def forward(self, *tensors: Tensor) -> Tensor:
        with self.autocast():
            return self.compute(**dict(zip(self.names, tensors, strict=True)))


Choice = bool | Literal["auto"]  # of train.compile
# What `auto` takes for granted before it has compiled: that takes at least so many seconds, and
# saves at most this share of a step.
LEAST_SECONDS, MOST_SAVED = 30.0, 0.3
_CACHE = "TORCHINDUCTOR_CACHE_DIR"


class CompiledModel:
    """A function under torch.compile for inputs of one shape; others run as it is.

    So a smaller last batch compiles nothing again.

    Its code is kept in the package's cache folder, unless TORCHINDUCTOR_CACHE_DIR names another.

    Args:
        function: of named tensors.

    Attributes:
        on: whether it is compiled; until then it runs as it is.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self.on = False
        self._compiled: Callable[..., Tensor] | None = None
        self._shapes: list[torch.Size] | None = None

    def __call__(self, **inputs: Tensor) -> Tensor:
        """What the function gives."""
        if not self.on:
            return self.function(**inputs)
        shapes = [inputs[name].shape for name in sorted(inputs)]
        if self._compiled is None:
            _keep_code()
            # No graph break: one would cost more than it says.
            self._compiled = torch.compile(self.function, dynamic=False, fullgraph=True)
            self._shapes = shapes
        return (self._compiled if shapes == self._shapes else self.function)(**inputs)

    def settle(
        self, choice: Choice, step: Callable[[], object], steps: int, tell: Callable[[str], None]
    ) -> None:
        """Compile, or not; with ``auto`` where the steps to come save more time than that takes.

        Args:
            choice: the option's value.
            step: does what will be done ``steps`` times, on inputs of the shape to compile for.
            steps: to come.
            tell: gets a line that says what was chosen and how long compiling took.

        Raises:
            InputError: ``true``, and this function can't be compiled.
        """
        said, before = f"train.compile={str(choice).lower()}", 0.0
        if choice == "auto":
            _seconds(step)
            before = _seconds(step)
            if (saved := MOST_SAVED * before * steps) < LEAST_SECONDS:
                tell(f"{said}: not compiled, as that could save at most {saved:.0f} s")
                return
        self.on = True
        try:
            took = _seconds(step)
        except Exception as error:  # the compiler's are of many kinds
            self.on = False
            why = " ".join(str(error).split())[:200]
            if choice == "auto":
                step()  # which raises what has nothing to do with compiling
                tell(f"{said}: not compiled, as that fails: {why}")
                return
            raise InputError(f"{said}: can't compile the model: {why}") from error
        told = f"{said}: compiled in {took:.0f} s"
        if choice == "auto":
            after = _seconds(step)
            self.on = after < before
            told += f", {after:.3g} s a step instead of {before:.3g} s"
            told += "" if self.on else ": left off"
        tell(told)


def _keep_code() -> None:
    """Compiled code goes where the package's other things are, unless the user names a place."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    by_itself = default_cache_dir()  # which importing Dynamo writes into the environment
    if os.environ.get(_CACHE, by_itself) == by_itself:
        os.environ[_CACHE] = str(cache_folder() / "compiled")


def _seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
