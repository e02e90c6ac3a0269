"""Where the Triton kernels are tested."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from peclip_fast.ops.devices import triton_missing


@pytest.fixture
def triton_device() -> Iterator[str]:
    """The GPU, or the CPU with Triton's interpreter.

    Fresh memory holds NaN, so a result that no kernel wrote, or a stray read, shows.
    """
    if reason := triton_missing():
        pytest.skip(reason)
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield "cuda" if torch.cuda.is_available() else "cpu"
    torch.use_deterministic_algorithms(False)
