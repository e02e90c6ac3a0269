"""``python docs/methods.py``: draws docs/methods/NAME.png, a picture of each method.

All have one frame: class texts above, frames below, a block of the image encoder opened in the
middle, and at the right how a clip is compared. Frozen parts are grey, trained ones coloured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.patches import Rectangle
from method import FROZEN, FROZEN_EDGE, QUIET, SMALL, TEXT, Drawing, tint

from peclip_fast.plots.palette import BLUE, GREEN, ORANGE, PURPLE

HEIGHT = 330
LEFT, RIGHT, TOP, BOTTOM = 176, 560, 92, 288  # of the opened block
STREAM, INSIDE, BELOW = 136, 190, 246  # heights: the stream, frozen parts, parts next to them
TEXTS = 44
HEAD = 664  # where features become logits
Part = Callable[[Drawing], None]


@dataclass(frozen=True)
class Method:
    """What is drawn of one.

    Args:
        title: its name.
        trained: what is trained, for the legend.
        inside: what it draws into the block; the block itself unless given.
        over_time: the box between block and head: its words, and its colour if it is trained.
        head: the last box, likewise.
        texts: whether class texts are read.
        context: learned tokens before each class text.
        whole: the colour of the encoders' own parts, of image and texts, where they are trained.
        note: a line below the block.
    """

    title: str
    trained: str
    inside: Part
    over_time: tuple[str, str | None] = ("mean over\nthe frames", None)
    head: tuple[str, str | None] = ("cosine × 100", None)
    texts: bool = True
    context: bool = False
    whole: tuple[str | None, str | None] = (None, None)
    note: str = ""


def sublayer(
    pen: Drawing, start: float, name: str, colour: str | None = None, width: float = 92
) -> float:
    """LN and attention, or LN and MLP, from the stream and back; where it joins again."""
    left, last = start + 26, start + width + 48
    pen.dot(start, STREAM)
    pen.line([(start, STREAM), (start, INSIDE), (left, INSIDE)])
    pen.box(left + width / 2, INSIDE, width, 30, name, colour)
    pen.line([(left + width, INSIDE), (last, INSIDE), (last, STREAM + 8)])
    pen.node(last, STREAM, "+")
    return last


def plain(pen: Drawing, colour: str | None = None) -> None:
    """A block as CLIP has it."""
    sublayer(pen, 212, "LN, attention", colour)
    sublayer(pen, 388, "LN, MLP", colour)


def full(pen: Drawing) -> None:
    """A block that is trained itself."""
    plain(pen, GREEN)


def low_rank(pen: Drawing) -> None:
    """CLIP-LoRA's change of queries, keys and values."""
    plain(pen)
    pen.box(284, BELOW, 150, 34, "q, k, v: + B A", ORANGE, SMALL)
    pen.line([(284, BELOW - 17), (284, INSIDE + 16)], ORANGE, width=1.6)
    pen.words(378, BELOW, "rank 2, of both encoders", SMALL, ha="left", color=QUIET)


def adapters(pen: Drawing) -> None:
    """AIM's three, and its attention over time."""
    pen.box(214, INSIDE, 62, 44, "LN, attn.\nover time", None, SMALL)
    pen.box(214, BELOW, 62, 28, "adapter", BLUE, SMALL)
    pen.dot(188, STREAM)
    pen.line([(188, STREAM), (188, INSIDE - 30), (214, INSIDE - 30), (214, INSIDE - 22)])
    pen.line([(214, INSIDE + 22), (214, BELOW - 14)])
    pen.line([(245, BELOW), (258, BELOW), (258, STREAM + 8)])
    pen.node(258, STREAM, "+")
    last = sublayer(pen, 274, "LN, attention", width=88)
    pen.box(344, BELOW, 88, 28, "adapter", ORANGE, SMALL)
    pen.line([(344, INSIDE + 15), (344, BELOW - 14)])
    pen.line([(388, BELOW), (last, BELOW), (last, INSIDE + 8)])
    pen.node(last, INSIDE, "+")
    last = sublayer(pen, 424, "LN, MLP", width=68)
    pen.box(484, BELOW, 68, 28, "LN, adapter", PURPLE, SMALL)
    pen.line([(424, INSIDE), (424, BELOW), (450, BELOW)])
    pen.line([(518, BELOW), (last, BELOW), (last, INSIDE + 8)])
    pen.node(last, INSIDE, "+")
    pen.words(532, BELOW + 12, "× ½", SMALL)


def convolution(pen: Drawing) -> None:
    """ST-Adapter's place before the MLP."""
    sublayer(pen, 188, "LN, attention")
    pen.box(378, STREAM, 72, 34, "adapter", BLUE, TEXT, bold=True)
    sublayer(pen, 424, "LN, MLP", width=74)
    said = "adapter, on the patches: x + up(conv(down(x))),\n"
    said += "conv over 3 frames, each channel for itself"
    pen.words(196, BELOW + 12, said, SMALL, ha="left", color=QUIET)
    pen.line([(378, STREAM + 17), (378, BELOW - 8)], BLUE, False, 1.0, True)


METHODS = {
    "dfer_clip": Method(
        "DFER-CLIP", "trained: 90.0 M on ViT-B/32", full, ("transformer\nover time", BLUE),
        context=True, whole=(GREEN, None),
    ),
    "emoclip": Method(
        "EmoCLIP", "trained: 68.7 M as coded", plain, ("transformer\nover time × 2", BLUE),
        head=("cosine × exp(s)", ORANGE),
    ),
    "aim": Method(
        "AIM", "trained: 10.7 M", adapters, head=("linear", GREEN), texts=False,
        note="learned, too: a vector for each frame, added at the start, and the last norm",
    ),
    "st_adapter": Method(
        "ST-Adapter", "trained: 7.1 M", convolution, head=("linear", GREEN), texts=False,
    ),
    "clip_lora": Method("CLIP-LoRA", "trained: 0.18 M", low_rank),
    "zero_shot": Method("Zero-shot CLIP", "trained: nothing", plain),
    "linear_probe": Method(
        "Linear probe", "trained: 3,591", plain, head=("linear", GREEN), texts=False
    ),
    "full": Method("Full fine-tuning", "trained: 149.6 M", full, whole=(GREEN, GREEN)),
}  # fmt: skip


def video(pen: Drawing) -> None:
    """The frames of a clip, from neutral to a smile."""
    pen.title(12, STREAM - 40, "T frames")
    for i, smile in enumerate((0.0, 0.5, 1.0)):
        pen.face(12 + 24 * i, STREAM - 24 + 9 * i, 46, smile)
    pen.line([(112, STREAM), (130, STREAM)])
    pen.line([(152, STREAM), (RIGHT + 30, STREAM)], width=2.2, head=False)
    for i in range(4):
        square = Rectangle((134, STREAM - 28.5 + 15 * i), 12, 12, fc=FROZEN, ec=FROZEN_EDGE)
        pen.ax.add_patch(square)


def texts(pen: Drawing, method: Method) -> None:
    """Class texts through the text encoder to the head."""
    pen.title(12, TEXTS - 22, "class texts")
    pen.words(12, TEXTS + 8, "a text for each class", SMALL, ha="left")
    if method.context:
        for i in range(4):
            square = Rectangle(
                (150 + 14 * i, TEXTS), 10, 10, fc=tint(PURPLE, 0.45), ec=PURPLE, lw=1.2, zorder=3
            )  # fmt: skip
            pen.ax.add_patch(square)
        pen.words(212, TEXTS + 5, "learned, for each class", SMALL, ha="left", color=PURPLE)
    pen.line([(136, TEXTS + 5), (146, TEXTS + 5)], head=False)
    pen.line([(352 if method.context else 136, TEXTS + 5), (384, TEXTS + 5)])
    pen.box(446, TEXTS + 5, 124, 30, "text encoder", method.whole[1])
    pen.line([(508, TEXTS + 5), (HEAD + 20, TEXTS + 5), (HEAD + 20, STREAM + 22)])


def head(pen: Drawing, method: Method) -> None:
    """From the stream to the logits."""
    words, colour = method.over_time
    pen.box(HEAD - 42, STREAM + 90, 98, 40, words, colour, SMALL, plain=colour is None)
    pen.line([(RIGHT + 30, STREAM), (HEAD - 42, STREAM), (HEAD - 42, STREAM + 70)], width=2.2)
    words, colour = method.head
    y = STREAM + 38
    pen.box(HEAD + 20, y, 108, 30, words, colour, plain=colour is None)
    pen.line([(HEAD + 7, STREAM + 90), (HEAD + 28, STREAM + 90), (HEAD + 28, y + 15)])
    pen.line([(HEAD + 74, y), (HEAD + 90, y)])
    pen.words(HEAD + 93, y, "logits", SMALL, ha="left")


def legend(pen: Drawing, method: Method) -> None:
    """What is trained, and how much of it there is."""
    pen.title(LEFT, TOP - 8, "vision block  × 12")
    pen.box(24, HEIGHT - 18, 22, 14, "", round_by=3)
    pen.words(42, HEIGHT - 18, "frozen", SMALL, ha="left")
    pen.words(788, HEIGHT - 18, method.trained, SMALL, ha="right")
    if method.note:
        pen.words(LEFT, HEIGHT - 18, method.note, SMALL, ha="left", color=QUIET)


def main() -> None:
    """Draw all of them next to this file."""
    folder = Path(__file__).with_name("methods")
    folder.mkdir(exist_ok=True)
    for name, method in METHODS.items():
        top = 0 if method.texts else TOP - 30
        pen = Drawing(HEIGHT - top)
        pen.ax.set_ylim(HEIGHT, top)
        pen.panel(LEFT, TOP, RIGHT, BOTTOM)
        video(pen)
        method.inside(pen)
        if method.texts:
            texts(pen, method)
        head(pen, method)
        legend(pen, method)
        pen.save(folder / f"{name}.png")


if __name__ == "__main__":
    main()
