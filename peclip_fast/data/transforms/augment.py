"""From decoded frames to the model's image size: one draw for all frames of a clip.

The draw is separate from its application, so that every decoder applies the same one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as transforms

from peclip_fast.config.data import AugmentConfig

_CROP_ATTEMPTS = 10


@dataclass(frozen=True)
class ClipTransform:
    """What is done to every frame of one clip, in the order of the fields.

    Args:
        angle: rotation in degrees, counter-clockwise, about the centre; corners become black.
        top: upper edge of the crop in the source frame, in pixels.
        left: left edge of the crop.
        height: height of the crop.
        width: width of the crop.
        flip: mirror left and right.
        brightness: factor on all values; 1 keeps them.
        contrast: factor on the distance to the frame's mean grey; 1 keeps it.
        saturation: factor on the distance to the pixel's grey; 1 keeps it.
    """

    angle: float
    top: int
    left: int
    height: int
    width: int
    flip: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0


def draw_transform(
    height: int, width: int, config: AugmentConfig, generator: torch.Generator
) -> ClipTransform:
    """The random transform of one training clip.

    The crop's area is uniform in ``scale`` and the logarithm of its width / height uniform in
    ``ratio``, tried until it fits into the frame; after ten misses it is the largest centred crop
    of an allowed ratio.

    Args:
        height: of the frames, in pixels.
        width: of the frames, in pixels.
        config: ranges of the draws.
        generator: source of all random numbers; the number of draws is fixed but for the misses.
    """

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    flip = uniform(0, 1) < config.hflip
    angle = uniform(-config.rotation, config.rotation)
    brightness, contrast, saturation = (
        uniform(max(0.0, 1 - x), 1 + x)
        for x in (config.brightness, config.contrast, config.saturation)
    )
    log_ratio = math.log(config.ratio_min), math.log(config.ratio_max)
    for _ in range(_CROP_ATTEMPTS):
        area = height * width * uniform(config.scale_min, config.scale_max)
        ratio = math.exp(uniform(*log_ratio))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(uniform(0, height - crop_height + 1))
            left = int(uniform(0, width - crop_width + 1))
            break
    else:
        ratio = min(max(width / height, config.ratio_min), config.ratio_max)
        crop_width = min(width, round(height * ratio))
        crop_height = min(height, round(width / ratio))
        top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return ClipTransform(
        angle, top, left, crop_height, crop_width, flip, brightness, contrast, saturation
    )


def centre_transform(height: int, width: int) -> ClipTransform:
    """The test transform: the largest centred square.

    The face crops of the datasets are square, so nothing is lost and the result equals the
    field's plain resize; on other video it keeps the face's proportions, as CLIP's own
    preprocessing does.
    """
    side = min(height, width)
    return ClipTransform(0.0, (height - side) // 2, (width - side) // 2, side, side)


def apply_transform(
    frames: NDArray[np.uint8], transform: ClipTransform, image_size: int
) -> torch.Tensor:
    """Applies one transform to all frames of a clip.

    Args:
        frames: uint8 RGB (T, H, W, 3).
        transform: drawn for frames of this height and width.
        image_size: side of the result.

    Returns:
        uint8 (T, 3, image_size, image_size), with the colours innermost in memory
        (channels_last), resized with bilinear interpolation and antialiasing.
    """
    if transform.angle:
        cropped = torch.from_numpy(_rotated_crop(frames, transform))
    else:
        rows = slice(transform.top, transform.top + transform.height)
        columns = slice(transform.left, transform.left + transform.width)
        cropped = torch.from_numpy(frames[:, rows, columns])
    images = cropped.permute(0, 3, 1, 2)
    if images.shape[-2:] != (image_size, image_size):
        images = transforms.resize(images, [image_size, image_size], antialias=True)
    if transform.flip:
        images = images.flip(-1)
    if transform.brightness != 1:
        images = _brightened(images, transform.brightness)
    if transform.contrast != 1:
        images = transforms.adjust_contrast(images, transform.contrast)
    if transform.saturation != 1:
        images = transforms.adjust_saturation(images, transform.saturation)
    return images.contiguous(memory_format=torch.channels_last)


def add_noise(images: torch.Tensor, noise: float, generator: torch.Generator) -> torch.Tensor:
    """White Gaussian noise on every value of uint8 images (T, 3, H, W), clipped as a camera does.

    Args:
        images: with the colours innermost in memory, as the result.
        noise: standard deviation, in units of the whole range; 0 returns the images.
        generator: source of the noise.
    """
    if not noise:
        return images
    pixels = images.permute(0, 2, 3, 1).float()
    grain = torch.randn(pixels.shape, generator=generator)
    noisy = pixels.add_(grain, alpha=255 * noise).round_().clamp_(0, 255)
    return noisy.to(torch.uint8).permute(0, 3, 1, 2)


def _rotated_crop(frames: NDArray[np.uint8], transform: ClipTransform) -> NDArray[np.uint8]:
    """The crop of the rotated frames; only the pixels of the crop are gathered (nearest)."""
    count, height, width, _ = frames.shape
    sine, cosine = math.sin(math.radians(transform.angle)), math.cos(math.radians(transform.angle))
    y = np.arange(transform.top, transform.top + transform.height)[:, None] - (height - 1) / 2
    x = np.arange(transform.left, transform.left + transform.width)[None] - (width - 1) / 2
    source_x = np.rint(cosine * x - sine * y + (width - 1) / 2).astype(np.int64)
    source_y = np.rint(sine * x + cosine * y + (height - 1) / 2).astype(np.int64)
    inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    pixels = np.where(inside, source_y * width + source_x, 0)
    cropped = frames.reshape(count, height * width, 3).take(pixels.ravel(), axis=1)
    cropped[:, ~inside.ravel()] = 0
    return cropped.reshape(count, transform.height, transform.width, 3)


def _brightened(images: torch.Tensor, factor: float) -> torch.Tensor:
    """All values times factor, by a table of the 256 values, which beats arithmetic on floats."""
    table = np.clip(np.arange(256) * factor, 0, 255).astype(np.uint8).tobytes()
    pixels = images.permute(0, 2, 3, 1).contiguous()
    # bytearray.translate is a plain table look-up in C over the whole clip.
    data = bytearray(pixels.numpy()).translate(table)
    return torch.frombuffer(data, dtype=torch.uint8).view(pixels.shape).permute(0, 3, 1, 2)


def move_points(
    points: NDArray[np.float64], transform: ClipTransform, height: int, width: int, image_size: int
) -> NDArray[np.float64]:
    """Where points of a frame come to lie in what ``apply_transform`` makes of it.

    Args:
        points: (..., 2), x and y in pixels, the frame's upper left corner being 0, 0.
        transform: drawn for frames of this height and width.
        height: of the frame.
        width: of the frame.
        image_size: side of the result.
    """
    centre = np.array([width / 2, height / 2])
    turned = (points - centre) @ _turn(transform) + centre
    corner = np.array([transform.left, transform.top])
    moved: NDArray[np.float64] = (turned - corner) * (
        image_size / np.array([transform.width, transform.height])
    )
    if transform.flip:
        moved[..., 0] = image_size - moved[..., 0]
    return moved


def move_maps(
    maps: NDArray[np.uint8], transform: ClipTransform, height: int, width: int, image_size: int
) -> NDArray[np.uint8]:
    """What ``apply_transform`` does to frames, for maps of them: the nearest value, 0 outside.

    Args:
        maps: uint8 (T, h, w), of any size.
        transform: drawn for frames of this height and width.
        height: of the frames.
        width: of the frames.
        image_size: side of the result, (T, image_size, image_size).
    """
    places = np.arange(image_size) + 0.5
    x, y = np.meshgrid(places[::-1] if transform.flip else places, places)
    cropped = np.stack([x, y], -1) * (np.array([transform.width, transform.height]) / image_size)
    centre = np.array([width / 2, height / 2])
    turned = cropped + np.array([transform.left, transform.top]) - centre
    frame = turned @ _turn(transform).T + centre
    grid = np.array([maps.shape[2] / width, maps.shape[1] / height])
    column, row = np.floor(frame * grid).astype(np.int64).transpose(2, 0, 1)
    inside = (column >= 0) & (column < maps.shape[2]) & (row >= 0) & (row < maps.shape[1])
    moved = maps[:, np.where(inside, row, 0), np.where(inside, column, 0)]
    return np.where(inside, moved, np.uint8(0))


def _turn(transform: ClipTransform) -> NDArray[np.float64]:
    """The matrix by which (x, y) @ it goes from the frame, about its centre, to the turned one."""
    sine, cosine = math.sin(math.radians(transform.angle)), math.cos(math.radians(transform.angle))
    return np.array([[cosine, -sine], [sine, cosine]])
