"""``python -m peclip_fast.demo.train_backbone``: the small CLIP that the demo starts from.

It learns from stills of random faces and texts that list their action units, so that the demo's
frozen features mean something. Its faces are numbered from 10,000 on; the demo's clips show others.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from peclip_fast.config.texts import PUBLISHED_ACTION_UNITS
from peclip_fast.demo.animate import CAMERA_NOISE, RESTLESS
from peclip_fast.demo.draw import Light, View, draw_face
from peclip_fast.demo.face import shape_face
from peclip_fast.demo.identity import Identity
from peclip_fast.demo.units import ACTION_UNITS, EXPRESSIONS, NEUTRAL_WORDS, PLAIN_WORDS
from peclip_fast.files import write_text
from peclip_fast.models.backbone import load_backbone
from peclip_fast.models.storage import write_safetensors
from peclip_fast.models.towers import TextTower, vision_tower

FIRST_IDENTITY = 10_000
IDENTITIES = 4_000
HELD_OUT = 500  # stills of yet other faces, to measure on
CONFIG: dict[str, Any] = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 48,
        "patch_size": 8,
        "width": 96,
        "layers": 4,
        "head_width": 32,
    },
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 4},
}
READING = 8.0  # length of the features as the reader sees them
SHARPNESS = 8.0  # of the targets: how much more a text counts that names more of a face's units


def still(number: int) -> tuple[NDArray[np.uint8], str, list[int]]:
    """A picture (48, 48, 3), uint8 RGB, a text about it, and the action units that it shows."""
    rng = np.random.default_rng([0x5711, number])
    who = Identity.numbered(FIRST_IDENTITY + int(rng.integers(IDENTITIES)) + number // 10**6)
    name = None
    if rng.random() < 0.6:
        name = list(EXPRESSIONS)[rng.integers(len(EXPRESSIONS))]
        units = list(EXPRESSIONS[name])
    else:
        units = rng.permutation(list(ACTION_UNITS))[: rng.integers(0, 6)].tolist()
    levels = {unit: RESTLESS * rng.random() for unit in ACTION_UNITS}
    levels |= {unit: rng.uniform(0.4, 1.0) for unit in units}
    shape = shape_face(who, levels, gaze=(rng.uniform(-1, 1), rng.uniform(-1, 1)))
    view = View(
        yaw=rng.uniform(-0.32, 0.32),
        pitch=rng.uniform(-0.2, 0.2),
        roll=rng.uniform(-0.12, 0.12),
        zoom=rng.uniform(0.93, 1.16),
        shift=(rng.uniform(-0.08, 0.08), rng.uniform(-0.08, 0.08)),
    )
    light = Light(
        direction=(rng.uniform(-1, 1), rng.uniform(-0.9, 0.2)),
        contrast=rng.uniform(0.15, 0.5),
        exposure=rng.uniform(0.75, 1.25),
        warmth=rng.uniform(-0.08, 0.08),
    )
    size = CONFIG["vision_cfg"]["image_size"]
    picture = draw_face(shape, who, view, light, size, CAMERA_NOISE, rng)
    return picture, _text(name, units, rng), sorted(units)


def _text(name: str | None, units: list[int], rng: np.random.Generator) -> str:
    """In the wording of Table 1, or, for an expression, its name or what a person would say."""
    kind = rng.random()
    if name is not None and kind < 0.15:
        return f"{name.capitalize()}."
    if name is not None and kind < 0.35:
        return f"{PLAIN_WORDS[name]}."
    words = [ACTION_UNITS[unit] for unit in units] or list(NEUTRAL_WORDS)
    if kind > 0.6:  # otherwise in Table 1's own order
        words = rng.permutation(words).tolist()
    return ", ".join(words) + "."


def draw_stills(numbers: range) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (N, 3, 48, 48) uint8, tokens (N, 77) and action units (N, 13) of 0 and 1."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), context) as pool:
        drawn = list(pool.map(still, numbers, chunksize=100))
    pictures = torch.from_numpy(np.stack([d[0] for d in drawn])).permute(0, 3, 1, 2).contiguous()
    tokens = open_clip.tokenizer.tokenize([d[1] for d in drawn])
    units = torch.tensor([[unit in d[2] for unit in ACTION_UNITS] for d in drawn]).float()
    return pictures, tokens, units


def agreement(units: Tensor) -> Tensor:
    """Rows of target probabilities (N, N): texts count by the share of action units in common."""
    both = units @ units.T
    either = units.sum(1, keepdim=True) + units.sum(1) - both
    overlap = torch.where(either > 0, both / either.clamp_min(1), torch.ones_like(both))
    return (SHARPNESS * overlap).softmax(1)


def encode_images(model: open_clip.CLIP, pictures: Tensor) -> Tensor:
    """Pictures (N, 3, 48, 48) uint8 -> features (N, 64) of length 1."""
    tower = vision_tower(model, "demo")
    x = tower.embed(pictures.float() / 255, None)
    for block in tower.blocks:
        x = x + block.attend(x)
        x = x + block.feed_forward(x)
    return F.normalize(tower.project(x).float(), dim=-1)


def encode_texts(model: open_clip.CLIP, tokens: Tensor) -> Tensor:
    """Tokens (N, 77) -> features (N, 64) of length 1; nothing is computed past the last end."""
    tower, ends = TextTower(model, "demo"), tokens.argmax(1)
    x = tower.embed(tokens[:, : int(ends.max()) + 1], None)
    for block in tower.blocks:
        x = x + block.attend(x, causal=True)
        x = x + block.feed_forward(x)
    return F.normalize(tower.project(x[torch.arange(len(x)), ends]).float(), dim=-1)


@torch.no_grad()
def zero_shot(model: open_clip.CLIP, pictures: Tensor, units: Tensor) -> float:
    """Accuracy over the stills that show one of the seven expressions, by Table 1's texts."""
    sets = [[float(unit in shown) for unit in ACTION_UNITS] for shown in EXPRESSIONS.values()]
    same = (units[:, None] == torch.tensor(sets)).all(-1)
    known = same.any(1)
    texts = open_clip.tokenizer.tokenize(list(PUBLISHED_ACTION_UNITS.values()))
    scores = encode_images(model, pictures[known]) @ encode_texts(model, texts).T
    return (scores.argmax(1) == same[known].float().argmax(1)).float().mean().item()


def train(
    model: open_clip.CLIP, stills: range, epochs: int, batch_size: int, rate: float, seed: int
) -> Tensor:
    """Train the model in place; gives the tokens that its texts had, prints how epochs went."""
    torch.manual_seed(seed)
    pictures, tokens, units = draw_stills(stills)
    held_out = draw_stills(range(10**6, 10**6 + HELD_OUT))
    # Reads the action units off either kind of feature. It is dropped afterwards; the contrastive
    # loss by itself would need far more stills.
    reader = torch.nn.Linear(CONFIG["embed_dim"], len(ACTION_UNITS))
    parameters = [*model.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.02)
    batches = len(stills) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, epochs=epochs, steps_per_epoch=batches, pct_start=0.1
    )
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(stills))[: batches * batch_size].view(batches, batch_size):
            images = encode_images(model, pictures[rows])
            texts = encode_texts(model, tokens[rows])
            logits = model.logit_scale.exp() * images @ texts.T
            targets = agreement(units[rows])
            loss = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
            for features in (images, texts):
                read = reader(READING * features)
                loss = loss + F.binary_cross_entropy_with_logits(read, units[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() / batches
        accuracy = zero_shot(model, held_out[0], held_out[2])
        message = f"loss {total:.3f}, zero-shot {accuracy:.1%} of held-out stills"
        print(f"demo CLIP, epoch {epoch + 1}/{epochs}: {message}", flush=True)
    return tokens.unique()


def save(model: open_clip.CLIP, seen: Tensor, folder: Path) -> None:
    """Half precision, and of the token table only the rows of the tokens that were seen."""
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    table = state.pop("token_embedding.weight")
    state |= {"token_embedding.ids": seen.int(), "token_embedding.rows": table[seen]}
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "model.safetensors", state)
    write_text(folder / "open_clip_config.json", json.dumps({"model_cfg": CONFIG}, indent=1) + "\n")


def main() -> None:
    """Train and write the files that ``backbone="demo"`` reads.

    The committed ones come from two runs: the defaults, then ``--start-from`` the result with
    ``--first-still 24000 --rate 7e-4``.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stills", type=int, default=24_000)
    parser.add_argument("--first-still", type=int, default=0, help="number of the first one")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start-from", type=str, help="folder of a former result")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "backbone")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    start = options.start_from
    model = load_backbone(start) if start else open_clip.CLIP(**CONFIG)
    model.requires_grad_(True)
    stills = range(options.first_still, options.first_still + options.stills)
    seen = train(model, stills, options.epochs, options.batch_size, options.rate, options.seed)
    save(model, seen, options.output)
    print(f"demo CLIP written to {options.output}")


if __name__ == "__main__":
    main()
