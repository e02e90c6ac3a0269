"""Cues become images that move, mirror and turn with the frames."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from peclip_fast.config.data import AugmentConfig
from peclip_fast.data.cues.images import IMAGES, cue_images
from peclip_fast.data.cues.regions import COLOURS, CONTOURS, REGIONS
from peclip_fast.data.cues.store import Cues
from peclip_fast.data.transforms.augment import ClipTransform, centre_transform, draw_transform
from peclip_fast.demo.animate import one_expression, play, true_cues
from peclip_fast.demo.identity import Identity
from peclip_fast.errors import InputError

SIZE = 96


@pytest.fixture(scope="module")
def cues() -> Cues:
    """The true ones of a drawn face."""
    rng = np.random.default_rng()
    return true_cues(play(Identity.numbered(7), one_expression((6, 12), rng), 5, rng), SIZE)


def whole(height: int = SIZE, width: int = SIZE) -> ClipTransform:
    return centre_transform(height, width)


@pytest.mark.parametrize("name", IMAGES)
def test_a_mirrored_frame_has_the_mirrored_image(cues: Cues, name: str) -> None:
    plain = cue_images(name, cues, (SIZE, SIZE), whole(), 64)
    flipped = dataclasses.replace(whole(), flip=True)
    mirrored = cue_images(name, cues, (SIZE, SIZE), flipped, 64)
    assert plain.shape == (5, 3, 64, 64)
    assert plain.dtype == torch.uint8
    assert plain.is_contiguous(memory_format=torch.channels_last)
    assert plain.any()
    back = mirrored.flip(-1).float()
    for one, other in ((plain.float(), back), (back, plain.float())):
        around = F.max_pool2d(other, 3, stride=1, padding=1)  # a line may be a pixel beside it
        assert (one > around + 64).float().mean() < 0.01


@pytest.mark.parametrize("name", IMAGES)
def test_frames_of_another_size_have_the_same_image(cues: Cues, name: str) -> None:
    """Cues hold for a clip that was made smaller or larger since."""
    plain = cue_images(name, cues, (SIZE, SIZE), whole(), 64)
    larger = cue_images(name, cues, (2 * SIZE, 2 * SIZE), whole(2 * SIZE, 2 * SIZE), 64)
    assert torch.equal(plain, larger)


def test_colours_of_the_frames_are_theirs_alone(cues: Cues) -> None:
    generator = torch.Generator().manual_seed(3)
    drawn = draw_transform(SIZE, SIZE, AugmentConfig(contrast=0.5), generator)
    pale = dataclasses.replace(drawn, brightness=1.0, contrast=1.0)
    for name in IMAGES:
        first, second = (cue_images(name, cues, (SIZE, SIZE), t, 32) for t in (drawn, pale))
        assert torch.equal(first, second)


def test_parsing_images_have_the_regions_colours_alone(cues: Cues) -> None:
    pixels = cue_images("parsing", cues, (SIZE, SIZE), whole(), 50).permute(0, 2, 3, 1)
    found = {tuple(colour) for colour in pixels.reshape(-1, 3).unique(dim=0).tolist()}
    assert found <= {tuple(colour) for colour in COLOURS.tolist()}
    assert len(found) >= 7


def test_contours_are_drawn_where_the_landmarks_are(cues: Cues) -> None:
    """Each contour's own colour is found at its landmarks, and black is far from all."""
    image = cue_images("landmarks", cues, (SIZE, SIZE), whole(), 4 * SIZE)[0].permute(1, 2, 0)
    points = np.rint(cues.points[0] * 4).astype(int).clip(0, 4 * SIZE - 1)
    for region, line in CONTOURS[68]:
        colour = torch.from_numpy(COLOURS[REGIONS.index(region)]).float()
        at = image[points[list(line), 1], points[list(line), 0]].float()
        near = (at - colour).abs().sum(-1) < 200
        assert near.float().mean() > 0.7, region
    y, x = np.nonzero(image.sum(-1).numpy())
    distance = np.hypot(x[:, None] - points[:, 0], y[:, None] - points[:, 1]).min(1)
    assert distance.max() < 4 * SIZE / 8


def test_no_face_is_black() -> None:
    nothing = Cues(np.full((2, 468, 2), np.nan), (40, 60))
    for name in IMAGES:
        images = cue_images(name, nothing, (40, 60), whole(40, 60), 32)
        assert images.shape == (2, 3, 32, 32)
        assert not images.any()


def test_landmarks_without_outlines_need_maps(cues: Cues) -> None:
    bare = cues._replace(regions=None)
    with pytest.raises(InputError, match="68 landmarks; expected the 468 of FaceMesh"):
        cue_images("parsing", bare, (SIZE, SIZE), whole(), 32)
