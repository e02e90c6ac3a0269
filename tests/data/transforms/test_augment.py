from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from peclip_fast.config.data import AugmentConfig
from peclip_fast.data.transforms.augment import (
    ClipTransform,
    add_noise,
    apply_transform,
    centre_transform,
    draw_transform,
    move_maps,
    move_points,
)


def smooth_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def draws(
    config: AugmentConfig, count: int = 2000, size: tuple[int, int] = (256, 256)
) -> list[ClipTransform]:
    generator = torch.Generator().manual_seed(0)
    return [draw_transform(*size, config, generator) for _ in range(count)]


EVERYTHING = AugmentConfig(contrast=0.4, saturation=0.4, rotation=20.0)


def test_all_frames_of_a_clip_get_the_same() -> None:
    frames = np.stack([smooth_image(60, 80)] * 5)
    for transform in draws(EVERYTHING, 20, (60, 80)):
        out = apply_transform(frames, transform, 32)
        assert out.shape == (5, 3, 32, 32)
        assert out.dtype == torch.uint8
        assert (out == out[:1]).all()


def test_result_depends_on_the_generator_alone() -> None:
    assert draws(EVERYTHING, 5) == draws(EVERYTHING, 5)
    assert len(set(draws(EVERYTHING, 50))) == 50


def test_input_is_not_changed() -> None:
    frames = np.stack([smooth_image(40, 40)] * 2)
    before = frames.copy()
    for transform in draws(EVERYTHING, 10, (40, 40)):
        apply_transform(frames, transform, 40)
    assert np.array_equal(frames, before)


def test_crop_distribution() -> None:
    transforms = draws(AugmentConfig())
    area = np.array([t.height * t.width for t in transforms]) / 256**2
    ratio = np.array([t.width / t.height for t in transforms])
    assert area.min() > 0.075
    assert area.max() <= 1
    # Uniform in area, but that large crops of uneven ratio don't fit.
    assert np.mean(area < 0.54) == pytest.approx(0.54, abs=0.05)
    assert np.log(ratio).min() > np.log(3 / 4) - 0.05
    assert np.log(ratio).max() < np.log(4 / 3) + 0.05
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.01)
    for t in transforms:
        assert 0 <= t.top <= 256 - t.height
        assert 0 <= t.left <= 256 - t.width
    # The place is uniform over what the crop leaves free.
    free = np.array([t.left / (256 - t.width) for t in transforms if t.width < 200])
    assert free.mean() == pytest.approx(0.5, abs=0.03)
    assert free.std() == pytest.approx(12**-0.5, abs=0.02)


def test_other_distributions() -> None:
    transforms = draws(AugmentConfig(hflip=0.25, brightness=0.5, rotation=4.0))
    assert np.mean([t.flip for t in transforms]) == pytest.approx(0.25, abs=0.03)
    brightness = np.array([t.brightness for t in transforms])
    assert brightness.min() == pytest.approx(0.5, abs=0.01)
    assert brightness.max() == pytest.approx(1.5, abs=0.01)
    assert brightness.mean() == pytest.approx(1.0, abs=0.02)
    angle = np.array([t.angle for t in transforms])
    assert np.abs(angle).max() == pytest.approx(4.0, abs=0.05)
    assert angle.mean() == pytest.approx(0.0, abs=0.15)
    assert {t.contrast for t in transforms} == {1.0}


def test_crop_that_never_fits_is_the_largest_centred_one() -> None:
    wide = AugmentConfig(scale_min=1.0, ratio_min=3.0, ratio_max=3.0)
    transform = draw_transform(90, 100, wide, torch.Generator().manual_seed(0))
    assert (transform.height, transform.width) == (33, 100)
    assert (transform.top, transform.left) == (28, 0)


@pytest.mark.parametrize(("height", "width"), [(48, 48), (256, 256), (224, 224)])
def test_square_frames_in_testing_are_resized_as_in_the_field(height: int, width: int) -> None:
    image = smooth_image(height, width)
    out = apply_transform(image[None], centre_transform(height, width), 224)[0]
    expected = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BILINEAR))
    difference = np.abs(out.permute(1, 2, 0).numpy().astype(int) - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.5


def test_other_frames_in_testing_keep_their_proportions() -> None:
    assert centre_transform(90, 160) == ClipTransform(0.0, 0, 35, 90, 90)
    assert centre_transform(160, 91) == ClipTransform(0.0, 34, 0, 91, 91)
    assert apply_transform(smooth_image(31, 57)[None], centre_transform(31, 57), 24).shape[-1] == 24


WHOLE = ClipTransform(0.0, 0, 0, 64, 64)


def test_nothing_to_do_keeps_every_pixel() -> None:
    image = smooth_image(64, 64)
    out = apply_transform(image[None], WHOLE, 64)
    assert np.array_equal(out[0].permute(1, 2, 0).numpy(), image)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_flip() -> None:
    image = smooth_image(64, 64)
    out = apply_transform(image[None], dataclasses.replace(WHOLE, flip=True), 64)
    assert np.array_equal(out[0].permute(1, 2, 0).numpy(), image[:, ::-1])


@pytest.mark.parametrize("factor", [0.5, 0.93, 1.5])
def test_brightness_multiplies(factor: float) -> None:
    image = smooth_image(64, 64)
    out = apply_transform(image[None], dataclasses.replace(WHOLE, brightness=factor), 64)
    expected = np.clip(image * factor, 0, 255).astype(np.uint8)
    assert np.array_equal(out[0].permute(1, 2, 0).numpy(), expected)


def test_contrast_and_saturation_at_their_ends() -> None:
    image = smooth_image(64, 64)
    flat = apply_transform(image[None], dataclasses.replace(WHOLE, contrast=0.0), 64)
    assert flat.float().std() < 1
    grey = apply_transform(image[None], dataclasses.replace(WHOLE, saturation=0.0), 64)[0].int()
    assert (grey[0] - grey[2]).abs().max() <= 1


@pytest.mark.parametrize("angle", [-4.0, 3.3, 30.0])
def test_rotation_is_pillows(angle: float) -> None:
    image = smooth_image(64, 64)
    out = apply_transform(image[None], dataclasses.replace(WHOLE, angle=angle), 64)
    expected = np.asarray(Image.fromarray(image).rotate(angle)).astype(int)
    difference = np.abs(out[0].permute(1, 2, 0).numpy() - expected).max(axis=-1)
    # Both take the nearest pixel; ties and the border may fall to different sides.
    assert np.mean(difference > 0) < 0.05


def test_rotation_then_crop_is_the_crop_of_the_rotation() -> None:
    frames = smooth_image(64, 80)[None]
    whole = apply_transform(frames[:, :, :64], dataclasses.replace(WHOLE, angle=9.0), 64)
    part = ClipTransform(9.0, 10, 20, 30, 30)
    assert torch.equal(apply_transform(frames[:, :, :64], part, 30), whole[:, :, 10:40, 20:50])


def test_points_and_maps_go_where_the_frame_goes() -> None:
    """A bright square is where its middle is said to be, and where its map is."""
    rng = np.random.default_rng()
    height, width, size = 120, 160, 64
    seen = 0
    for transform in draws(EVERYTHING, 60, (height, width)):
        x, y = int(rng.integers(20, width - 20)), int(rng.integers(20, height - 20))
        square = np.zeros((1, height, width), np.uint8)
        square[:, y - 8 : y + 8, x - 8 : x + 8] = 1
        plain = dataclasses.replace(transform, brightness=1, contrast=1, saturation=1)
        frame = apply_transform(np.stack([square * 255] * 3, -1), plain, size)[0, 0].numpy()
        moved_map = move_maps(square, transform, height, width, size)[0]
        assert (moved_map != (frame > 127)).mean() < 0.03
        (place,) = move_points(np.array([[x, y]], np.float64), transform, height, width, size)
        if not (frame[[0, -1]].any() or frame[:, [0, -1]].any()) and frame.any():  # all of it
            rows, columns = np.nonzero(frame > 127)
            assert place == pytest.approx((columns.mean() + 0.5, rows.mean() + 0.5), abs=1)
            seen += 1
    assert seen > 10


def test_maps_of_another_size_cover_the_same_frame() -> None:
    """A map of half the frame's size is the frame's left half, whatever is done."""
    maps = np.zeros((2, 30, 40), np.uint8)
    maps[:, :, :20] = 3
    whole = np.repeat(np.repeat(maps, 2, 1), 2, 2)
    for transform in draws(EVERYTHING, 20, (60, 80)):
        moved = move_maps(maps, transform, 60, 80, 33)
        assert moved.shape == (2, 33, 33)
        assert np.array_equal(moved, move_maps(whole, transform, 60, 80, 33))


def test_noise_has_the_asked_for_strength_and_the_generators_grain() -> None:
    images = torch.full((3, 3, 40, 40), 128, dtype=torch.uint8).contiguous(
        memory_format=torch.channels_last
    )
    noisy, again, other = (
        add_noise(images, 0.1, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)
    )
    assert torch.equal(noisy, again)
    assert not torch.equal(noisy, other)
    assert noisy.is_contiguous(memory_format=torch.channels_last)
    assert noisy.float().mean() == pytest.approx(128, abs=2)
    assert noisy.float().std() == pytest.approx(25.5, rel=0.05)
    assert add_noise(images, 0.0, torch.Generator()) is images
