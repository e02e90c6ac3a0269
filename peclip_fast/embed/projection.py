"""From features to a plane, and how well the classes are separated."""

from __future__ import annotations

import torch
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from torch import Tensor

from peclip_fast.errors import InputError

LEAST = 4  # clips: of fewer, a map says nothing
PERPLEXITY = 30.0  # van der Maaten and Hinton's usual one, less where there are few clips


def project(features: Tensor, seed: int) -> Tensor:
    """t-SNE (van der Maaten and Hinton, 2008) from PCA's plane: (N, E) -> (N, 2), float32.

    Distances and the sizes of groups mean little in such a map; neighbourhoods do.

    Raises:
        InputError: fewer than LEAST clips.
    """
    if len(features) < LEAST:
        raise InputError(f"t-SNE of {len(features)} clips: expected at least {LEAST}")
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    made = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    return torch.from_numpy(made.fit_transform(features.numpy())).float()


def silhouette(features: Tensor, labels: Tensor) -> float | None:
    """Mean silhouette (Rousseeuw, 1987) of the clips by their true classes, from -1 to 1.

    Of the features themselves, (N, E), by cosine distance, not of the map. None where it isn't
    defined: a single class, or one for every clip.
    """
    if not 2 <= len(labels.unique()) < len(labels):
        return None
    return float(silhouette_score(features.numpy(), labels.numpy(), metric="cosine"))
