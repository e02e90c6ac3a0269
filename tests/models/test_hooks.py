"""Hooks in every kind of block: what they get, and that what they give counts."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from helpers.models.small_towers import KINDS, SIZE, save_small
from torch import Tensor

from peclip_fast import Hooks, create_model
from peclip_fast.models.backbone import load_backbone
from peclip_fast.models.encoders import CLIPEncoders
from peclip_fast.models.parts.prompts import Prompts
from peclip_fast.models.towers import TextTower, vision_tower

CLASSES = ("happiness", "sadness", "anger")
LABELS = torch.tensor([0, 2])


@pytest.fixture(scope="module", params=KINDS)
def backbone(request, tmp_path_factory):
    return load_backbone(save_small(request.param, tmp_path_factory.mktemp(request.param)))


def add_to_products(block, weight: Tensor) -> None:
    """``weight`` (3D, D) onto the backbone's own for queries, keys and values."""
    attn = block.attn if hasattr(block, "attn") else block.block.attn
    with torch.no_grad():
        if hasattr(attn, "in_proj_weight"):
            attn.in_proj_weight.add_(weight)
        elif attn.qkv is not None:
            attn.qkv.weight.add_(weight)
        else:
            layers = attn.q_proj, attn.k_proj, attn.v_proj
            for layer, part in zip(layers, weight.chunk(3), strict=True):
                layer.weight.add_(part)


def test_qkv_is_a_change_of_the_packed_weight(backbone):
    """In the fused path, in the one of few queries and in the one with maps, of both towers."""
    changed = copy.deepcopy(backbone)
    pairs = [
        *zip(vision_tower(backbone, "").blocks, vision_tower(changed, "").blocks, strict=True),
        *zip(TextTower(backbone, "").blocks, TextTower(changed, "").blocks, strict=True),
    ]
    for ours, theirs in pairs:
        attn = ours.attn if hasattr(ours, "attn") else ours.block.attn
        width = (attn.out_proj if hasattr(attn, "out_proj") else attn.proj).weight.shape[0]
        weight = 0.3 * torch.randn(3 * width, width) / width**0.5
        x = torch.randn(2, 19, width)
        seen = []

        def qkv(y, weight=weight, seen=seen):
            seen.append(y)
            return F.linear(y, weight)

        with torch.no_grad():
            plain = ours.attend(x)
            found = [
                ours.attend(x, qkv=qkv),
                ours.attend(x, queries=1, qkv=qkv),
                ours.attend(x, qkv=qkv, backend="reference"),
                ours.attend_with_maps(x, qkv)[0],
            ]
            add_to_products(theirs, weight)
            expected = theirs.attend(x)
        assert (plain - expected).abs().max() > 0.01
        for one in found:
            torch.testing.assert_close(one, expected[:, : one.shape[1]], atol=2e-5, rtol=1e-4)
        assert all(torch.equal(y, seen[0]) for y in seen)


def test_a_shift_is_added_to_the_class_token_and_the_patches(backbone):
    tower = vision_tower(backbone, "")
    frames, prompts = torch.rand(4, 3, SIZE, SIZE), torch.randn(2, 96)
    shift = torch.randn(4, 1, 96)
    backbone = tower.visual
    norm = backbone.trunk if hasattr(backbone, "trunk") else backbone
    norm_name = "norm_pre" if hasattr(backbone, "trunk") else "ln_pre"
    before = []
    hook = getattr(norm, norm_name).register_forward_pre_hook(lambda _, x: before.append(x[0]))
    with torch.no_grad():
        tower.embed(frames, prompts)
        tower.embed(frames, prompts, shift)
        tower.embed(frames, prompts, shift[:1])  # one for all frames
    hook.remove()
    plain, shifted, same = before
    own = tower.prefix + tower.patches
    torch.testing.assert_close(shifted[:, :own], plain[:, :own] + shift)
    torch.testing.assert_close(same[:, :own], plain[:, :own] + shift[:1])
    assert torch.equal(shifted[:, own:], plain[:, own:])


def test_hooks_without_effect_are_plain_clip(tiny_backbone):
    """And each gets the block's number and shapes that are promised."""
    torch.manual_seed(0)
    model = create_model("clip_lora", tiny_backbone, classes=CLASSES).eval()
    called = []

    def noted(name, shape):
        called.append((name, *shape))

    def enter(i, x):
        noted(f"enter {i}", x.shape)
        return x

    def qkv(i, y):
        noted(f"qkv {i}", y.shape)
        return y.new_zeros(*y.shape[:-1], 3 * y.shape[-1])

    def hook(i, y, x):
        noted(f"hook {i}", y.shape)
        assert y.shape == x.shape
        return x + y

    frames = torch.rand(2, 3, 3, 32, 32)
    with torch.no_grad():
        plain = model.encode_frames(frames)
        found = model.encode_frames(frames, Hooks(hook, hook, enter, qkv))
        texts = model.encode_text(model.class_tokens)
        assert torch.equal(
            model.encode_text(model.class_tokens, Hooks(hook, hook, enter, qkv)), texts
        )
    torch.testing.assert_close(found, plain, atol=1e-6, rtol=0)
    vision = called[: 3 * 4]
    for i in range(3):
        tokens = 1 if i == 2 else 17  # the last block computes the class token only
        assert vision[4 * i : 4 * i + 4] == [
            (f"enter {i}", 6, 17, 96),
            (f"qkv {i}", 6, 17, 96),
            (f"hook {i}", 6, tokens, 96),
            (f"hook {i}", 6, tokens, 96),
        ]


def test_enter_comes_after_the_block_has_its_own_prompts(tiny_backbone):
    model = create_model("pe_clip", tiny_backbone, classes=CLASSES, prompt_depth=2).eval()
    context = model.frame_context()
    seen = []
    hooks = Hooks(enter=lambda i, x: seen.append(x) or x)
    with torch.no_grad():
        model.encode_frames(torch.rand(1, 2, 3, 32, 32), hooks, context)
    assert torch.equal(seen[1][:, -2:], context[1].expand(2, -1, -1))
    assert not torch.equal(seen[2][:, -2:], context[1].expand(2, -1, -1))


def test_a_shift_is_each_frames_own(tiny_backbone):
    """(T, 1, D) in every clip: shifting the positions themselves is the same."""
    model = create_model("aim", tiny_backbone, classes=CLASSES).eval()
    frames, shift = torch.rand(2, 3, 3, 32, 32), torch.randn(3, 1, 96)
    with torch.no_grad():
        found = model.encode_frames(frames, shift=shift)
        positions = model.backbone.visual.positional_embedding
        kept = positions.clone()
        for t in range(3):
            positions.copy_(kept + shift[t])
            expected = model.encode_frames(frames[:, t : t + 1])
            torch.testing.assert_close(found[:, t : t + 1], expected, atol=1e-5, rtol=0)


def gradients(model, frames: Tensor, blocks: int) -> list[Tensor]:
    model.recompute(blocks)
    torch.manual_seed(3)
    loss = F.cross_entropy(model(frames), LABELS)
    return torch.autograd.grad(loss, list(model.trained_parameters().values()))


@pytest.mark.parametrize("random", [True, False])
def test_recomputed_blocks_draw_the_same_numbers(tiny_backbone, random, monkeypatch):
    """Where the hooks say that they draw some; that it matters is seen where they don't."""
    torch.manual_seed(0)
    model = create_model("clip_lora", tiny_backbone, classes=CLASSES[:3], lora_dropout=0.5)
    with torch.no_grad():
        for parameter in model.trained_parameters().values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    hooks = model.frame_hooks(3)
    assert hooks.random
    monkeypatch.setattr(model, "frame_hooks", lambda _: hooks._replace(random=random))
    frames = torch.rand(2, 3, 3, 32, 32)
    expected, found = gradients(model, frames, 0), gradients(model, frames, 3)
    same = [torch.equal(a, b) for a, b in zip(found, expected, strict=True)]
    assert all(same) == random
    assert not torch.equal(gradients(model.eval(), frames, 0)[0], expected[0])


def test_a_context_for_each_class(tiny_backbone):
    """Each text is encoded as with its own context given to all; deeper layers' too."""
    model = create_model("clip_lora", tiny_backbone, classes=CLASSES).eval()
    prompts = Prompts(4, 2, 64, classes=3)
    assert [tuple(p.shape) for p in prompts.parameters()] == [(3, 4, 64)] * 2
    with torch.no_grad():
        for parameter in prompts.parameters():
            parameter.normal_()
        context = prompts.for_text()
        found = model.encode_text(model.class_tokens, context=context)
        for i in range(3):
            own = [layer[i] for layer in context]
            expected = model.encode_text(model.class_tokens[i : i + 1], context=own)
            torch.testing.assert_close(found[i : i + 1], expected, atol=1e-6, rtol=0)
        one = model.encode_text(model.class_tokens, context=[layer[0] for layer in context])
        assert not torch.allclose(found[1:], one[1:], atol=1e-3)
    with pytest.raises(ValueError, match="can't be projected into the frames"):
        Prompts(4, 2, 64, 96, classes=3)


def test_encoders_stand_on_their_own(tiny_backbone):
    """Frames and texts are those of open_clip without any method."""
    from peclip_fast import ModelConfig

    clip = load_backbone(tiny_backbone)
    encoders = CLIPEncoders(ModelConfig(backbone=tiny_backbone), clip)
    frames = torch.rand(1, 2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            encoders.encode_frames(frames)[0], clip.encode_image(frames[0]), atol=1e-5, rtol=0
        )
