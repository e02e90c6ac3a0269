"""Activations that are computed again: the same gradients from less memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast import PECLIP, InputError, create_model

LABELS = torch.tensor([0, 1])


@pytest.fixture
def make(tiny_backbone):
    """The same model on each call, with all paths open."""

    def make(blocks: int = 0, **config: object) -> PECLIP:
        torch.manual_seed(0)
        model = create_model(
            backbone=tiny_backbone, classes=("happiness", "anger"), prompt_depth=3, **config
        )
        with torch.no_grad():
            for name, parameter in model.trained_parameters().items():
                parameter.add_(0.05 * torch.randn_like(parameter))
                if name.endswith("scale.bias"):
                    parameter.fill_(2.0)
        model.recompute(blocks)
        return model

    return make


@pytest.fixture
def frames() -> Tensor:
    return torch.rand(2, 3, 3, 32, 32)


def gradients(model: PECLIP, frames: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """The loss and the gradients of all that is trained."""
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = F.cross_entropy(model(frames), LABELS)
    return [loss, *torch.autograd.grad(loss, list(model.trained_parameters().values()))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("config", [{}, {"recurrence": "lstm"}, {"temporal": False}], ids=str)
def test_gradients_are_the_same_to_the_bit(make, frames, dtype, backend, config):
    config = {**config, "backend": backend}
    expected = gradients(make(**config), frames, dtype)
    assert all(g.any() for g in expected)
    for blocks in (1, 3):
        found = gradients(make(blocks, **config), frames, dtype)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_only_the_first_blocks_run_again_and_only_in_the_backward_pass(make, frames):
    model, runs = make(2), []
    for i, adapter in enumerate(model.shared_vision):
        adapter.register_forward_hook(lambda *_, i=i: runs.append(i))
    with torch.no_grad():
        model(frames)
    assert runs == [0, 1, 2]
    runs.clear()
    loss = model(frames).sum()
    assert runs == [0, 1, 2]
    loss.backward()
    assert runs == [0, 1, 2, 1, 0]


def test_less_is_kept(make, frames):
    def kept(blocks: int) -> int:
        stored: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        model = make(blocks)
        for parameter in model.parameters():  # they are there anyway
            stored[parameter.untyped_storage().data_ptr()] = 0
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model(frames).sum()
        total = sum(stored.values())
        loss.backward()
        return total

    of_blocks = [kept(blocks) for blocks in range(4)]
    assert of_blocks == sorted(of_blocks, reverse=True)
    assert of_blocks[3] < 0.5 * of_blocks[0]


@pytest.mark.parametrize("blocks", [-1, 4])
def test_more_blocks_than_there_are(make, blocks):
    with pytest.raises(InputError, match=rf"recompute={blocks}: expected at most the 3 vision"):
        make(blocks)
