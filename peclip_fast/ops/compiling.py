"""What only torch.compile needs, in a module of its own: it brings Dynamo, which takes seconds."""

import torch

from peclip_fast.ops.backends import search


@torch.compiler.assume_constant_result
def select_constant(
    op: str,
    backend: str,
    device: torch.device,
    dtype: torch.dtype,
    width: int,
    hidden: int,
    frames: int,
) -> str:
    """``backends.select`` as a constant of the graph: the search isn't traced."""
    return search(op, backend, device, dtype, width, hidden, frames)
