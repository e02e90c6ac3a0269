"""``python -m benchmarks.quantized.fp8_error``: what FP8 products do to the results.

All products of both encoders' frozen blocks (QKV, out, and the two of the MLP), with the weight in
float8_e4m3fn and a scale for each of its output rows, the tokens quantised row by row as they come.
They are emulated: the quantised numbers are multiplied in float32, as a GPU's FP8 product does but
for the order of its sums, so this tells errors and no times. The rest is bf16 as in training.

- fp8 forward: the gradient is multiplied with the dequantised weight in bf16.
- fp8 both ways: the gradient is quantised row by row as well, the weight column by column.

Errors are against fp64, in the 2-norm: of the logits less their mean over the classes, which is all
that softmax sees, and of the gradients of all trained tensors together.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import pe_clip
from benchmarks.measure.record import RESULTS, write
from benchmarks.quantized.products import replaced_by
from peclip_fast import create_model
from peclip_fast.models.backbone import load_backbone
from peclip_fast.models.methods.pe_clip import PECLIP

FP8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FP8).max
PRODUCTS = ("bf16", "fp8 forward", "fp8 both ways")


def quantised(x: Tensor, dim: int) -> Tensor:
    """x (float32) as FP8 has it, with a scale along ``dim`` that brings its largest to FP8's."""
    scale = x.abs().amax(dim, keepdim=True).clamp_min(1e-12) / LARGEST
    return (x / scale).to(FP8).float() * scale


class Product(torch.autograd.Function):
    """x (..., K), weight (N, K), bias (N,) -> (..., N) in bf16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, both_ways: bool) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.both_ways, ctx.dtype = both_ways, x.dtype
        product = quantised(x.float(), -1) @ quantised(weight.float(), 1).T
        return (product + bias.float()).bfloat16()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, grad = ctx.saved_tensors[0].float(), grad.float()
        if ctx.both_ways:
            dx = quantised(grad, -1) @ quantised(weight, 0)
        else:
            dx = grad @ quantised(weight, 1).bfloat16().float()
        return dx.bfloat16().to(ctx.dtype), None, None, None


def activate(hidden: Tensor, activation: str) -> Tensor:
    """In hidden's dtype."""
    quick = activation == "quick_gelu"
    return hidden * torch.sigmoid(1.702 * hidden) if quick else F.gelu(hidden)


@contextlib.contextmanager
def products(kind: str) -> Iterator[None]:
    """The frozen blocks' products of that kind, for the time of the block."""
    if kind == "bf16":
        yield
        return

    def product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        found: Tensor = Product.apply(x, weight, bias, kind == "fp8 both ways")
        return found

    with replaced_by(product, activate):
        yield


def results(model: PECLIP, frames: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits without their mean over the classes, and all gradients in one row."""
    logits = model(frames)
    loss = F.cross_entropy(logits, labels)
    found = torch.autograd.grad(loss, list(model.trained_parameters().values()))
    centred = logits.detach() - logits.detach().mean(1, keepdim=True)
    return centred.double(), torch.cat([g.flatten().double() for g in found])


def make_model(backbone: str) -> PECLIP:
    """With all paths open, as after training."""
    torch.manual_seed(0)
    depth = min(9, len(load_backbone(backbone).visual.transformer.resblocks))
    model = create_model(
        backbone=backbone, classes=pe_clip.CLASSES, prompt_depth=depth, backend="reference"
    )
    with torch.no_grad():
        for parameter in model.trained_parameters().values():
            if not parameter.any():
                parameter.normal_(std=0.02)
    return model.train()


def errors(backbone: str, clips: int, frames: int) -> list[dict[str, Any]]:
    """A row per kind of product."""
    model = make_model(backbone)
    generator = torch.Generator().manual_seed(1)
    shape = (clips, frames, 3, model.image_size, model.image_size)
    pixels, labels = torch.rand(shape, generator=generator), torch.arange(clips)
    found = {}
    for kind in PRODUCTS:
        with products(kind), torch.autocast("cpu", torch.bfloat16):
            found[kind] = results(model, pixels, labels)
    truth = results(model.double(), pixels.double(), labels)
    rows = []
    for kind, values in found.items():
        logits, gradients = (
            ((value - true).norm() / true.norm()).item()
            for value, true in zip(values, truth, strict=True)
        )
        row = {"backbone": backbone, "clips": clips, "frames": frames, "products": kind}
        rows.append({**row, "logits_error": logits, "gradients_error": gradients})
        print(
            f"{backbone:<20}{kind:<14} logits {logits:.2g}  gradients {gradients:.2g}", flush=True
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=["ViT-B-16-quickgelu", "demo"])
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = [
        row for name in options.backbones for row in errors(name, options.clips, options.frames)
    ]
    print(write("fp8_error", torch.device("cpu"), rows, options.output))


if __name__ == "__main__":
    main()
