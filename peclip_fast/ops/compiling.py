"""What only torch.compile needs, in a module of its own: it brings Dynamo, which takes seconds."""

from typing import Any

import torch

from peclip_fast.ops.backends import search


@torch.compiler.assume_constant_result
def select_constant(*call: Any) -> str:
    """``backends.select`` as a constant of the graph: the search isn't traced."""
    return search(*call)
