"""Frames to what a vision encoder reads: the kernel against fp64, and the operator around it."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.numerics.comparison import FLOATS
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from peclip_fast.errors import InputError
from peclip_fast.ops import backends, pixels
from peclip_fast.ops.pixels import pixels_reference
from peclip_fast.ops.pixels.reference import result_dtype

OPS = torch.ops.peclip_fast
# (B, ..., C, H, W)
SHAPES = [
    (1, 3, 1, 1), (2, 1, 3, 7, 5), (3, 2, 3, 16, 16), (4, 3, 37, 41), (2, 1, 2, 1, 4, 9),
    (5, 1, 3, 33, 65), (2, 2, 4, 3, 1),
]  # fmt: skip
MIXINGS = ("none", "mixup", "fmix")
Arguments = dict[str, Any]


def draw(shape: tuple[int, ...], mixing: str, normalized: bool, share: float = 0.3) -> Arguments:
    generator = torch.Generator().manual_seed(zlib.crc32(repr((shape, mixing)).encode()))
    frames = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    # Both ends are there, if anything is.
    frames.view(-1)[:2] = torch.tensor([0, 255])[: frames.numel()]
    given: Arguments = {"frames": frames}
    if normalized:
        for name in ("mean", "std"):
            constant = torch.rand(shape[-3], 1, 1, generator=generator, dtype=torch.float64)
            given[name] = 0.2 + 0.3 * constant
    if mixing != "none":
        given |= {"partners": torch.randperm(shape[0], generator=generator), "share": share}
    if mixing == "fmix":
        given["keep"] = torch.rand(shape[-2:], generator=generator) < 0.4
    return given


def on(device: str, given: Arguments) -> Arguments:
    return {n: v.to(device) if isinstance(v, Tensor) else v for n, v in given.items()}


def before(given: Arguments, dtype: torch.dtype) -> Tensor:
    """What a training step and inference did before there was an operator, to the bit."""
    frames, partners, keep = (given.get(name) for name in ("frames", "partners", "keep"))
    assert frames is not None
    if partners is None:
        x = frames.to(dtype) / 255
    else:
        x = frames / 255
        if keep is None:
            x = torch.lerp(x[partners], x, given["share"])
        else:
            x = torch.where(keep, x, x[partners])
        x = x.to(dtype)
    if "mean" in given:
        x = (x - given["mean"].to(dtype)) / given["std"].to(dtype)
    return x


def colours_last(t: Tensor) -> Tensor:
    return t.movedim(-3, -1).contiguous().movedim(-1, -3)


def part_of_wider(t: Tensor) -> Tensor:
    wide = t.new_full((*t.shape[:-1], t.shape[-1] + 5), 77)
    wide[..., 3:-2] = t
    return wide[..., 3:-2]


def every_other_image(t: Tensor) -> Tensor:
    tall = t.new_full((*t.shape[:-4], 2 * t.shape[-4], *t.shape[-3:]), 77)
    tall[..., ::2, :, :, :] = t
    return tall[..., ::2, :, :, :]


def clips_second(t: Tensor) -> Tensor:
    return t.transpose(0, 1).contiguous().transpose(0, 1)


def columns_first(t: Tensor) -> Tensor:
    return t.movedim(-1, 0).contiguous().movedim(0, -1)


LAYOUTS: list[Callable[[Tensor], Tensor]] = [
    colours_last, part_of_wider, every_other_image, clips_second, columns_first,
    lambda t: every_other_image(colours_last(t)), lambda t: clips_second(colours_last(t)),
    lambda t: colours_last(part_of_wider(t)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [*FLOATS, torch.float64], ids=str)
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("mixing", MIXINGS)
def test_the_reference_is_what_was_before(
    mixing: str, normalized: bool, dtype: torch.dtype
) -> None:
    """Every number of a byte, to the bit; in float64, which nobody trains in, mixing is exacter."""
    frames = torch.arange(256, dtype=torch.uint8).view(4, 1, 1, 8, 8).expand(4, 2, 3, 8, 8)
    given = draw((4, 2, 3, 8, 8), mixing, normalized) | {"frames": frames}
    for share in (0.3, 0.5, 0.62):
        given["share"] = share
        found, expected = pixels(**given, dtype=dtype), before(given, dtype)
        assert found.dtype == expected.dtype
        if dtype == torch.float64 and mixing != "none":
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        else:
            assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_fp64(
    shape: tuple[int, ...], mixing: str, normalized: bool, dtype: torch.dtype, triton_device: str
) -> None:
    """The error is at most twice eager PyTorch's, and half a unit in the last place is never
    refused: the largest one and all of them together."""
    for share in (0.3, 0.7) if mixing == "mixup" else (0.3,):
        given = on(triton_device, draw(shape, mixing, normalized, share))
        truth = pixels(**given, dtype=torch.float64, backend="reference")
        found, eager = (pixels(**given, dtype=dtype, backend=b) for b in ("triton", "reference"))
        assert found.dtype == dtype
        assert found.shape == truth.shape
        half = torch.finfo(dtype).eps / 2
        for measure in (lambda t: t.abs().max(), torch.linalg.vector_norm):
            error, theirs = (measure(t.double() - truth) for t in (found, eager))
            assert error <= 2 * theirs + half * measure(truth)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("mixing", ["none", "fmix"])
def test_the_bits_of_a_cpu(mixing: str, normalized: bool, triton_device: str) -> None:
    """Where nothing is summed, every number is rounded as a CPU rounds it."""
    given = draw((3, 2, 3, 17, 31), mixing, normalized)
    expected = pixels_reference(**given)
    assert torch.equal(pixels(**on(triton_device, given), backend="triton").cpu(), expected)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_whole_shares_mix_nothing(share: float, triton_device: str) -> None:
    given = on(triton_device, draw((3, 2, 3, 9, 8), "mixup", True, share))
    alone = {name: given[name] for name in ("mean", "std")}
    frames = given["frames"] if share else given["frames"][given["partners"]]
    for backend in ("triton", "reference"):
        found = pixels(**given, backend=backend)
        assert torch.equal(found, pixels(frames, **alone, backend=backend))


@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.parametrize("layout", range(len(LAYOUTS)))
def test_layouts(layout: int, mixing: str, triton_device: str) -> None:
    given = on(triton_device, draw((3, 4, 3, 10, 12), mixing, True))
    expected = pixels(**given, backend="triton")
    placed = LAYOUTS[layout](given["frames"])
    assert torch.equal(placed, given["frames"])
    if mixing == "fmix":
        given["keep"] = given["keep"].T.contiguous().T
    found = pixels(**given | {"frames": placed}, backend="triton")
    assert torch.equal(found, expected)


@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_colours_stay_innermost(backend: str, triton_device: str) -> None:
    """As loaders have them, and as convolutions read them fastest."""
    frames = draw((2, 3, 3, 8, 9), "none", False)["frames"].to(triton_device)
    placed = colours_last(frames)
    assert pixels(placed, backend=backend).stride() == placed.stride()
    assert pixels(frames, backend=backend).is_contiguous()


@pytest.mark.parametrize("shape", [(0, 2, 3, 8, 8), (2, 0, 3, 8, 8), (2, 2, 3, 0, 8)], ids=str)
def test_nothing(shape: tuple[int, ...], triton_device: str) -> None:
    given = on(triton_device, draw((max(shape[0], 1), 2, 3, 8, 8), "mixup", True))
    given |= {"frames": given["frames"].new_empty(shape), "partners": given["partners"][: shape[0]]}
    for backend in ("triton", "reference"):
        assert pixels(**given, backend=backend).shape == shape


def test_the_frames_stay(triton_device: str) -> None:
    given = on(triton_device, draw((3, 2, 3, 8, 8), "fmix", True))
    kept = {n: v.clone() if isinstance(v, Tensor) else v for n, v in given.items()}
    pixels(**given, backend="triton")
    for name, value in kept.items():
        assert torch.equal(torch.as_tensor(given[name]), torch.as_tensor(value))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("mixing", "last"), [*itertools.product(MIXINGS, (False, True))])
def test_opcheck(mixing: str, last: bool, dtype: torch.dtype, triton_device: str) -> None:
    given = on(triton_device, draw((2, 2, 3, 4, 5), mixing, mixing != "mixup"))
    frames = colours_last(given["frames"]) if last else given["frames"]
    rest = (given.get(name) for name in ("mean", "std", "partners", "keep"))
    torch.library.opcheck(OPS.pixels_triton, (frames, *rest, 0.3, dtype))


@pytest.mark.parametrize("mixing", MIXINGS)
def test_compile(mixing: str, triton_device: str) -> None:
    given = on(triton_device, draw((2, 2, 3, 8, 8), mixing, True))
    compiled = torch.compile(pixels, backend="aot_eager", fullgraph=True, dynamic=False)
    for backend in ("triton", "reference"):
        expected = pixels(**given, dtype=torch.bfloat16, backend=backend)
        found = compiled(**given, dtype=torch.bfloat16, backend=backend)
        assert torch.equal(found, expected)


def test_floats_have_gradients() -> None:
    """A frame in floats is scaled already; its gradient goes through all that is done to it."""
    given = draw((3, 2, 3, 4, 5), "mixup", True)
    frames = (given["frames"].double() / 255).requires_grad_()
    found = pixels(**given | {"frames": frames}, dtype=torch.float64)
    torch.testing.assert_close(found.detach(), pixels(**given, dtype=torch.float64))
    assert torch.autograd.gradcheck(
        lambda t: pixels(**given | {"frames": t}, dtype=torch.float64), frames
    )


def test_autocast_on_a_cpu_changes_nothing(triton_device: str) -> None:
    """The patches may be multiplied in float32 there. On a GPU its dtype comes out."""
    given = on(triton_device, draw((2, 1, 3, 4, 5), "fmix", True))
    expected = pixels(**given, backend="reference")
    with torch.autocast(triton_device, torch.bfloat16):
        for backend in ("triton", "reference"):
            found = pixels(**given, backend=backend)
            if triton_device == "cpu":
                assert torch.equal(found, expected)
            else:
                assert found.dtype == torch.bfloat16


def test_autocast_on_a_gpu() -> None:
    """Its dtype comes out, of a float64 model float64."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    with FakeTensorMode():
        given = draw((2, 1, 3, 4, 5), "mixup", True)
        given = {n: v.to("cuda") if isinstance(v, Tensor) else v for n, v in given.items()}
        try:
            torch.set_autocast_enabled("cuda", True)
            torch.set_autocast_dtype("cuda", torch.bfloat16)
            for dtype, expected in ((torch.float32, torch.bfloat16), (torch.float64,) * 2):
                assert pixels(**given, dtype=dtype, backend="reference").dtype == expected
                assert result_dtype(given["frames"], dtype) == expected
        finally:
            torch.set_autocast_enabled("cuda", before[0])
            torch.set_autocast_dtype("cuda", before[1])
        assert pixels(**given, backend="reference").dtype == torch.float32


def test_auto_is_the_reference_on_a_cpu() -> None:
    call = torch.device("cpu"), torch.float32, 224, 1
    assert backends.select("pixels", "auto", *call) == "reference"


FRAMES = torch.zeros(2, 4, 3, 8, 9, dtype=torch.uint8)
ONES, ORDER = torch.ones(3, 1, 1), torch.arange(2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"frames": FRAMES.int()}, "frames are torch.int32, expected uint8, or float"),
        ({"frames": FRAMES[0, 0, 0]}, r"shape \(8, 9\), expected \(..., C, H, W\)"),
        ({"frames": FRAMES[0, 0], "partners": ORDER}, r"expected \(B, ..., C, H, W\)"),
        ({"dtype": torch.int32}, "dtype=torch.int32, expected one of floats"),
        ({"mean": ONES}, "expected mean and std, or neither"),
        ({"mean": ONES, "std": ONES[:2]}, r"std has shape \(2, 1, 1\), expected \(3, 1, 1\)"),
        ({"mean": ONES, "std": ONES.int()}, "std is torch.int32, expected floats"),
        ({"partners": torch.arange(3)}, r"partners has shape \(3,\), expected \(2,\)"),
        ({"partners": ORDER.int()}, "partners is torch.int32, expected torch.int64"),
        ({"keep": torch.ones(8, 9) > 0}, "expected partners as well"),
        ({"partners": ORDER, "keep": torch.ones(8, 8) > 0}, r"keep has shape \(8, 8\)"),
        ({"partners": ORDER, "keep": torch.ones(8, 9)}, "keep is torch.float32, expected"),
        ({"partners": ORDER, "share": 1.5}, "share=1.5, expected from 0 to 1"),
        ({"frames": FRAMES.float(), "backend": "triton"}, "the triton backend takes uint8"),
        ({"dtype": torch.float64, "backend": "triton"}, "it takes float32, bfloat16, float16"),
        ({"backend": "cpu"}, "pixels has no cpu kernel"),
        ({"backend": "nothing"}, "'nothing' is not one of"),
    ],
)  # fmt: skip
def test_bad_input(given: Arguments, said: str, triton_device: str) -> None:
    with pytest.raises(InputError, match=said):
        pixels(**{"frames": FRAMES} | given)


def test_another_device(triton_device: str) -> None:
    order = ORDER.to("meta")
    with pytest.raises(InputError, match="partners is on meta, frames on"):
        pixels(FRAMES.to(triton_device), partners=order, backend="triton")
