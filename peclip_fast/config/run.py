"""The configuration of a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from peclip_fast.config.data import DataConfig
from peclip_fast.config.model import ModelConfig
from peclip_fast.config.options import flat, plain
from peclip_fast.config.train import TrainConfig
from peclip_fast.errors import InputError

# What may differ when a run goes on: where things are, and what doesn't change its results.
FREE_TO_CHANGE = (
    "data.root",
    "data.num_workers",
    "data.prefetch",
    "train.device",
    "train.threads",
    "train.recompute",
    "train.cuda_graphs",
    "train.eval_batch_size",
    "train.checkpoint_every",
)


@dataclass(frozen=True)
class RunConfig:
    """All that a run is made from; with the same machine and versions it gives the same run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        described = self.train.target == "descriptions"
        if self.model.method == "pe_clip":
            if described:
                raise InputError("train.target=descriptions: takes the method finecliper alone")
            return
        if self.train.cuda_graphs:
            raise InputError("train.cuda_graphs: takes the method pe_clip alone")
        wanted = self.model.finecliper
        if self.reads_cues and not (self.data.cues or self.demo):
            raise InputError(
                "data.cues: expected the folder that `python -m peclip_fast.data cues` wrote, for "
                "model.finecliper's parsing and landmarks"
            )
        if described and (wanted.descriptions or wanted.negative_adapter):
            part, why = "negative_adapter", "nothing would train it"
            if wanted.descriptions:
                part, why = "descriptions", "a text would be its own answer"
            raise InputError(
                f"train.target=descriptions: expected model.finecliper.{part} false, as {why}"
            )
        reader = "train.target=descriptions" if described else "model.finecliper.descriptions"
        if self.reads_descriptions and not (self.data.descriptions or self.demo):
            raise InputError(
                "data.descriptions: expected the file that `python -m peclip_fast.fine_text` "
                f"wrote, for {reader}"
            )
        mixed = self.data.mix.mixup + self.data.mix.fmix > 0
        if self.reads_descriptions and mixed:
            raise InputError(
                f"data.mix: expected mixup 0 and fmix 0, as texts can't be mixed ({reader})"
            )

    @property
    def demo(self) -> bool:
        """Whether the clips are rendered ones."""
        return self.data.dataset in ("demo", "demo-order")

    @property
    def title(self) -> str:
        """The dataset in words for people."""
        if self.demo:
            return f"{self.data.dataset} (built-in demo: rendered faces, not real data)"
        return self.data.dataset

    @property
    def learning_rates(self) -> dict[str, float]:
        """The highest rate of each group of parameters."""
        return {"adapters": self.train.lr_adapters, "prompts": self.train.lr_prompts}

    @property
    def reads_cues(self) -> bool:
        """Whether its model sees `data.cues`."""
        wanted = self.model.finecliper
        return self.model.method == "finecliper" and (wanted.parsing or wanted.landmarks)

    @property
    def reads_descriptions(self) -> bool:
        """Whether its model, or its training, reads `data.descriptions`."""
        read = self.model.finecliper.descriptions or self.train.target == "descriptions"
        return self.model.method == "finecliper" and read

    @property
    def without_unread(self) -> RunConfig:
        """Without the files that it doesn't read, which change nothing in the run."""
        data = dataclasses.replace(
            self.data,
            cues=self.data.cues if self.reads_cues else None,
            descriptions=self.data.descriptions if self.reads_descriptions else None,
        )
        return dataclasses.replace(self, data=data)

    @property
    def as_tested(self) -> RunConfig:
        """Without the texts that training alone reads, so that clips of any dataset will do."""
        if self.train.target == "classes":
            return self
        return dataclasses.replace(
            self,
            data=dataclasses.replace(self.data, descriptions=None),
            train=dataclasses.replace(self.train, target="classes"),
        )

    def to_yaml(self) -> str:
        """Every field, such that from_yaml() gives an equal configuration."""
        options = plain(dataclasses.asdict(self))
        return yaml.safe_dump(options, sort_keys=False, allow_unicode=True)


class Difference(NamedTuple):
    """An option in which two configurations differ."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key}={self.before}, not {self.after}"


def differences(before: RunConfig, after: RunConfig) -> list[Difference]:
    """The options in which two configurations differ; one path may be written in two ways."""
    both = (plain(dataclasses.asdict(config)) for config in (before, after))
    pairs = zip(*map(flat, both), strict=True)
    return [Difference(key, a, b) for (key, a), (_, b) in pairs if a != b]
