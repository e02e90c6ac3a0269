"""``python docs/method.py``: draws docs/method.png, the picture of PE-CLIP in the README.

The canvas is 800 x 660 units, one unit to a pixel at the README's width, y downwards.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, Ellipse, FancyBboxPatch, Polygon, Rectangle
from PIL import Image

from peclip_fast.plots.palette import BLUE, GREEN, ORANGE, PURPLE

WIDTH, HEIGHT = 800, 660
PAPER, INK, QUIET, LINE = "#FFFFFF", "#1A1A1A", "#555555", "#444444"
FROZEN, FROZEN_EDGE, PANEL = "#E4E7EB", "#8A929C", "#F6F7F9"
BIG, TEXT, SMALL = 13.5, 12, 10.8  # heights of letters' lines, in pixels at the README's width


def tint(colour: str, share: float = 0.22) -> tuple[float, ...]:
    """The colour thinned with white."""
    return tuple(1 - share * (1 - part) for part in to_rgb(colour))


class Drawing:
    """Boxes, arrows and words on one canvas."""

    def __init__(self, height: float = HEIGHT) -> None:
        figure = plt.figure(figsize=(WIDTH / 100, height / 100), facecolor=PAPER)
        self.ax: Axes = figure.add_axes((0, 0, 1, 1))
        self.ax.set(xlim=(0, WIDTH), ylim=(height, 0))
        self.ax.axis("off")
        self.figure = figure

    def save(self, path: Path) -> None:
        """As a PNG of few colours, twice the README's size."""
        drawn = io.BytesIO()
        self.figure.savefig(drawn, dpi=200)
        picture = Image.open(drawn).convert("RGB").quantize(128, dither=Image.Dither.NONE)
        picture.save(path, optimize=True)
        plt.close(self.figure)

    def words(self, x: float, y: float, text: str, size: float = TEXT, **look: object) -> None:
        look = {"color": INK, "ha": "center", "va": "center", "zorder": 5, **look}
        self.ax.text(x, y, text, fontsize=size * 0.72, linespacing=1.25, **look)

    def title(self, x: float, y: float, text: str) -> None:
        self.words(x, y + 5, text, BIG, ha="left", va="baseline", weight="bold")

    def box(
        self, x: float, y: float, w: float, h: float, text: str, colour: str | None = None,
        size: float = TEXT, round_by: float = 5, bold: bool = False, plain: bool = False,
    ) -> None:  # fmt: skip
        """Centred at (x, y). Trained parts have a colour, frozen ones are grey, others white."""
        face, edge = (tint(colour), colour) if colour else (FROZEN, FROZEN_EDGE)
        face, edge = (PAPER, LINE) if plain else (face, edge)
        style = f"round,pad=0,rounding_size={round_by}"
        self.ax.add_patch(
            FancyBboxPatch(
                (x - w / 2, y - h / 2), w, h, boxstyle=style,
                fc=face, ec=edge, lw=1.6 if colour else 1.0, zorder=3,
            )
        )  # fmt: skip
        self.words(x, y, text, size, weight="bold" if bold else "normal")

    def panel(self, left: float, top: float, right: float, bottom: float) -> None:
        style = "round,pad=0,rounding_size=9"
        self.ax.add_patch(
            FancyBboxPatch(
                (left, top), right - left, bottom - top, boxstyle=style,
                fc=PANEL, ec="#C3C8CF", lw=1.0, zorder=1,
            )
        )  # fmt: skip

    def line(
        self, points: Sequence[tuple[float, float]], colour: str = LINE, head: bool = True,
        width: float = 1.2, dashed: bool = False, above: int = 2,
    ) -> None:  # fmt: skip
        """A path of straight pieces, with an arrow's head at its end."""
        style = (0, (4, 3)) if dashed else "-"
        xs, ys = zip(*points, strict=True)
        self.ax.plot(
            xs, ys, color=colour, lw=width, ls=style, zorder=above, solid_joinstyle="round",
            solid_capstyle="butt",
        )  # fmt: skip
        if head:
            (x0, y0), (x, y) = points[-2:]
            length = float(np.hypot(x - x0, y - y0))
            dx, dy = (x - x0) / length, (y - y0) / length
            base = x - 7 * dx, y - 7 * dy
            corners = [
                (x, y), (base[0] - 3.5 * dy, base[1] + 3.5 * dx),
                (base[0] + 3.5 * dy, base[1] - 3.5 * dx),
            ]  # fmt: skip
            self.ax.add_patch(Polygon(corners, closed=True, fc=colour, ec="none", zorder=4))

    def node(self, x: float, y: float, sign: str, radius: float = 8) -> None:
        """A sum or a product of what arrives."""
        self.ax.add_patch(Circle((x, y), radius, fc=PAPER, ec=LINE, lw=1.2, zorder=4))
        r, diagonal = radius * 0.55, radius * 0.42
        strokes = {
            "+": (((x - r, x + r), (y, y)), ((x, x), (y - r, y + r))),
            "×": (
                ((x - diagonal, x + diagonal), (y - diagonal, y + diagonal)),
                ((x - diagonal, x + diagonal), (y + diagonal, y - diagonal)),
            ),
        }
        for xs, ys in strokes[sign]:
            self.ax.plot(xs, ys, color=LINE, lw=1.4, zorder=5)

    def dot(self, x: float, y: float) -> None:
        """Where a line goes two ways."""
        self.ax.add_patch(Circle((x, y), 2.4, fc=LINE, ec="none", zorder=4))

    def face(self, left: float, top: float, size: float, smile: float) -> None:
        """A frame with a face, its mouth from flat (0) to a broad smile (1)."""
        cx, cy, r = left + size / 2, top + size / 2, size * 0.36
        frame = Rectangle((left, top), size, size, fc="#CFE3F1", ec=LINE, lw=1.0, zorder=3)
        self.ax.add_patch(frame)
        skin = Ellipse((cx, cy), 1.8 * r, 2.15 * r, fc="#F7D9B9", ec="#8C6A48", lw=0.8, zorder=3)
        self.ax.add_patch(skin)
        for side in (-1, 1):
            eye = cx + side * 0.38 * r, cy - 0.25 * r
            self.ax.add_patch(Circle(eye, 0.11 * r, fc=INK, ec="none", zorder=3))
            xs = np.linspace(-0.22, 0.22, 9) * r
            brow = cy - (0.58 + 0.06 * smile) * r + 1.2 * xs**2 / r
            self.ax.plot(eye[0] + xs, brow, color="#5A4030", lw=1.1, zorder=3)
        xs = np.linspace(-1, 1, 15)
        half = (0.32 + 0.16 * smile) * r
        mouth = cy + 0.5 * r + 0.3 * smile * r * (0.5 - xs**2)
        self.ax.plot(cx + half * xs, mouth, color="#B03A2E", lw=1.4, zorder=3)


LEFT, RIGHT = 212, 592  # of the two encoders' panels
HALVES = (236, 420)  # where attention and MLP leave the stream
DEEP = 166


def encoder(pen: Drawing, top: float, title: str, second: str, colour: str) -> float:
    """A block: what attention and MLP add to the stream, each with its adapter. Its stream's y."""
    pen.panel(LEFT, top, RIGHT, top + 156)
    pen.title(LEFT + 12, top + 17, title)
    stream, frozen, adapter = top + 43, top + 86, top + 131
    pen.line([(DEEP + 16, stream), (RIGHT + 27, stream)], width=2.2)
    names, parts = ("LN, attention", "LN, MLP"), (("ShA", ORANGE), (second, colour))
    for start, name, (part, tone) in zip(HALVES, names, parts, strict=True):
        centre, end = start + 66, start + 140
        pen.dot(start, stream)
        pen.line([(start, stream), (start, frozen), (centre - 48, frozen)])
        pen.box(centre, frozen, 96, 30, name)
        pen.line([(centre + 48, frozen), (end - 8, frozen)])
        pen.line([(centre, frozen + 15), (centre, adapter - 14)])
        pen.box(centre, adapter, 60, 28, part, tone, bold=True)
        pen.line([(centre + 30, adapter), (end, adapter), (end, frozen + 8)])
        pen.line([(end, frozen - 8), (end, stream + 8)])
        pen.node(end, frozen, "+")
        pen.node(end, stream, "+")
    return stream


def tokens(pen: Drawing, x: float, y: float, learned: Sequence[int], count: int) -> None:
    """A column of tokens around y, the learned ones in their colour."""
    side, step = 12, 15
    top = y - (count * step - 3) / 2
    for i in range(count):
        face, edge = (tint(PURPLE, 0.45), PURPLE) if i in learned else (FROZEN, FROZEN_EDGE)
        square = Rectangle((x - side / 2, top + i * step), side, side, fc=face, ec=edge, lw=1.2)
        square.set_zorder(3)
        pen.ax.add_patch(square)


def texts(pen: Drawing, stream: float) -> None:
    """The classes as the text encoder reads them."""
    pen.title(12, stream - 45, "class texts")
    said = "action units of\neach class, such\nas “Cheek Raiser,\nLip Corner Puller.”"
    pen.words(12, stream + 3, said, SMALL, ha="left")
    tokens(pen, DEEP, stream, (1, 2), 6)
    pen.line([(127, stream), (DEEP - 10, stream)])


def video(pen: Drawing, stream: float) -> None:
    """The frames of a clip, from neutral to a smile."""
    pen.title(12, stream - 53, "T frames")
    for i, smile in enumerate((0.0, 0.5, 1.0)):
        pen.face(12 + 27 * i, stream - 37 + 10 * i, 54, smile)
    pen.words(12, stream + 53, "patches of each frame", SMALL, ha="left", color=QUIET)
    tokens(pen, DEEP, stream, (4, 5), 6)
    pen.line([(122, stream), (DEEP - 10, stream)])


def prompts(pen: Drawing, text: float, vision: float) -> None:
    """Learned tokens of the first nine blocks: of the texts, and projected, of the frames."""
    y, first, step = text + 139, LEFT + 18, 26
    for i in range(9):
        for shift in (0, 12):
            square = Rectangle(
                (first + step * i + shift - 5, y - 5), 10, 10,
                fc=tint(PURPLE, 0.45), ec=PURPLE, lw=1.2,
            )  # fmt: skip
            pen.ax.add_patch(square)
    pen.title(first + 9 * step + 8, y, "prompts")
    said = "2 learned tokens in each of the first 9 blocks (MaPLe); a linear\n"
    said += "layer for each block makes the frames' tokens from the texts'"
    pen.words(first - 6, y + 29, said, SMALL, ha="left")
    pen.line([(first - 12, y), (DEEP, y), (DEEP, text + 50)], PURPLE, width=1.6)
    pen.line([(DEEP, y), (DEEP, vision - 49)], PURPLE, width=1.6)
    pen.box(DEEP, y + 30, 62, 26, "linear", PURPLE, SMALL)
    pen.dot(DEEP, y)


def head(pen: Drawing, text: float, vision: float) -> None:
    """From both encoders' features to the logits."""
    x, y = 672, (text + vision) / 2 - 14
    for stream in (text, vision):
        pen.box(x, stream, 104, 30, "LN, projection")
    pen.box(x, vision - 64, 104, 40, "mean over\nthe frames", plain=True)
    pen.box(x, y, 104, 30, "cosine × 100", plain=True)
    pen.line([(x, text + 15), (x, y - 15)])
    pen.line([(x, vision - 15), (x, vision - 44)])
    pen.line([(x, vision - 84), (x, y + 15)])
    pen.line([(x + 52, y), (x + 69, y)])
    left = x + 75
    for i, share in enumerate((0.35, 1.0, 0.2, 0.5, 0.28, 0.12, 0.3)):
        bar = Rectangle((left, y - 33 + 10 * i), 40 * share, 6.5, fc=BLUE if i == 1 else "#B9BFC7")
        pen.ax.add_patch(bar)
    pen.title(left, y - 46, "logits")


def tda(pen: Drawing, top: float) -> None:
    """The temporal adapter, opened."""
    left, right, bottom = 12, 592, top + 158
    pen.panel(left, top, right, bottom)
    pen.title(left + 12, top + 17, "TDA, opened up")
    y, below = top + 67, top + 126
    pen.words(left + 20, y, "m", BIG, style="italic")
    pen.line([(left + 30, y), (left + 46, y)])
    pen.box(left + 66, y, 40, 30, "LN", BLUE)
    split, times, middle = left + 97, left + 534, left + 297
    pen.dot(split, y)
    pen.line([(left + 86, y), (left + 112, y)])
    pen.box(left + 145, y, 66, 38, "down\nD → h", BLUE, SMALL)
    pen.line([(left + 178, y), (left + 194, y)])
    pen.box(middle, y, 206, 58, "", BLUE)
    pen.words(middle, y - 15, "GRU over the frames", SMALL)
    for i, label in enumerate(("1", "2", "3", "…", "T")):
        x = middle + 40 * (i - 2)
        if i:
            pen.line([(x - 29, y + 10), (x - 11, y + 10)], above=4)
        if label != "…":
            pen.ax.add_patch(Circle((x, y + 10), 11, fc=PAPER, ec=BLUE, lw=1.4, zorder=4))
        pen.words(x, y + 10, label, SMALL)
    pen.line([(left + 400, y), (left + 416, y)])
    pen.box(left + 457, y, 82, 38, "GELU, up\nh → D", BLUE, SMALL)
    pen.line([(left + 498, y), (times - 8, y)])
    pen.node(times, y, "×")
    pen.line([(times + 8, y), (right - 8, y)])
    pen.line([(split, y), (split, below), (middle - 103, below)])
    pen.box(middle, below, 206, 30, "scale of each token  D → 1, ReLU", BLUE, SMALL)
    pen.line([(middle + 103, below), (times, below), (times, y + 8)])
    pen.words(times - 9, below - 10, "s", BIG, style="italic")


def bottleneck(pen: Drawing, top: float) -> None:
    """ShA and TA, opened."""
    left, right, bottom = 606, 788, top + 158
    pen.panel(left, top, right, bottom)
    pen.title(left + 12, top + 17, "ShA and TA")
    x = (left + right) / 2
    pen.box(x, top + 88, 96, 22, "GELU", size=SMALL, plain=True)
    for y, text in ((top + 50, "down  D → h"), (top + 126, "up  h → D")):
        pen.box(x + 4, y + 4, 96, 26, "", GREEN)
        pen.box(x, y, 96, 26, text, ORANGE, SMALL)
    pen.line([(x, top + 67), (x, top + 77)])
    pen.line([(x, top + 99), (x, top + 113)])


def legend(pen: Drawing, y: float) -> None:
    """What is trained, and how much of it there is."""
    pen.box(24, y, 22, 14, "", round_by=3)
    pen.words(42, y, "frozen: CLIP ViT-B/16, 149.6 M parameters", SMALL, ha="left")
    for i, colour in enumerate((ORANGE, GREEN, BLUE, PURPLE)):
        pen.box(311 + 27 * i, y, 22, 14, "", colour, round_by=3)
    pen.words(410, y, "trained: 9.4 M parameters", SMALL, ha="left")
    pen.words(788, y, "D = 768 (texts: 512),  h = D / 8", SMALL, ha="right")


def main() -> None:
    """Draw it beside this file."""
    pen = Drawing()
    text = encoder(pen, 28, "text block  × 12", "TA", GREEN)
    vision = encoder(pen, 272, "vision block  × 12", "TDA", BLUE)
    texts(pen, text)
    video(pen, vision)
    prompts(pen, text, vision)
    head(pen, text, vision)
    pen.words(HALVES[1] + 78, vision + 65, "m", TEXT, style="italic")
    zoom = 458
    for x, corner in ((HALVES[1] + 38, 14), (HALVES[1] + 94, 590)):
        pen.line([(x, vision + 102), (corner, zoom + 3)], BLUE, False, 1.0, True)
    tda(pen, zoom)
    bottleneck(pen, zoom)
    legend(pen, 640)
    pen.save(Path(__file__).with_name("method.png"))


if __name__ == "__main__":
    main()
