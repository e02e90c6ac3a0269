"""The test clips of a run: their features, and the maps of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

from torch import Tensor

from peclip_fast.config.run import RunConfig
from peclip_fast.data.records import DatasetSplits
from peclip_fast.embed.features import clip_features
from peclip_fast.embed.projection import project, silhouette
from peclip_fast.engine.distributed import World, set_up
from peclip_fast.engine.kernels.choice import settle_kernels
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.models.pretrained import from_pretrained


class Map(NamedTuple):
    """One panel."""

    coordinates: Tensor
    """(N, 2)."""
    silhouette: float | None

    @property
    def score(self) -> str:
        """The silhouette for people."""
        return "not defined" if self.silhouette is None else f"{self.silhouette:.3f}"


@dataclass(frozen=True)
class Embedding:
    """N clips of a run.

    Args:
        paths: of the clips.
        labels: (N,) int64.
        features: by the model's name, (N, E) float32, of length 1.
        maps: by the model's name.
        skipped: clips that couldn't be read.
    """

    paths: list[str]
    labels: Tensor
    features: dict[str, Tensor]
    maps: dict[str, Map]
    skipped: int


def embed_clips(run: RunFolder, config: RunConfig, splits: DatasetSplits) -> Embedding:
    """The test clips by a run's frozen and trained model.

    Raises:
        InputError: the model or a clip can't be used.
    """
    device = set_up(config.train, World(0, 1, 0, 1))
    settle_kernels(config, device, run=run)
    model = from_pretrained(run.model, classes=splits.classes, **asdict(config.model))
    found = clip_features(model, splits.test, config, device)
    maps = {
        name: Map(project(features, config.train.seed), silhouette(features, found.labels))
        for name, features in found.features.items()
    }
    paths = [str(splits.test[i].path) for i in found.index.tolist()]
    return Embedding(paths, found.labels, found.features, maps, len(found.bad))
