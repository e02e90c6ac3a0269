"""Where a model puts the clips of a test split, as numbers and as a picture."""

from peclip_fast.embed.embedding import Embedding, Map, embed_clips
from peclip_fast.embed.features import FROZEN, TRAINED, ClipFeatures, clip_features
from peclip_fast.embed.projection import project, silhouette

__all__ = [
    "FROZEN",
    "TRAINED",
    "ClipFeatures",
    "Embedding",
    "Map",
    "clip_features",
    "embed_clips",
    "project",
    "silhouette",
]
