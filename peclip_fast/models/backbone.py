"""The frozen CLIP: by open_clip's name, or from a folder of its own."""

from __future__ import annotations

import hashlib
import json
import pickle
from importlib import resources
from pathlib import Path

import open_clip
import torch
from torch import Tensor, nn

from peclip_fast.errors import InputError
from peclip_fast.files import write_text
from peclip_fast.models.storage import (
    read_safetensors,
    refuse_other_tensors,
    write_safetensors,
)

CONFIG_FILE, WEIGHTS_FILE = "open_clip_config.json", "model.safetensors"
RANDOM_SEED = 0  # random weights are the same everywhere, so that a checkpoint need not hold them


def load_backbone(name: str, pretrained: str | None = None) -> nn.Module:
    """open_clip's CLIP, frozen and in eval mode.

    ``name`` is open_clip's, "demo" for the packaged small CLIP, or a folder with
    open_clip_config.json and model.safetensors. Without ``pretrained`` a name gives random
    weights. Under ``torch.device("meta")`` no weights are read. Raises InputError for what is
    not there.
    """
    folder = backbone_folder(name)
    if folder is not None:
        model = _from_folder(folder)
    elif name not in open_clip.list_models():
        raise InputError(
            f"backbone {name!r}: open_clip knows none of that name, and there is no such folder; "
            "see open_clip.list_models()"
        )
    else:
        model = _from_open_clip(name, pretrained)
    return model.eval().requires_grad_(False)


def backbone_folder(name: str) -> Path | None:
    """Where a backbone that is not open_clip's has its files."""
    if name == "demo":
        return Path(str(resources.files("peclip_fast") / "demo" / "backbone"))
    return Path(name) if (Path(name) / CONFIG_FILE).is_file() else None


def _from_open_clip(name: str, pretrained: str | None) -> nn.Module:
    known = open_clip.list_pretrained_tags_by_model(name)
    if pretrained and pretrained not in known and not Path(pretrained).is_file():
        raise InputError(
            f"pretrained={pretrained!r}: no such file, and open_clip has for {name} only "
            f"{', '.join(known) or 'none'}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        try:
            return open_clip.create_model(
                name,
                pretrained=pretrained,
                pretrained_text=False,
                device=torch.get_default_device(),
            )
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
            if pretrained is None:
                raise
            reason = " ".join(str(error).split())
            raise InputError(f"pretrained={pretrained!r} for {name}: {reason}") from error


def _from_folder(folder: Path) -> nn.Module:
    try:
        config = json.loads((folder / CONFIG_FILE).read_text())["model_cfg"]
        model = open_clip.CLIP(**config)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / CONFIG_FILE}: expected open_clip's model_cfg, got {error}"
        ) from error
    if torch.get_default_device().type == "meta":
        return model
    state = read_safetensors(folder / WEIGHTS_FILE)
    _unpack_token_rows(state, model.token_embedding.weight.shape)
    refuse_other_tensors(str(folder / WEIGHTS_FILE), state, model.state_dict())
    model.load_state_dict(state)
    return model


def _unpack_token_rows(state: dict[str, Tensor], shape: torch.Size) -> None:
    """A small backbone stores the rows of the tokens that it knows; the others are zero."""
    if "token_embedding.rows" in state:
        table = torch.zeros(shape)
        rows = state.pop("token_embedding.rows").to(table.dtype)
        table[state.pop("token_embedding.ids").long()] = rows
        state["token_embedding.weight"] = table


def save_backbone(backbone: nn.Module, config: dict[str, object], folder: Path) -> None:
    """Write a folder that load_backbone reads, for a backbone that open_clip has no name for."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG_FILE, json.dumps({"model_cfg": config}, indent=1))
    write_safetensors(folder / WEIGHTS_FILE, dict(backbone.state_dict()))


def fingerprint(backbone: nn.Module) -> str:
    """A short hash of the first values of every frozen tensor; of the names alone on "meta"."""
    digest = hashlib.sha256()
    for name, tensor in backbone.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        if tensor.device.type != "meta":
            digest.update(tensor.flatten()[:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
