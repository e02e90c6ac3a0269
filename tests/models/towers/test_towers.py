"""Every kind of tower, opened and closed again, computes what open_clip's own model does."""

from __future__ import annotations

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from helpers.models.small_towers import BLOCKS, KINDS, PIXELS, SIZE, save_small

from peclip_fast import InputError, create_model
from peclip_fast.models.backbone import load_backbone
from peclip_fast.models.towers import TextTower, vision_tower
from peclip_fast.models.towers.blocks import CLIPBlock, ViTBlock
from peclip_fast.models.towers.timm_block import TimmBlock

TEXTS = ["a broad smile on a face", "a tear", "drawn brows, a frown"]
CLASSES = ("happiness", "sadness", "anger")
NOTHING = {
    "prompts": "none",
    "text_adapter": False,
    "shared_text": False,
    "shared_vision": False,
    "temporal": False,
}
BLOCK = {
    "clip": CLIPBlock, "clip-scaled": CLIPBlock, "clipa": CLIPBlock, "clip-mean": CLIPBlock,
    "worldwide": CLIPBlock, "siglip": ViTBlock, "siglip2": ViTBlock, "siglip-i18n": ViTBlock,
    "mobileclip2": ViTBlock, "gap": TimmBlock, "eva01": TimmBlock, "eva02": TimmBlock,
    "eva02-norms-behind": TimmBlock, "pe-core": TimmBlock,
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def backbone(kind, tmp_path_factory):
    return save_small(kind, tmp_path_factory.mktemp(kind))


@pytest.fixture(scope="module")
def nothing_trained(backbone):
    config = {"classes": CLASSES, "texts": TEXTS, **NOTHING}
    return create_model(backbone=backbone, **config).eval()


def test_clips_are_those_of_encode_image(nothing_trained):
    frames = torch.rand(2, 3, 3, SIZE, SIZE)
    with torch.no_grad():
        images = nothing_trained.backbone.encode_image(frames.flatten(0, 1))
        expected = F.normalize(images.unflatten(0, (2, 3)).mean(1), dim=-1)
        found = nothing_trained.encode_clips(frames)
    assert found.std(0).max() > 1e-3, "the clips' features should differ"
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_texts_are_those_of_encode_text(nothing_trained):
    tower, tokens = nothing_trained.text, nothing_trained.class_tokens
    padded = F.pad(tokens, (0, tower.context_length - tokens.shape[1]))
    assert (tokens.shape[1] == tower.context_length) == tower.whole
    with torch.no_grad():
        expected = nothing_trained.backbone.encode_text(padded, normalize=True)
        found = nothing_trained.encode_classes()
    assert found.std(0).max() > 1e-3, "the texts' features should differ"
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_parts_of_a_tower(kind, backbone):
    model = load_backbone(backbone)
    tower, text = vision_tower(model, backbone), TextTower(model, backbone)
    assert (tower.width, tower.image_size, tower.patches) == (96, SIZE, 16)
    assert [type(block) for block in tower.blocks] == [BLOCK[kind]] * BLOCKS
    pooled = kind.startswith("siglip") or kind in ("pe-core", "clipa", "clip-mean", "gap")
    assert tower.queries == (None if pooled else 1)
    assert tower.prefix == (0 if kind.startswith("siglip") or kind == "gap" else 1)
    assert (list(tower.mean), list(tower.std)) == (PIXELS["mean"], PIXELS["std"])
    assert text.causal == ("no_causal_mask" not in KINDS[kind]["text_cfg"])
    with torch.no_grad():
        x = tower.embed(torch.rand(2, 3, SIZE, SIZE), torch.randn(2, 96))
        assert x.shape == (2, tower.prefix + 16 + 2, 96)
        for block in tower.blocks:  # the shortcut, the fused path and the formula agree
            whole, (plain, maps) = block.attend(x), block.attend_with_maps(x)
            torch.testing.assert_close(whole, plain, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(whole[:, :1], block.attend(x, queries=1), atol=1e-5, rtol=0)
            torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))
            x = x + whole
            x = x + block.feed_forward(x)
        pooled, maps = tower.pool_with_maps(x)
        torch.testing.assert_close(pooled, tower.pool(x[:, : tower.queries]))
        if tower.queries is not None:
            assert maps is None
        else:
            torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))


def test_rotary_positions_leave_prompts_alone(tmp_path):
    """The frame's own tokens see no more of prompts that nobody looks at than of none."""
    model = load_backbone(save_small("eva02", tmp_path))
    tower = vision_tower(model, "eva02")
    x, block = tower.embed(torch.rand(2, 3, SIZE, SIZE), None), tower.blocks[0]
    prompts = torch.randn(2, 3, 96)
    with torch.no_grad():
        alone, _, _ = block.heads(x)
        q, k, _ = block.heads(torch.cat([x, prompts], 1))
        torch.testing.assert_close(q[:, :, :17], alone)
        # Not turned: the same prompts at other places have the same queries and keys.
        q2, k2, _ = block.heads(torch.cat([x, prompts.flip(1)], 1))
        torch.testing.assert_close(q2[:, :, 17:], q[:, :, 17:].flip(2))
        torch.testing.assert_close(k2[:, :, 17:], k[:, :, 17:].flip(2))


@pytest.mark.parametrize("normalize", ["clip", "none"])
def test_pixels_are_the_backbones_own(tmp_path, normalize):
    name = save_small("siglip", tmp_path)
    model = create_model(
        backbone=name, classes=CLASSES, texts=TEXTS, normalize=normalize, prompt_depth=1
    )
    frames = torch.rand(1, 2, 3, SIZE, SIZE)
    mean, std = (torch.tensor(PIXELS[key]).view(3, 1, 1) for key in ("mean", "std"))
    expected = (frames - mean) / std if normalize == "clip" else frames
    torch.testing.assert_close(model.pixels(frames), expected)


def test_open_clips_tags_give_the_pixels_of_a_name():
    with torch.device("meta"):
        towers = [
            vision_tower(load_backbone(name), name)
            for name in ("ViT-B-16-SigLIP", "ViT-B-16", "ViT-S-32-alt")
        ]
    assert [round(tower.mean[0], 2) for tower in towers] == [0.5, 0.48, 0.48]
    assert [round(tower.std[0], 2) for tower in towers] == [0.5, 0.27, 0.27]


@pytest.mark.parametrize(
    ("vision", "text", "message"),
    [
        ({"timm_pool": "avgmax"}, {}, "vision encoder pools by 'avgmax'"),
        ({"timm_model_name": "convnext_atto", "timm_pool": "avg"}, {}, "timm's ConvNeXt"),
        ({"timm_model_name": "vit_of_nobody"}, {}, "expected open_clip's model_cfg.*vit_of_nobody"),
        ({}, {"embed_cls": True}, "text encoder ends in a class embedding"),
        ({}, {"pool_type": "first"}, "text encoder pools by 'first'"),
        ({}, {"block_type": "custom"}, "text encoder has blocks of the kind CustomResidual"),
    ],
)
def test_what_can_not_work_is_refused_by_name(tmp_path, vision, text, message):
    config = copy.deepcopy(KINDS["siglip"])
    config["vision_cfg"].update(vision)
    config["text_cfg"].update(text)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with torch.device("meta"), pytest.raises(InputError, match=message) as refusal:
        create_model(backbone=str(tmp_path), classes=CLASSES, texts=TEXTS)
    assert str(tmp_path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
