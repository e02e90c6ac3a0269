"""CUDA graphs of the training step: which batches run in them, and with what results.

Without a GPU a stand-in keeps the contract of torch.cuda.make_graphed_callables: one shape, inputs
copied into the memory of the capture, logits and gradients always in the same memory.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.tiny_runs import write_config
from torch import Tensor, nn

from peclip_fast import PECLIP, create_model
from peclip_fast.engine.graphs import GraphedModel

CONFIGS = [
    {},
    {"prompts": "coop", "normalize": "clip"},
    {"recurrence": "none", "scaling": "none"},
    {"text_adapter": False, "shared_vision": False},
]


class StandIn:
    """Counts captures and replays."""

    def __init__(self) -> None:
        self.captures, self.replays = 0, 0

    def __call__(self, module: nn.Module, sample_args: tuple[Tensor]) -> nn.Module:
        stand_in, compute, parameters = self, module.forward, tuple(module.parameters())
        (static,) = sample_args
        kept = [torch.empty_like(p) for p in parameters]
        # Both passes are captured in here, under what is on around the call.
        logits_then = compute(static)
        self.gradients = torch.autograd.grad(logits_then, parameters, torch.ones_like(logits_then))
        logits: list[Tensor] = []
        self.captures += 1

        class Graphed(torch.autograd.Function):
            @staticmethod
            def forward(ctx, frames, *parameters):
                stand_in.replays += 1
                assert frames.shape == static.shape
                static.copy_(frames)
                with torch.enable_grad():
                    ctx.result = compute(static)
                logits[:] = logits or [torch.empty_like(ctx.result)]
                return logits[0].copy_(ctx.result.detach()).detach()

            @staticmethod
            def backward(ctx, grad):
                # As there, a parameter that the result doesn't depend on is an error.
                found = torch.autograd.grad(ctx.result, parameters, grad)
                for memory, gradient in zip(kept, found, strict=True):
                    memory.copy_(gradient)
                return None, *(memory.detach() for memory in kept)

        module.forward = lambda frames: Graphed.apply(frames, *parameters)
        return module


@pytest.fixture
def make(tiny_backbone):
    def make(**config: object) -> PECLIP:
        torch.manual_seed(0)
        classes = ("happiness", "anger")
        model = create_model(backbone=tiny_backbone, classes=classes, prompt_depth=3, **config)
        with torch.no_grad():
            for parameter in model.trained_parameters().values():
                parameter.add_(0.05 * torch.randn_like(parameter))
        return model.train()

    return make


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> str:
    if torch.cuda.is_available():
        return "cuda"
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", StandIn())
    return "cpu"


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("recompute", [0, 2])
def test_every_batch_gets_its_own_gradients(make, device, config, recompute):
    """The last batch of an epoch may be smaller, or larger by one clip."""
    model = make(**config).to(device)
    model.recompute(recompute)
    graphed = GraphedModel(model, 2)
    parameters = list(model.trained_parameters().values())
    for clips in (1, 2, 2, 3, 2):
        frames = torch.rand(clips, 3, 3, 32, 32, device=device)
        expected = model(frames)
        found = graphed(frames)
        torch.testing.assert_close(found, expected)
        one, other = (torch.autograd.grad(y.square().sum(), parameters) for y in (found, expected))
        for a, b in zip(one, other, strict=True):
            assert (a - b).abs().max() <= 1e-4 * b.abs().max()


@pytest.mark.skipif(torch.cuda.is_available(), reason="the stand-in tells what it captured")
@pytest.mark.parametrize("dtype", [torch.bfloat16, None], ids=str)
def test_no_autocast_in_the_captured_backward_pass(make, monkeypatch, dtype):
    """As outside of graphs: forward under autocast, backward not."""
    stand_in = StandIn()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", stand_in)
    model, frames = make(), torch.rand(2, 3, 3, 32, 32)
    with torch.autocast("cpu", dtype, enabled=dtype is not None, cache_enabled=False):
        expected = model(frames)
        found = GraphedModel(model, 2)(frames)
    assert torch.equal(found, expected)
    gradients = torch.autograd.grad(expected.sum(), list(model.trained_parameters().values()))
    for a, b in zip(stand_in.gradients, gradients, strict=True):
        assert torch.equal(a, b)


OPTIONS = [
    ((), (1, 6)),
    (("--train.accumulate", "2", "--train.clip_norm", "0.5"), (1, 6)),
    (("--train.accumulate", "3"), (1, 6)),
]


@pytest.mark.skipif(torch.cuda.is_available(), reason="the stand-in counts")
@pytest.mark.parametrize(("options", "counts"), OPTIONS, ids=str)
def test_a_run_with_graphs_is_the_run_without(
    tiny_backbone, tiny_clips, tmp_path, monkeypatch, options, counts
):
    """15 clips in batches of 4: three whole batches and one of three clips an epoch.

    With 2 batches a step, gradients of whole ones add up, and of a whole and a smaller one.
    """
    from safetensors.torch import load_file

    from peclip_fast.commands import train
    from peclip_fast.engine import distributed

    def run(name: str, *argv: str) -> dict[str, Tensor]:
        path: Path = tmp_path / name
        config = write_config(tmp_path / "c.yaml", tiny_backbone, tiny_clips, batch_size=4)
        argv = (*options, *argv)
        assert train.main(["--config", str(config), "--output", str(path), *argv]) == 0
        return load_file(path / "model" / "model.safetensors")

    expected = run("without")
    stand_in = StandIn()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", stand_in)
    # It would refuse the option.
    monkeypatch.setattr(distributed, "set_up", lambda *_: torch.device("cpu"))
    found = run("with", "--train.cuda_graphs", "true")
    assert (stand_in.captures, stand_in.replays) == counts
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor)


def test_gradients_that_add_up_are_copies(make, device):
    """Without that the second batch's gradient would take the place of the first one's."""
    model = make().to(device)
    parameters = list(model.trained_parameters().values())
    batches = [torch.rand(2, 3, 3, 32, 32, device=device) for _ in range(3)]
    for frames in batches:
        model(frames).square().sum().backward()
    expected = [p.grad.clone() for p in parameters]
    model.zero_grad()
    graphed = GraphedModel(model, 2, adds_up=True)
    for frames in batches:
        graphed(frames).square().sum().backward()
    for parameter, gradient in zip(parameters, expected, strict=True):
        assert (parameter.grad - gradient).abs().max() <= 1e-4 * gradient.abs().max()
