"""The sections of a model card."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from peclip_fast.config.model import ModelConfig
from peclip_fast.hub.facts import RunFacts, TestResult
from peclip_fast.hub.intervals import CONFIDENCE, recall_interval, uar_interval
from peclip_fast.hub.licences import UNKNOWN, licence_of_weights
from peclip_fast.version import __version__

REPOSITORY = "https://github.com/peclip-fast/peclip-fast"
_MOST_COLUMNS = 20  # of a confusion matrix that is still readable
_NOT_KNOWN = "Not known: the model was saved without a run."


def head(config: ModelConfig, run: RunFacts | None, faces: bool) -> str:
    """Title, and what it is in a sentence."""
    where = "" if run is None else f" on {plain(run.config.title)}"
    does = "says which facial expression is shown in" if faces else "classifies"
    lines = [
        f"# {config.title}{where}",
        f"A model that {does} a short video clip, by a frozen CLIP with few trained parameters; "
        f"made with [peclip-fast]({REPOSITORY}).",
    ]
    if run is not None and run.config.demo:
        lines.append("**It was trained on drawn clips, to show how the program works. It knows "
                     "nothing of real people.**")  # fmt: skip
    return "\n\n".join(lines)


def use(config: ModelConfig, run: RunFacts | None, name: str) -> str:
    """How to load it."""
    frames = 16 if run is None else run.config.data.frames
    shapes = {"descriptions": "int64 tokens (clips, n), by `model.tokenize`"}
    image = f"uint8 (clips, {frames}, 3, height, width), RGB, square"
    given = "\n".join(f"# {one}: {shapes.get(one, image)}" for one in config.inputs)
    arguments = ", ".join(one if one == "frames" else f"{one}={one}" for one in config.inputs)
    return f"""## Use

```python
import torch
import peclip_fast

model = peclip_fast.from_pretrained("{name}")
{given}
with torch.no_grad():
    probabilities = model({arguments}).softmax(1)  # (clips, classes), in the order of model.classes
```"""


def model(config: ModelConfig, classes: Sequence[str], run: RunFacts | None) -> str:
    """What it is made of."""
    result = None if run is None else run.result
    weights = config.pretrained or ("its own" if config.backbone == "demo" else "none named")
    rows = [
        ("method", config.title),
        ("backbone", f"{config.backbone}, weights: {weights}"),
        ("classes", ", ".join(classes)),
        ("inputs", ", ".join(config.inputs)),
    ]
    if result is not None and result.parameters:
        counts = (f"{number:,} {kind}" for kind, number in result.parameters.items())
        rows.append(("parameters", ", ".join(counts)))
    versions = {"peclip-fast": __version__, **({} if result is None else result.versions)}
    rows.append(("versions", ", ".join(f"{name} {number}" for name, number in versions.items())))
    return "## Model\n\n" + table(("", ""), rows)


def data(run: RunFacts | None) -> str:
    """What it was trained on."""
    if run is None:
        return f"## Training data\n\n{_NOT_KNOWN}"
    given, result = run.config.data, run.result
    rows = [("dataset", run.config.title), ("fold", str(given.fold))]
    if given.shots:
        rows.append(("clips of each class", f"{given.shots} (drawn with seed {given.shots_seed})"))
    counted = None if result is None else result.training_clips
    rows.append(("training clips", "not known" if counted is None else f"{counted:,}"))
    if result is not None and result.skipped_training_clips:
        skipped = len(result.skipped_training_clips)
        rows.append(("of them skipped, as they can't be read", str(skipped)))
    window = f"every {given.stride}th in a row from the middle"
    how = window if given.sampling == "window" else "the middle one of equal segments"
    rows.append(("frames of a clip", f"{given.frames}: {how}"))
    rows.append(("picture", "the largest centred square, resized with antialiasing"))
    return "## Training data\n\n" + table(("", ""), rows)


def crop(run: RunFacts | None) -> str:
    """How its clips show a face."""
    title = "## How the clips show a face\n\n"
    if run is None:
        return title + _NOT_KNOWN
    found = run.crop
    if found is None:
        return title + "Not known: nobody measured it. Clips that show faces otherwise than the " \
            "training clips give worse results."  # fmt: skip
    if not found.of_faces:
        share = percent(found.faces)
        return f"{title}They don't: only {share} of the training frames looked at show a face."
    rows = [
        ("side of the picture", f"{found.scale:.2f} times the side of the face"),
        ("its centre", f"{found.x:+.2f} to the right of the face's and {found.y:+.2f} below it, "
                       "in the same unit"),
        ("eyes level", "yes" if found.aligned else "no"),
        ("usual length", "not known" if found.seconds is None else f"{found.seconds:.1f} s"),
        ("frames that show a face", f"{percent(found.faces)} of those looked at"),
        ("known from", found.origin),
    ]  # fmt: skip
    told = "The face is the square around a face's landmarks. Pictures that show it otherwise " \
        "give worse results; `peclip-fast analyze` crops videos so."  # fmt: skip
    return title + table(("", ""), rows) + f"\n\n{told}"


def protocol(run: RunFacts | None) -> str:
    """How it was trained and tested."""
    if run is None:
        return f"## Protocol\n\n{_NOT_KNOWN}"
    train = run.config.train
    rows = [
        ("weights", "not known" if run.result is None else run.result.protocol),
        ("trained for", f"{run.config.epochs} epochs, batches of {train.batch_size}, "
                        f"{train.optimizer}, seed {train.seed}, {train.precision}"),
        ("trained on", "descriptions" if train.target == "descriptions" else "labels"),
        ("runs", "one: how much another seed changes is in no figure here"),
    ]  # fmt: skip
    if run.result is not None:
        rows.append(("tested on", run.result.device or "not known"))
    return "## Protocol\n\n" + table(("", ""), rows)


def results(run: RunFacts | None) -> str:
    """Metrics with intervals, and the confusion matrix."""
    title = "## Results on the test clips"
    if run is None or run.result is None:
        return f"{title}\n\nNot known: the model was saved without a test."
    found = run.result
    rows = []
    for name, right, number in zip(found.classes, found.found, found.clips, strict=True):
        if not number:
            rows.append((name, "0", "no clips", ""))
            continue
        rows.append(
            (name, str(number), percent(right / number), span(recall_interval(right, number)))
        )
    everything = sum(found.found), sum(found.clips)
    rows += [
        ("**UAR**, mean recall of the classes", "", percent(found.uar),
         span(uar_interval(found.found, found.clips))),
        ("**WAR**, accuracy over all clips", f"{everything[1]:,}",
         percent(everything[0] / everything[1]), span(recall_interval(*everything))),
    ]  # fmt: skip
    heads = ("class", "clips", "recall", f"{100 * CONFIDENCE:.0f} % interval")
    notes = "Intervals are Jeffreys', as if clips were independent of one another. Clips of one " \
        "person or one film aren't, so that the true ones are wider."  # fmt: skip
    skipped = len(found.skipped_test_clips)
    if skipped:
        notes += f" {skipped} test clips couldn't be read and are in no figure."
    return f"{title}\n\n{table(heads, rows, 1)}\n\n{notes}\n\n{_confusion(found)}"


def _confusion(found: TestResult) -> str:
    if len(found.classes) > _MOST_COLUMNS:
        return f"The confusion matrix of {len(found.classes)} classes is in the run's report."
    rows = [
        (name, *map(str, row))
        for name, row in zip(found.classes, found.confusion_matrix, strict=True)
    ]
    return "Rows are labels, columns predictions, numbers clips:\n\n" + table(
        ("", *found.classes), rows, 1
    )


def intended(faces: bool) -> str:
    """What it is for."""
    lines = ["## Intended use", ""]
    if faces:
        lines += [
            "- Research on the recognition of facial expressions, and comparison of methods.",
            "- Annotating videos of people who agreed to it, where somebody looks at the result.",
            "",
            "Not for decisions about people: on employment, education, credit, insurance, health, "
            "guilt or access to anything; not for watching people who don't know of it.",
        ]
    else:
        lines += [
            "- Research on the recognition of what videos show, and comparison of methods.",
            "",
            "Not for decisions about people.",
        ]
    return "\n".join(lines)


def limits(run: RunFacts | None, faces: bool) -> str:
    """What the figures don't say."""
    lines = ["## Limits", ""]
    if faces:
        lines += [
            "- **It says what is shown, not what is felt.** Labels are what annotators or actors "
            "meant to see or to show; people smile without joy and are sad without showing it.",
            "- Talking moves the mouth as expressions do.",
            "- What an expression means differs between people, cultures and situations.",
        ]
    lines += [
        "- **Groups.** It was not tested by age, gender, skin tone, origin, disability, glasses, "
        "beards, masks or head scarves: no figure here tells how much worse it is for some people. "
        "CLIP's own pictures and texts from the web carry prejudices, which stay in its frozen "
        "weights.",
        "- Test clips come from the same source as the training clips. Other cameras, light, "
        "crops and lengths give other results, usually worse ones.",
        "- Probabilities are not calibrated: 90 % doesn't mean right nine times in ten.",
        "- One of the classes always wins, also for clips that show none of them.",
    ]
    if run is not None and run.config.train.select == "best":
        lines.append("- Its epoch was chosen on the test clips, so that the figures are too good.")
    return "\n".join(lines)


def laws(faces: bool) -> str:
    """What the law says of such systems."""
    if not faces:
        return "## Law\n\nRecordings of people are personal data; ask them first."
    return """## Law

- European Union: the AI Act (Regulation (EU) 2024/1689) prohibits placing on the market, putting \
into service for this purpose, or using AI systems to infer emotions of people at work and in \
education, except for medical or safety reasons (Article 5(1)(f), since 2 February 2025). \
Elsewhere emotion recognition is a high-risk use (Annex III, 1(c)), and people must be told that \
they are exposed to it (Article 50(3)).
- Faces are personal data, and biometric data where they identify people (GDPR, Articles 4 and 9; \
in Illinois the Biometric Information Privacy Act). Other places have other laws.

This is no legal advice."""


def licences(config: ModelConfig, run: RunFacts | None, licence: str | None) -> str:
    """Of the weights and of the clips."""
    of_data = UNKNOWN
    if run is not None:
        of_data = run.config.dataset.licence or "the author's own clips; " + UNKNOWN
    rows = [
        (
            "the trained tensors",
            licence or "what the backbone and the clips allow; their author names none",
        ),
        ("the frozen backbone", licence_of_weights(config)),
        ("the training clips", of_data),
        ("peclip-fast", "Apache-2.0"),
    ]
    return "## Licences\n\n" + table(("of", "licence"), rows)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], words: int = 9) -> str:
    """A Markdown table; columns after the first ``words`` hold numbers."""
    rule = ["---" if k < words else "--:" for k in range(len(heads))]
    body = [[plain(cell) for cell in row] for row in [heads, *rows]]
    return "\n".join("| " + " | ".join(row) + " |" for row in (body[0], rule, *body[1:]))


def plain(cell: str) -> str:
    """A text in which nothing ends a cell or begins HTML."""
    return " ".join(cell.replace("|", "\\|").replace("<", "&lt;").split())


def percent(share: float) -> str:
    """As 71.4 %."""
    return f"{share:.1%}".replace("%", " %")


def span(interval: tuple[float, float]) -> str:
    """Both ends, in percent."""
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f} %"
