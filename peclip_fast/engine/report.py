"""What a run has shown: JSON, a table, a picture of the confusion matrix, a line per clip."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from peclip_fast.config.run import RunConfig
from peclip_fast.data.records import ClipRecord
from peclip_fast.engine.checkpoint import read_best
from peclip_fast.engine.evaluation import Predictions
from peclip_fast.engine.metrics import Scores
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.files import write_bytes, write_text
from peclip_fast.json_files import read_json
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.plots.confusion import confusion_png

PACKAGES = ("torch", "open_clip_torch", "lightning-fabric", "numpy", "av")


@dataclass(frozen=True)
class Report:
    """An evaluation.

    Args:
        config: of the run, with what this evaluation changed.
        records: the test clips.
        predictions: of the records.
        classes: names.
        protocol: which epoch's weights, in words.
        facts: further entries of the JSON file.
    """

    config: RunConfig
    records: Sequence[ClipRecord]
    predictions: Predictions
    classes: tuple[str, ...]
    protocol: str
    facts: dict[str, Any]

    @property
    def scores(self) -> Scores:
        """The metrics."""
        return self.predictions.scores(self.classes)

    def as_json(self) -> dict[str, Any]:
        """The whole report; rates from 0 to 1, rows of the confusion matrix are true classes."""
        scores = self.scores
        data = self.config.data
        return {
            "dataset": data.dataset,
            "demo": self.config.demo,
            "title": self.config.title,
            "fold": data.fold,
            "shots": data.shots,
            "shots_seed": data.shots_seed,
            "protocol": self.protocol,
            "clips": sum(scores.counts),
            "war": scores.war,
            "uar": scores.uar,
            "uar_rule": scores.uar_rule,
            "absent_classes": list(scores.absent),
            "classes": list(self.classes),
            "recall": dict(zip(self.classes, scores.recalls, strict=True)),
            "clips_per_class": dict(zip(self.classes, scores.counts, strict=True)),
            "confusion_matrix": [list(row) for row in scores.confusion],
            "skipped_test_clips": [clip.reason for clip in self.predictions.bad],
            "seed": self.config.train.seed,
            "epochs": self.config.epochs,
            "precision": self.config.train.precision,
            **self.facts,
        }

    def as_table(self) -> str:
        """The report for people."""
        scores = self.scores
        width = max(map(len, self.classes))
        lines = [self.config.title, "", f"{'class':<{width}}  clips   recall"]
        for name, count, recall in zip(self.classes, scores.counts, scores.recalls, strict=True):
            shown = "  absent" if recall is None else f"{recall:>8.2%}"
            lines.append(f"{name:<{width}}  {count:>5} {shown}")
        lines += [
            "",
            f"UAR {scores.uar:.2%}   {scores.uar_rule}",
            f"WAR {scores.war:.2%}   accuracy over {sum(scores.counts)} clips",
            f"protocol: {self.protocol}",
        ]
        if scores.absent:
            lines.append(f"warning: no test clips of {', '.join(scores.absent)}")
        if self.predictions.bad:
            number = len(self.predictions.bad)
            lines.append(f"warning: {number} test clips were skipped and are in no figure")
        return "\n".join(lines)

    def as_csv(self) -> str:
        """A line per clip: path, label, prediction and the probability of each class."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["path", "label", "prediction", *self.classes])
        p = self.predictions
        rows = zip(p.index.tolist(), p.labels.tolist(), p.classes.tolist(), strict=True)
        for (index, label, prediction), probabilities in zip(
            rows, p.probabilities.tolist(), strict=True
        ):
            names = self.classes[label], self.classes[prediction]
            numbers = [f"{value:.6f}" for value in probabilities]
            writer.writerow([self.records[index].path, *names, *numbers])
        return text.getvalue()

    def write(self, folder: Path) -> None:
        """Write predictions.csv, confusion.png and report.json, that one last."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "predictions.csv", self.as_csv())
        scores = self.scores
        title = f"{self.config.title}\nUAR {scores.uar:.2%}, WAR {scores.war:.2%}"
        png = confusion_png(scores.confusion, scores.classes, title)
        write_bytes(folder / "confusion.png", png)
        write_text(folder / "report.json", json.dumps(self.as_json(), indent=1) + "\n")


def protocol(config: RunConfig, run: RunFolder, tested: str | None = None) -> str:
    """Which weights a run reports, in words, and of zero-shot training what was seen.

    Args:
        config: of the run.
        run: its files.
        tested: dataset of the test clips; the run's own unless given.
    """
    weights = _weights(config, run)
    if config.train.target == "classes":
        return weights
    trained = config.data.dataset
    return (
        f"{weights}; zero-shot: trained on the descriptions of {trained}, tested on the classes of "
        f"{tested or trained}"
    )


def _weights(config: RunConfig, run: RunFolder) -> str:
    epochs = config.epochs
    if not epochs:
        return "not trained"
    if config.train.select == "last":
        return f"last epoch ({epochs} of {epochs})"
    found = read_best(run.best)
    which = f"{found[0].epoch} of {epochs}" if found else "unknown"
    return (
        f"best epoch by WAR on the test split itself ({which}): optimistic, only for comparison "
        "with work that does so"
    )


def facts(model: AdaptedCLIP, device: torch.device, processes: int) -> dict[str, Any]:
    """What ran, and on what."""
    trained = sum(p.numel() for p in model.trained_parameters().values())
    everything = sum(p.numel() for p in model.parameters())
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "parameters": {"trained": trained, "frozen": everything - trained},
        "device": f"{device.type} ({name})",
        "processes": processes,
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in PACKAGES},
    }


@dataclass(frozen=True)
class _Training:
    """What a report says of the training clips; another program's may lack it."""

    training_clips: int | None = None
    skipped_training_clips: list[str] | None = None


def training_facts(run: RunFolder) -> dict[str, Any]:
    """What a run's report says of its training clips, for a report that is written anew."""
    if not run.report.exists():
        return {}
    try:
        said = asdict(read_json(run.report, _Training))
    except InputError as error:
        raise InputError(f"{error}; remove it, as it isn't a run's report") from None
    return {name: value for name, value in said.items() if value is not None}
