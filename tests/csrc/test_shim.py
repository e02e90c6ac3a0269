"""The CUDA stand-in itself: what it runs is right, and each error it exists for is found."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.numerics.barriers import Barrier, check_without
from helpers.numerics.shim_memory import WatchedMemory
from torch import Tensor

ORDERS = ("forward", "reverse", "1", "2")
Launch = Callable[..., Tensor]


@pytest.fixture
def library(shim_kernels: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(shim_kernels))
    loaded.launch.restype = ctypes.c_char_p
    return loaded


@pytest.fixture
def launch(library: ctypes.CDLL, shim_kernels: Path) -> Launch:
    def run(
        name: str,
        values: Tensor,
        results: int,
        block: int = 64,
        grid: tuple[int, int] = (1, 1),
        shared: int = 0,
        allowed: int = 0,
        count: int | None = None,
    ) -> Tensor:
        with WatchedMemory(shim_kernels, [values]):
            out = torch.empty(results)
            reason = library.launch(
                name.encode(), (ctypes.c_uint * 2)(*grid), block, ctypes.c_size_t(shared), allowed,
                ctypes.c_void_p(values.data_ptr()), ctypes.c_void_p(out.data_ptr()),
                values.numel() if count is None else count,
            )  # fmt: skip
        if reason:
            raise RuntimeError(reason.decode())
        return out

    return run


@pytest.fixture(params=ORDERS)
def any_order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PECLIP_SHIM_ORDER", request.param)
    return request.param


def numbers(count: int) -> Tensor:
    return torch.arange(1.0, count + 1)


def test_shuffles(launch: Launch, any_order: str) -> None:
    values = numbers(128)
    found = launch("shuffles", values, 512, block=64, grid=(2, 1)).view(-1, 32, 4)
    warps, lanes = values.view(-1, 32), torch.arange(32)
    # Into a higher segment of 16 a lane can't reach, and keeps its own.
    low = torch.where(lanes < 16, lanes, lanes ^ 20)
    for i, source in enumerate((0 * lanes + 11, lanes // 8 * 8 + 3, lanes ^ 5, low)):
        assert torch.equal(found[..., i], warps[:, source])


def test_lanes_that_went_different_ways(launch: Launch, any_order: str) -> None:
    values = numbers(32)
    found = launch("diverging_shuffles", values, 32, block=32)
    pairs = values[::2] + values[::2].view(8, 2).flip(1).flatten()
    assert torch.equal(found[::2], 4 * pairs)
    assert torch.equal(found[1::2], torch.full((16,), 32.0))


def test_barriers(launch: Launch, any_order: str) -> None:
    values = numbers(150)  # a tail: three blocks of 64
    found = launch("block_sum", values, 3, grid=(3, 1), shared=256)
    assert torch.equal(found, torch.stack([part.sum() for part in values.split(64)]))


def line_of(text: str) -> int:
    lines = (Path(__file__).parent / "shim_kernels.cu").read_text().splitlines()
    (number,) = (i for i, line in enumerate(lines, 1) if text in line)
    return number


@pytest.mark.parametrize(
    ("kernel", "text"),
    [
        ("block_sum", "the barrier that a test takes out"),
        ("warp_rotation", "written before it is read"),
        ("warp_rotation", "read before it is overwritten"),
    ],
)
def test_a_barrier_taken_out_is_found(
    library: ctypes.CDLL, launch: Launch, any_order: str, kernel: str, text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    arguments = {"values": numbers(64), "results": 64, "shared": 256}
    launch(kernel, **arguments)
    assert library.shim_times_left_out() == 0
    monkeypatch.setenv("PECLIP_SHIM_WITHOUT", f"shim_kernels.cu:{line_of(text)}")
    with pytest.raises(RuntimeError, match="no barrier between them"):
        launch(kernel, **arguments)
    assert library.shim_times_left_out() > 0


def test_a_warp_may_meet_where_no_memory_is_ordered(
    library: ctypes.CDLL, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But a barrier of the whole block that orders none is a mistake."""
    values = numbers(64)
    expected = launch("meeting_again", values, 64)
    barrier = Barrier("shim_kernels.cu", line_of("orders no memory"), whole_block=False)
    monkeypatch.setenv("PECLIP_SHIM_WITHOUT", str(barrier))
    check_without(barrier, lambda: torch.equal(launch("meeting_again", values, 64), expected))
    assert library.shim_times_left_out() > 0
    with pytest.raises(AssertionError, match="can be taken out"):
        check_without(barrier._replace(whole_block=True), lambda: True)
    with pytest.raises(AssertionError, match="results change"):
        check_without(barrier, lambda: False)


def test_a_limit_that_other_threads_may_need_is_not_lowered(launch: Launch) -> None:
    launch("meeting_again", numbers(64), 64, allowed=64 << 10)
    with pytest.raises(RuntimeError, match="limited to less than before"):
        launch("meeting_again", numbers(64), 64, allowed=32 << 10)


def test_lanes_exchange_through_shared_memory(launch: Launch, any_order: str) -> None:
    values = numbers(64)
    found = launch("warp_rotation", values, 64, shared=256)
    assert torch.equal(found, values.view(2, 32).roll(-1, 1).flatten() + 2)


def test_memory_that_nothing_has_written_is_nan(launch: Launch) -> None:
    assert launch("unwritten_shared", numbers(64), 64, shared=256).isnan().all()
    assert launch("unwritten_shared", numbers(64), 80, shared=256)[64:].isnan().all()


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("shared_overrun", r"writes 4 bytes at byte \d+ of 256 bytes of shared memory"),
        ("read_behind", "reads 4 bytes at 0x.* outside of all tensors"),
        ("write_behind", "writes 4 bytes at 0x.* outside of all tensors"),
        ("copy_behind", "reads 260 bytes at 0x.* outside of all tensors"),
        ("write_input", "writes to a tensor that is an input"),
        ("misaligned", r"misaligned or null pointer at .*"),
        ("index_out_of_bounds", "index out of bounds at .*shim_kernels.cu:"),
        ("read_across_warps", "shared memory that .* with no barrier between"),
        ("write_after_read", "shared memory that .* with no barrier between"),
        ("all_blocks_write", "writes global memory that another block has written"),
        ("blocks_read_and_write", "global memory that another block has"),
        ("barrier_for_some", "threads 0-32 wait at .*; threads 33-63 have ended"),
        ("two_barriers", r"waits at .*, but thread \d+ at "),
        ("shuffle_for_some", "threads 0-6 wait in a warp, .*; threads 7-7 have ended"),
        ("lane_not_in_mask", "the lane is not in the mask 0000ffff"),
        ("shuffle_from_outside", "reads lane 20, which is not in the mask 0000ffff"),
    ],
)
def test_errors_are_found(launch: Launch, any_order: str, kernel: str, message: str) -> None:
    arguments = {"values": numbers(64), "results": 64, "shared": 256, "grid": (2, 1)}
    with pytest.raises(RuntimeError, match=message) as raised:
        launch(kernel, **arguments)
    assert kernel in str(raised.value).partition(", block (")[0]
    # An abandoned kernel leaves nothing behind that a later one would trip over.
    assert torch.equal(launch("block_sum", numbers(64), 2, shared=256)[:1], numbers(64).sum()[None])


def test_the_order_of_threads_and_blocks(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    def first() -> str:
        with pytest.raises(RuntimeError) as raised:
            launch("shared_overrun", numbers(64), 1, grid=(3, 1), shared=256)
        return str(raised.value)

    assert "block (0, 0, 0): thread (0, 0, 0) writes" in first()
    monkeypatch.setenv("PECLIP_SHIM_ORDER", "reverse")
    assert "block (2, 0, 0): thread (63, 0, 0) writes" in first()
    monkeypatch.setenv("PECLIP_SHIM_ORDER", "7")
    shuffled = first()
    assert "thread (0, 0, 0)" not in shuffled
    assert "thread (63, 0, 0)" not in shuffled
    assert shuffled == first()


def test_a_race_names_both_lines(launch: Launch) -> None:
    with pytest.raises(RuntimeError) as raised:
        launch("write_after_read", numbers(64), 64, shared=256)
    assert f"shim_kernels.cu:{line_of('floats()[i] = 0.0f')}" in str(raised.value)
    text = "a.out[i] = floats()[(i + 1) % blockDim.x]"
    assert f"shim_kernels.cu:{line_of(text)}" in str(raised.value)


def test_shared_memory_over_the_limit(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {"values": numbers(64), "results": 64}
    launch("block_sum", shared=48 << 10, allowed=48 << 10, **arguments)
    with pytest.raises(RuntimeError, match="invalid argument"):
        launch("block_sum", shared=(48 << 10) + 4, **arguments)
    launch("block_sum", shared=227 << 10, allowed=227 << 10, **arguments)
    with pytest.raises(RuntimeError, match="invalid argument"):
        launch("block_sum", shared=256, allowed=(227 << 10) + 1, **arguments)
    monkeypatch.setenv("PECLIP_SHIM_SHARED", str(64 << 10))
    with pytest.raises(RuntimeError, match="invalid argument"):
        launch("block_sum", shared=256, allowed=(64 << 10) + 1, **arguments)


@pytest.mark.parametrize(
    ("block", "grid"), [(1025, (1, 1)), (0, (1, 1)), (32, (0, 1)), (32, (1, 65536))]
)
def test_sizes_that_no_gpu_takes(launch: Launch, block: int, grid: tuple[int, int]) -> None:
    with pytest.raises(RuntimeError, match="invalid configuration argument"):
        launch("unwritten_shared", numbers(64), 64, block=block, grid=grid, shared=256)


def test_device_facts(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, multiprocessors, major, minor = 97, 16, 75, 76
    facts = (shared, multiprocessors, major, minor)
    assert [library.attribute(which) for which in facts] == [227 << 10, 132, 9, 0]
    monkeypatch.setenv("PECLIP_SHIM_SHARED", "65536")
    monkeypatch.setenv("PECLIP_SHIM_SMS", "4")
    monkeypatch.setenv("PECLIP_SHIM_CAPABILITY", "75")
    assert [library.attribute(which) for which in facts] == [65536, 4, 7, 5]


NAMES = {torch.float16: "half", torch.bfloat16: "bfloat16"}


def convert(library: ctypes.CDLL, what: str, values: Tensor, dtype: torch.dtype) -> Tensor:
    result = torch.empty(values.shape, dtype=dtype)
    library.convert(
        what.encode(), ctypes.c_void_p(values.data_ptr()), ctypes.c_void_p(result.data_ptr()),
        values.numel(),
    )  # fmt: skip
    return result


def same(a: Tensor, b: Tensor) -> bool:
    """Bit by bit, but for which NaN it is."""
    kind = {2: torch.int16, 4: torch.int32}[a.element_size()]
    return bool(((a.view(kind) == b.view(kind)) | (a.isnan() & b.isnan())).all())


@pytest.mark.parametrize("dtype", NAMES, ids=str)
def test_conversions_of_all_16_bit_numbers(library: ctypes.CDLL, dtype: torch.dtype) -> None:
    every = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    wide = convert(library, f"from {NAMES[dtype]}", every, torch.float32)
    assert same(wide, every.float())
    assert same(convert(library, f"to {NAMES[dtype]}", wide, dtype), every)


@pytest.mark.parametrize("dtype", NAMES, ids=str)
def test_conversions_round_as_pytorch(library: ctypes.CDLL, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(-(2**31), 2**31, (200_000,), generator=generator, dtype=torch.int64)
    # Every 16-bit number, half-way to its neighbour (a tie), and the floats beside that.
    every = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    every = every[every.isfinite()].float()
    ties = every + (every.to(dtype).view(torch.int16) + 1).view(dtype).float().sub(every) / 2
    beside = [torch.nextafter(ties, torch.full_like(ties, to)) for to in (-torch.inf, torch.inf)]
    for values in (patterns.to(torch.int32).view(torch.float32), ties, *beside):
        assert same(convert(library, f"to {NAMES[dtype]}", values, dtype), values.to(dtype))
