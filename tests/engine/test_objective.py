"""What a step makes of a batch: the bits that it had before one operator prepared the frames."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from peclip_fast import create_model
from peclip_fast.config.data import DataConfig, MixConfig
from peclip_fast.config.run import RunConfig
from peclip_fast.config.train import TrainConfig
from peclip_fast.data.randomness import derived_seed
from peclip_fast.data.transforms.mixing import draw_mixing, mix_targets
from peclip_fast.engine.objective import Objective
from peclip_fast.models.adapted_clip import AdaptedCLIP

MIXES = {
    "mixup": MixConfig(mixup=1.0, fmix=0.0),
    "fmix": MixConfig(mixup=0.0, fmix=1.0),
    "none": MixConfig(mixup=0.0, fmix=0.0),
}
CLIPS, FRAMES = 3, 2


def objective(backbone: str, mix: str, **options: object) -> Objective:
    torch.manual_seed(0)
    model = create_model(backbone=backbone, classes=("happiness", "anger"), **options)
    config = RunConfig(
        model=model.config,
        data=DataConfig("folder", "nowhere", frames=FRAMES, cues="nowhere", mix=MIXES[mix]),
        train=TrainConfig(seed=5, precision="fp32"),
    )
    return Objective(model.train(), config, 1)


def batch(model: AdaptedCLIP) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (CLIPS, FRAMES, 3, model.image_size, model.image_size)
    images = {
        name: torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        for name in model.inputs
    }
    return {**images, "label": torch.tensor([0, 1, 1])}


def as_before(whole: Objective, given: dict[str, Tensor], step: int) -> Tensor:
    """Float32 frames in [0, 1], mixed by PyTorch; the encoder takes mean and deviation off."""
    model, config = whole.model, whole.config
    torch.manual_seed(derived_seed(config.train.seed, step, whole.rank))
    targets = F.one_hot(given["label"], 2).float()
    images = torch.cat([given[name] for name in model.inputs], 1) / 255
    size = (model.image_size, model.image_size)
    mixing = draw_mixing(CLIPS, size, config.data.mix, seed=5, step=step, rank=1)
    assert (mixing is None) == (config.data.mix.mixup + config.data.mix.fmix == 0)
    if mixing is not None:
        partners, keep, share = mixing
        if keep is None:
            images = torch.lerp(images[partners], images, share)
        else:
            images = torch.where(keep, images, images[partners])
        targets = mix_targets(targets, mixing)
    parts = images.chunk(len(model.inputs), 1)
    return model.loss(model(**dict(zip(model.inputs, parts, strict=True))), targets)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("normalize", ["none", "clip"])
@pytest.mark.parametrize("mix", MIXES)
def test_the_same_bits(tiny_backbone: str, mix: str, normalize: str, autocast: bool) -> None:
    """The loss and every gradient."""
    one = objective(tiny_backbone, mix, normalize=normalize, prompt_depth=3)
    given, trained = batch(one.model), list(one.parameters())
    losses = []
    for function in (one, lambda given, step: as_before(one, given, step)):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast, cache_enabled=False):
            loss = function(given, 4)
        gradients = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
        losses.append([loss.detach(), *gradients])
    for found, expected in zip(*losses, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("mix", MIXES)
def test_cues_are_mixed_as_their_frames(tiny_backbone: str, mix: str) -> None:
    cues = {"parsing": True, "landmarks": True}
    one = objective(tiny_backbone, mix, method="finecliper", normalize="clip", **cues)
    assert len(one.model.inputs) == 3
    given = batch(one.model)
    assert torch.equal(one(given, 2), as_before(one, given, 2))


def test_frames_are_prepared_once(tiny_backbone: str) -> None:
    """And only in a step: what the model is given after it is read as ever, also if it fails."""
    one = objective(tiny_backbone, "mixup", normalize="clip", prompt_depth=3)
    given, model = batch(one.model), one.model
    before = model.pixels(given["frames"])
    one(given, 0)
    assert torch.equal(model.pixels(given["frames"]), before)

    def fails(**inputs: Tensor) -> Tensor:
        assert model.pixels(inputs["frames"]) is inputs["frames"]
        raise RuntimeError("stop")

    one.logits = fails
    with pytest.raises(RuntimeError, match="stop"):
        one(given, 0)
    assert torch.equal(model.pixels(given["frames"]), before)
