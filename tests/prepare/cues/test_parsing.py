"""A network that knows colours finds painted regions where they were painted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.clips.tiny_onnx import HALF, colour_classifier, write

from peclip_fast.data.cues.regions import POINTS, REGIONS
from peclip_fast.errors import InputError
from peclip_fast.faces.geometry import Rectangle
from peclip_fast.prepare.cues.parsing import (
    CELEBAMASK_HQ,
    SIDE,
    Parsing,
    ParsingModel,
    find_parsing,
    pasted,
    portrait,
    read_classes,
)


def face(centre: tuple[float, float], eyes: float, angle: float) -> np.ndarray:
    """Landmarks of which only eyes and the corners of the lips count, those level at 0."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = np.zeros((POINTS, 2))
    places = {
        33: (-0.6, 0),
        133: (-0.4, 0),
        362: (0.4, 0),
        263: (0.6, 0),
        61: (-0.4, 1),
        291: (0.4, 1),
    }
    for number, place in places.items():
        points[number] = np.array(place) * eyes
    return points @ turn + centre


@pytest.fixture
def colours() -> np.ndarray:
    """Far apart: of 19 classes."""
    steps = np.stack(np.meshgrid(*[np.array([0, 127, 255])] * 3), -1).reshape(-1, 3)
    return np.random.default_rng().permutation(steps)[: len(CELEBAMASK_HQ)]


def test_a_portrait_is_that_of_celeba_hq():
    """Upright: the square is 4 times the distance of the eyes, below their middle by a tenth."""
    where = portrait(face((100, 80), 30, 0.0))
    assert where == pytest.approx((100, 80 + 0.1 * 30, 4 * 30, 0))
    angle = np.random.default_rng().uniform(-1, 1)
    turned = portrait(face((100, 80), 30, angle))
    assert turned.angle == pytest.approx(angle)
    assert turned.side == pytest.approx(120)


@pytest.mark.parametrize(("height", "width"), [(90, 160), (300, 211), (64, 64)])
def test_a_map_is_pasted_where_it_was_cut(height, width):
    """Against each pixel's own place, found by a loop."""
    rng = np.random.default_rng()
    classes = rng.integers(1, 8, (20, 30)).astype(np.uint8)
    where = Rectangle(width * rng.uniform(0.3, 0.7), height * rng.uniform(0.3, 0.7), 50.0, 0.7)
    image = pasted(classes, where, height, width)
    assert max(image.shape) == min(SIDE, max(height, width))
    right = np.array([np.cos(0.7), np.sin(0.7)])
    for row, column in zip(*(rng.integers(0, n, 200) for n in image.shape), strict=True):
        x, y = (column + 0.5) * width / image.shape[1], (row + 0.5) * height / image.shape[0]
        across = (x - where.x) * right[0] + (y - where.y) * right[1]
        along = (y - where.y) * right[0] - (x - where.x) * right[1]
        u, v = across / 50 + 0.5, along / 50 + 0.5
        inside = 0 <= u < 1 and 0 <= v < 1
        assert image[row, column] == (classes[int(v * 20), int(u * 30)] if inside else 0)


@pytest.mark.parametrize("side", [64, "side"])
def test_a_network_finds_what_is_painted(tmp_path, colours, side):
    """Stripes along a turned face, in the colours of all classes."""
    parsing = find_parsing(colour_classifier(tmp_path / "colours.onnx", colours, side))
    points = face((64, 60), 25, 0.3)
    x, y = np.meshgrid(np.arange(128) + 0.5, np.arange(128) + 0.5)
    places = portrait(points).from_frame(np.stack([x, y], -1).reshape(-1, 2))
    stripes = np.floor(places[:, 1] * len(colours)).clip(0, len(colours) - 1).astype(int)
    frame = colours[stripes].reshape(128, 128, 3).astype(np.uint8)
    found = ParsingModel(parsing).regions(frame, points).ravel()
    inside = ((places > 0.02) & (places < 0.98)).all(1)
    # Away from the edges of the stripes, which the crop blurs.
    middle = inside & (np.abs(places[:, 1] * len(colours) % 1 - 0.5) < 0.2)
    expected = np.array([REGIONS.index(name) for name in CELEBAMASK_HQ.values()])[stripes]
    assert middle.sum() > 500
    assert np.array_equal(found[middle], expected[middle])
    assert not found[((places < 0) | (places >= 1)).any(1)].any()


def test_classes_of_another_network(tmp_path, colours):
    path = colour_classifier(tmp_path / "few.onnx", colours[:3])
    with pytest.raises(InputError, match=r"few\.onnx: gives 3 classes, not 19; --parsing_classes"):
        ParsingModel(find_parsing(path))
    (tmp_path / "classes.txt").write_text("0: background\n2:hair\n\n1 : lips\n")
    parsing = find_parsing(path, tmp_path / "classes.txt")
    assert parsing.regions == ("background", "lips", "hair")
    ParsingModel(parsing)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0: background\n1: chin\n", r"classes\.txt:2: expected 'number: region'.*got '1: chin'"),
        ("0: hair\nface\n", r"classes\.txt:2: expected 'number: region'"),
        ("0: hair\n0: face\n", r"classes\.txt:2: a second line for class 0"),
        ("0: hair\n2: face\n", r"classes\.txt: no line for class 1"),
    ],
)
def test_wrong_classes_are_named(tmp_path, text, message):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_classes(tmp_path / "classes.txt")


def test_what_is_no_parsing_network(tmp_path, colours):
    weight, bias = np.zeros((19, 3, 1, 1)), np.zeros(19)

    def error(path: Path) -> str:
        with pytest.raises(InputError) as caught:
            ParsingModel(Parsing(path, tuple(CELEBAMASK_HQ.values()), ""))
        return str(caught.value)

    (tmp_path / "text.onnx").write_text("no model")
    assert "text.onnx: not a model that onnxruntime runs" in error(tmp_path / "text.onnx")
    wide = write(tmp_path / "wide.onnx", weight, bias, [1, 3, 64, 32])
    assert "wide.onnx: takes tensor(float) [1, 3, 64, 32]; expected" in error(wide)
    half = write(tmp_path / "half.onnx", weight, bias, [1, 3, 64, 64], HALF)
    assert "half.onnx: takes tensor(float16)" in error(half)
    grey = write(tmp_path / "grey.onnx", np.zeros((19, 1, 1, 1)), bias, [1, 1, 64, 64])
    assert "grey.onnx: takes tensor(float) [1, 1, 64, 64]" in error(grey)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"--parsing .*gone\.onnx: can't be read: No such file"):
        find_parsing(tmp_path / "gone.onnx")
