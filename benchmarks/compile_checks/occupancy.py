"""How many blocks of a kernel a multiprocessor holds: NVIDIA's occupancy rules, as numbers.

The limits are those of the table "Technical Specifications per Compute Capability" in the CUDA
Programming Guide, the allocation steps those of cuda_occupancy.h in the CUDA toolkit (13.0); the
test compares the two. The tensor memory of sm_100 is not counted.
"""

from __future__ import annotations

from typing import NamedTuple

WARP = 32
REGISTERS = 65536  # of a multiprocessor, in four partitions, each with warps of its own
PARTITIONS = 4
REGISTER_STEP = 256  # in which a warp gets them


class Limits(NamedTuple):
    """What one multiprocessor holds; bytes of shared memory."""

    threads: int
    blocks: int
    shared: int
    shared_per_block: int
    """That a kernel may ask for."""
    reserved: int
    """That CUDA takes beside it in every block."""
    step: int
    """In which a block gets it."""


def _limits(threads: int, blocks: int, shared_kb: int, reserved: int, step: int) -> Limits:
    shared = shared_kb * 1024
    return Limits(threads, blocks, shared, shared - reserved, reserved, step)


LIMITS = {
    75: _limits(1024, 16, 64, 0, 256),
    80: _limits(2048, 32, 164, 1024, 128),
    86: _limits(1536, 16, 100, 1024, 128),
    89: _limits(1536, 24, 100, 1024, 128),
    90: _limits(2048, 32, 228, 1024, 128),
    100: _limits(2048, 32, 228, 1024, 128),
    120: _limits(1536, 24, 100, 1024, 128),
}


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def blocks_per_multiprocessor(sm: int, threads: int, registers: int, shared: int) -> int:
    """Blocks of `threads` threads and `shared` bytes on one multiprocessor of sm_`sm`; 0: none."""
    limits = LIMITS[sm]
    if shared > limits.shared_per_block:
        return 0
    warps = -(-threads // WARP)
    counts = [limits.blocks, limits.threads // WARP // warps]
    if registers > 0:
        per_warp = _round_up(registers * WARP, REGISTER_STEP)
        counts.append(PARTITIONS * (REGISTERS // PARTITIONS // per_warp) // warps)
    if shared + limits.reserved > 0:
        counts.append(limits.shared // _round_up(shared + limits.reserved, limits.step))
    return min(counts)
