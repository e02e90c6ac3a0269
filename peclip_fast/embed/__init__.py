"""Where a model puts the clips of a test split, as numbers and as a picture."""

from peclip_fast.embed.features import FROZEN, TRAINED, ClipFeatures, clip_features
from peclip_fast.embed.projection import project, silhouette

__all__ = ["FROZEN", "TRAINED", "ClipFeatures", "clip_features", "project", "silhouette"]
