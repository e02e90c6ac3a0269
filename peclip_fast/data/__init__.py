"""Video and frames in: datasets, lists, sampling, decoding, augmentation, batches."""

from peclip_fast.data.clip_source import ClipSource, open_clip_source, open_record
from peclip_fast.data.config import AugmentConfig, DataConfig, MixConfig
from peclip_fast.data.dataset import BadClip, ClipDataset, ClipKey
from peclip_fast.data.lists import read_list
from peclip_fast.data.loader import ClipLoader, make_loader
from peclip_fast.data.mixing import mix_batch
from peclip_fast.data.names import SEVEN_EXPRESSIONS
from peclip_fast.data.records import ClipRecord, DatasetSplits
from peclip_fast.data.registry import open_splits
from peclip_fast.data.sampler import ClipBatchSampler
from peclip_fast.data.sampling import sample_indices

__all__ = [
    "SEVEN_EXPRESSIONS",
    "AugmentConfig",
    "BadClip",
    "ClipBatchSampler",
    "ClipDataset",
    "ClipKey",
    "ClipLoader",
    "ClipRecord",
    "ClipSource",
    "DataConfig",
    "DatasetSplits",
    "MixConfig",
    "make_loader",
    "mix_batch",
    "open_clip_source",
    "open_record",
    "open_splits",
    "read_list",
    "sample_indices",
]
