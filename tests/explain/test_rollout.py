"""Rollouts against PyTorch's own attention maps and a walk from the class token backwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from peclip_fast.explain.rollout import attention_rollout, gradient_rollout, on_patches
from peclip_fast.explain.trace import Trace, trace
from peclip_fast.models.towers.blocks import CLIPBlock


@pytest.fixture
def recorded(monkeypatch):
    """Maps (T, heads, queries, L) of the model's own vision path, by nn.MultiheadAttention."""
    maps, attend = [], CLIPBlock.attend

    def recording(block, x, *, causal=False, queries=None, qkv=None, backend="auto", normed=None):
        if causal:
            return attend(block, x, causal=True, backend=backend)
        attn, y = block.attn, block.norm_1(x)
        _, weights = attn(y[:, :queries], y, y, average_attn_weights=False)
        maps.append(weights)  # what it returns isn't what it multiplies, so that is done here
        if weights.requires_grad:
            weights.retain_grad()
        width = y.shape[-1]
        values = y @ attn.in_proj_weight[-width:].T + attn.in_proj_bias[-width:]
        each = values.split(width // attn.num_heads, -1)
        mixed = torch.cat([weights[:, head] @ v for head, v in enumerate(each)], -1)
        return mixed @ attn.out_proj.weight.T + attn.out_proj.bias

    monkeypatch.setattr(CLIPBlock, "attend", recording)
    return maps


def walk(steps, renewed, tokens):
    """What reaches the class token from each token, for one frame: from the last block to the
    first, a token hands what it has to those it took from. A new prompt keeps it."""
    held, kept = np.eye(tokens)[0], np.zeros(tokens)
    for step, new in zip(reversed(steps), reversed(renewed), strict=True):
        passed = np.zeros(tokens)
        for i in range(len(step)):
            for j in range(tokens):
                passed[j] += held[i] * step[i, j]
        if len(step) == 1:  # the last block computes the class token alone
            assert not held[1:].any()
        for j in range(tokens - new, tokens):
            kept[j] += passed[j]
            passed[j] = 0
        held = passed
    return held + kept


@pytest.mark.parametrize("config", [{}, {"prompts": "none", "temporal": False}], ids=str)
def test_against_an_independent_computation(make, frames, recorded, config):
    model = make(**config)
    with torch.enable_grad():
        seen = trace(model, frames)
        texts = model.encode_classes()
        mean = torch.nn.functional.normalize(seen.features.mean(0), dim=-1)
        gradients = torch.autograd.grad(100 * mean @ texts[1], seen.maps, retain_graph=True)
        recorded.clear()
        model(frames[None].requires_grad_())[0, 1].backward()
    tokens = seen.maps[0].shape[-1]
    attention = attention_rollout(seen).detach()
    gradient = gradient_rollout(seen, gradients).detach()
    for t in range(len(frames)):
        plain, weighted = [], []
        for maps in recorded:
            own = np.eye(tokens)[: maps.shape[2]]
            plain.append((maps[t].mean(0).detach().numpy() + own) / 2)
            gains = (maps[t] * maps.grad[t]).detach().numpy()
            weighted.append(own + np.where(gains > 0, gains, 0).mean(0))
        expected = torch.from_numpy(walk(plain, seen.renewed, tokens)).float()
        torch.testing.assert_close(attention[t], expected, atol=1e-6, rtol=1e-4)
        expected = torch.from_numpy(walk(weighted, seen.renewed, tokens)).float()
        torch.testing.assert_close(gradient[t], expected, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(attention.sum(1), torch.ones(len(frames)))


def test_two_blocks_by_hand():
    """Two tokens, one head, one frame: the class token and a patch."""
    first = torch.tensor([[[[0.5, 0.5], [0.2, 0.8]]]])
    second = torch.tensor([[[[0.4, 0.6], [0.0, 1.0]]]])
    seen = Trace([first, second], [0, 0], [], torch.zeros(1, 1), patches=1)
    # (0.7, 0.3) of the second block's class token, on (0.75, 0.25) and (0.1, 0.9).
    torch.testing.assert_close(attention_rollout(seen), torch.tensor([[0.555, 0.445]]))
    # Only the second block's look at the patch helps: 0.6 * 2.
    gradients = [torch.full((1, 1, 2, 2), -1.0), torch.tensor([[[[-1.0, 2.0], [0.0, 0.0]]]])]
    torch.testing.assert_close(gradient_rollout(seen, gradients), torch.tensor([[1.0, 1.2]]))


def test_pooling_is_followed_without_a_residual():
    """The same first block, and an attention pooling behind it that takes 0.25 and 0.75."""
    first = torch.tensor([[[[0.5, 0.5], [0.2, 0.8]]]])
    pooling = torch.tensor([[[[0.25, 0.75]]]])
    features = torch.zeros(1, 1)
    seen = Trace([first, pooling], [0, 0], [], features, patches=2, prefix=0, class_token=False)
    # On (0.75, 0.25) and (0.1, 0.9).
    torch.testing.assert_close(attention_rollout(seen), torch.tensor([[0.2625, 0.7375]]))
    # The pooling's look at the second patch helps: 1.5 of it, which took 0.8 * 2 of itself.
    gradients = [torch.tensor([[[[-1.0, 0.0], [0.0, 2.0]]]]), torch.tensor([[[[-1.0, 2.0]]]])]
    torch.testing.assert_close(gradient_rollout(seen, gradients), torch.tensor([[0.0, 3.9]]))


@pytest.mark.parametrize("prefix", [0, 1])
def test_patches_lie_as_in_the_frame(prefix):
    rolled = torch.tensor([[9.0, 0, 1, 2, 3, 8, 8][1 - prefix :]])
    seen = Trace([], [], [], torch.zeros(1, 1), patches=4, prefix=prefix)
    assert on_patches(rolled, seen).tolist() == [[[0, 1], [2, 3]]]
