"""Backbones: what has blocks with places for the adapters is taken, the rest refused by name."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.models.tiny_backbone import TINY

from peclip_fast import InputError, create_model
from peclip_fast.models.backbone import fingerprint, load_backbone


@pytest.mark.parametrize(
    ("name", "blocks", "width"),
    [
        ("ViT-B-32", 12, 768),
        ("ViT-L-14", 24, 1024),
        ("ViT-S-16-alt", 12, 384),
        ("ViT-M-16-alt", 12, 512),
        ("EVA02-L-14", 24, 1024),
        ("MobileCLIP-B", 12, 768),
        ("ViTamin-S", 14, 384),
    ],
)
def test_open_clips_models_are_taken(name, blocks, width):
    with torch.device("meta"):
        model = create_model(backbone=name, prompt_depth=4)
    assert len(model.temporal) == len(model.shared_vision) == blocks
    assert model.vision_width == width


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("RN50", "vision encoder is a ModifiedResNet"),
        ("coca_ViT-B-32", "vision encoder has CoCa's attentional pooling"),
        ("coca_base", "text encoder ends in a class embedding"),
        ("convnext_base", "vision encoder is timm's ConvNeXt"),
        ("vit_relpos_medium_patch16_cls_224", "vision encoder is timm's VisionTransformerRelPos"),
        ("roberta-ViT-B-32", "text encoder is Hugging Face's roberta-base"),
        ("nllb-clip-base-siglip", "text encoder is Hugging Face's facebook/nllb"),
        ("ViT-B-17", "open_clip knows none of that name"),
    ],
)
def test_others_are_refused(name, message):
    with torch.device("meta"), pytest.raises(InputError, match=f"{name}.*{message}"):
        create_model(backbone=name)


def test_unknown_weights_are_refused():
    with pytest.raises(InputError, match=r"pretrained='openia': no such file.*openai"):
        load_backbone("ViT-B-16-quickgelu", "openia")


def test_a_file_that_holds_no_weights_is_refused(tmp_path):
    (tmp_path / "notes.pt").write_text("not weights")
    with pytest.raises(InputError, match=r"notes\.pt' for ViT-S-32-alt"):
        load_backbone("ViT-S-32-alt", str(tmp_path / "notes.pt"))
    torch.save({"state_dict": {"visual.proj": torch.zeros(3)}}, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt' for ViT-S-32-alt"):
        load_backbone("ViT-S-32-alt", str(tmp_path / "other.pt"))


def test_random_weights_are_the_same_and_leave_the_generator_alone(tiny_backbone):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = load_backbone("ViT-S-32-alt"), load_backbone("ViT-S-32-alt")
    assert torch.equal(torch.get_rng_state(), before)
    assert fingerprint(first) == fingerprint(second) != fingerprint(load_backbone(tiny_backbone))
    assert all(not p.requires_grad for p in first.parameters())
    assert not first.training


def test_a_folder_with_a_wrong_config(tmp_path):
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"depth": 3}}')
    with pytest.raises(InputError, match=r"open_clip_config\.json: expected open_clip's model_cfg"):
        load_backbone(str(tmp_path))
    (tmp_path / "open_clip_config.json").write_text("{")
    with pytest.raises(InputError, match=r"open_clip_config\.json: broken JSON"):
        load_backbone(str(tmp_path))
    for part, key, value in (
        ("vision_cfg", "patch_size", [1, 2, 3]),
        ("vision_cfg", "image_size", "32"),
        ("vision_cfg", "head_width", 0),
        ("vision_cfg", "mlp_ratio", None),
        ("text_cfg", "heads", 0),
        ("text_cfg", "context_length", -1),
        ("text_cfg", "width", 1 << 62),
        ("text_cfg", "unknown", 1),
    ):
        config = {**TINY, part: {**TINY[part], key: value}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
        with pytest.raises(InputError, match=r"config\.json: expected open_clip's model_cfg, got"):
            load_backbone(str(tmp_path))
    config = {"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5, 0.5]}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"mean=\[0\.5, 0\.5\], expected three numbers"):
        load_backbone(str(tmp_path))
