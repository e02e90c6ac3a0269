"""What only torch.compile needs, in a module of its own: it brings Dynamo, which takes seconds."""

from typing import Any

import torch

from peclip_fast.ops.declared import search
from peclip_fast.ops.extension import bf16_missing


@torch.compiler.assume_constant_result
def search_constant(*call: Any) -> str:
    """`search` as a constant of the graph: it isn't traced."""
    return search(*call)


@torch.compiler.assume_constant_result
def bf16_missing_constant() -> str | None:
    """`bf16_missing`, likewise."""
    return bf16_missing()
