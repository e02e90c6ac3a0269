"""The configuration of a run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from peclip_fast.config.data import DataConfig
from peclip_fast.config.methods.pe_clip import PECLIPConfig
from peclip_fast.config.model import ModelConfig
from peclip_fast.config.options import flat, plain
from peclip_fast.config.train import TrainConfig
from peclip_fast.errors import InputError, hint
from peclip_fast.registry import DATASETS, Dataset

# What may differ when a run goes on: where things are, and what doesn't change its results.
FREE_TO_CHANGE = (
    "data.root",
    "data.num_workers",
    "data.prefetch",
    "train.device",
    "train.threads",
    "train.kernel_check",
    "train.recompute",
    "train.cuda_graphs",
    "train.on_nan",
    "train.eval_batch_size",
    "train.checkpoint_every",
)
CUES = {"parsing", "landmarks"}  # what a model may see that comes from data.cues


@dataclass(frozen=True)
class RunConfig:
    """All that a run is made from; with the same machine and versions it gives the same run."""

    model: ModelConfig = field(default_factory=PECLIPConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        model, train = self.model, self.train
        known = model.learning_rates
        for group in train.lr:
            if group not in known:
                raise InputError(
                    f"train.lr.{group}: {model.method} trains the groups {', '.join(known)}"
                    f"{hint(group, known)}"
                )
        # Written out, so that a saved run keeps its rates whatever a later version's are.
        rates = {group: train.lr.get(group, rate) for group, rate in known.items()}
        object.__setattr__(self, "train", dataclasses.replace(train, lr=rates))
        if train.target not in model.targets:
            raise InputError(
                f"train.target={train.target}: {model.method} is trained for "
                f"{', '.join(model.targets)}"
            )
        if train.cuda_graphs is True and not model.cuda_graphs:
            raise InputError(f"train.cuda_graphs: expected false, as {model.method} can't use them")
        self._check_files()
        model.check_run(self.data, train)

    def _check_files(self) -> None:
        brings = self.dataset.brings
        if self.reads_cues and not (self.data.cues or "cues" in brings):
            raise InputError(
                "data.cues: expected the folder that `peclip-fast data cues` wrote, as the model "
                f"sees {' and '.join(name for name in self.model.inputs if name in CUES)}"
            )
        if not self.reads_descriptions:
            return
        reader = "train.target=descriptions"
        if "descriptions" in self.model.inputs:
            reader = "the model's descriptions"
        if not (self.data.descriptions or "descriptions" in brings):
            raise InputError(
                "data.descriptions: expected the file that `peclip-fast describe` wrote, for "
                f"{reader}"
            )
        if self.data.mix.mixup + self.data.mix.fmix > 0:
            raise InputError(
                f"data.mix: expected mixup 0 and fmix 0, as texts can't be mixed ({reader})"
            )

    @property
    def learning_rates(self) -> dict[str, float]:
        """The highest learning rate of each group of trained tensors."""
        return dict(self.train.lr)

    @property
    def epochs(self) -> int:
        """How long it is trained: not at all where the method trains nothing."""
        return self.train.epochs if self.train.lr else 0

    @property
    def dataset(self) -> Dataset:
        """The dataset, or InputError for a name that isn't known."""
        return DATASETS[self.data.dataset]

    @property
    def demo(self) -> bool:
        """Whether the clips are drawn ones."""
        return self.dataset.drawn

    @property
    def title(self) -> str:
        """The dataset in words for people."""
        return self.dataset.title

    @property
    def reads_cues(self) -> bool:
        """Whether its model sees `data.cues`."""
        return bool(CUES & set(self.model.inputs))

    @property
    def reads_descriptions(self) -> bool:
        """Whether its model, or its training, reads `data.descriptions`."""
        return "descriptions" in self.model.inputs or self.train.target == "descriptions"

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
        """Without the texts that only training reads, so that clips of any dataset will do."""
        if self.train.target == "classes":
            return self
        return dataclasses.replace(
            self,
            data=dataclasses.replace(self.data, descriptions=None),
            train=dataclasses.replace(self.train, target="classes"),
        )

    def to_yaml(self) -> str:
        """Every option, such that reading it again gives an equal configuration."""
        options = plain(dataclasses.asdict(self))
        return yaml.safe_dump(options, sort_keys=False, allow_unicode=True)


class Difference(NamedTuple):
    """An option in which two configurations differ; None where one doesn't have it."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key}={self.before}, not {self.after}"


def differences(before: RunConfig, after: RunConfig) -> list[Difference]:
    """The options in which two configurations differ; one path may be written in two ways."""
    old, new = (dict(flat(plain(dataclasses.asdict(config)))) for config in (before, after))
    pairs = [(key, old.get(key), new.get(key)) for key in dict.fromkeys((*old, *new))]
    return [Difference(*pair) for pair in pairs if pair[1] != pair[2]]
