"""Run an exported file on clips."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from peclip_fast.config.run import RunConfig
from peclip_fast.data.loading.dataset import ClipDataset
from peclip_fast.data.loading.loader import make_loader
from peclip_fast.data.splits import open_files
from peclip_fast.export.about import About
from peclip_fast.export.formats import Runner
from peclip_fast.models.tokenizer import BatchTokenizer, text_tokenizer


def exported_probabilities(
    about: About, run: Runner, clips: Sequence[str | Path], config: RunConfig
) -> Tensor:
    """Probabilities (N, C) of any clips, by a file that read_exported() has read.

    Args:
        about: what the file says of itself.
        run: what runs it.
        clips: video files or folders of frames.
        config: the file's, with what the caller changed.

    Raises:
        InputError: a clip can't be read; names the file.
    """
    batch_size = config.train.eval_batch_size
    workers = 0 if len(clips) <= batch_size else config.data.num_workers
    data = replace(config.data, on_bad_clip="error", num_workers=workers, decoder="pyav")
    tokenize = None
    if "descriptions" in about.inputs:
        tokenizer = text_tokenizer(config.model.backbone)
        tokenize = BatchTokenizer(tokenizer, about.positions, about.whole)
    dataset = ClipDataset(
        open_files([str(clip) for clip in clips], data, about.inputs),
        data,
        about.image_size,
        train=False,
        inputs=about.inputs,
        tokenize=tokenize,
    )
    found = []
    with contextlib.closing(make_loader(dataset, min(batch_size, len(clips)))) as loader:
        for batch in loader:
            arrays = [batch[name].contiguous().numpy() for name in about.inputs]
            found.append(torch.from_numpy(run(arrays)))
    return torch.cat(found)
