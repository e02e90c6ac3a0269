"""The frozen backbone: by open_clip's name, or from a folder of its own."""

from __future__ import annotations

import hashlib
import json
import pickle
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import get_model_preprocess_cfg, set_model_preprocess_cfg
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from peclip_fast.errors import InputError
from peclip_fast.files import write_text
from peclip_fast.json_files import read_json
from peclip_fast.models.storage import read_safetensors, refuse_other_tensors, write_safetensors

CONFIG_FILE, WEIGHTS_FILE = "open_clip_config.json", "model.safetensors"
PARTS = "vision_cfg", "text_cfg"
RANDOM_SEED = 0  # random weights are the same everywhere, so that a checkpoint need not hold them


def load_backbone(name: str, pretrained: str | None = None) -> nn.Module:
    """open_clip's model, frozen and in eval mode.

    ``name`` is open_clip's, "demo" for the packaged small CLIP, or a folder with
    open_clip_config.json and model.safetensors. Without ``pretrained`` a name gives random
    weights. Under ``torch.device("meta")`` no weights are read. Raises InputError for what is
    not there.
    """
    config, folder = model_config(name), backbone_folder(name)
    if config is None:
        raise InputError(
            f"backbone {name!r}: open_clip knows none of that name, and there is no such folder; "
            "see open_clip.list_models()"
        )
    model = _from_open_clip(name, pretrained) if folder is None else _from_folder(folder, config)
    return model.eval().requires_grad_(False)


def model_config(name: str) -> dict[str, Any] | None:
    """A backbone's model_cfg in open_clip's words, or None where there is none of that name.

    Raises InputError for a folder whose open_clip_config.json holds none, and for a text encoder
    that is Hugging Face's.
    """
    folder = backbone_folder(name)
    if folder is None and name not in open_clip.list_models():
        return None
    config: Any
    if folder is None:
        config = open_clip.get_model_config(name)
    else:
        config = read_json(folder / CONFIG_FILE, _OpenClipConfig).model_cfg
        parts = [config.get(part) for part in PARTS]
        if not all(isinstance(part, dict) for part in parts):
            raise InputError(
                f"{folder / CONFIG_FILE}: expected open_clip's model_cfg with {' and '.join(PARTS)}"
            )
    if other := config["text_cfg"].get("hf_model_name"):
        raise InputError(
            f"backbone {name!r}: its text encoder is Hugging Face's {other}; expected open_clip's "
            "own TextTransformer"
        )
    return dict(config)


@dataclass(frozen=True)
class _OpenClipConfig:
    """What CONFIG_FILE holds."""

    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any] = field(default_factory=dict)


def backbone_folder(name: str) -> Path | None:
    """Where a backbone that is not open_clip's has its files."""
    if name == "demo":
        return Path(str(resources.files("peclip_fast") / "demo" / "backbone"))
    return Path(name) if (Path(name) / CONFIG_FILE).is_file() else None


def is_named(name: str, pretrained: str | None) -> bool:
    """Whether a backbone's weights can be had anywhere by their name."""
    if backbone_folder(name) is not None:
        return name == "demo"
    return pretrained is None or pretrained in open_clip.list_pretrained_tags_by_model(name)


def _from_open_clip(name: str, pretrained: str | None) -> nn.Module:
    known = open_clip.list_pretrained_tags_by_model(name)
    if pretrained and pretrained not in known and not Path(pretrained).is_file():
        raise InputError(
            f"pretrained={pretrained!r}: no such file, and open_clip has for {name} only "
            f"{', '.join(known) or 'none'}"
        )
    with torch.random.fork_rng(devices=[]), NotDrawn() if pretrained else nullcontext():
        torch.manual_seed(RANDOM_SEED)
        try:
            return open_clip.create_model(
                name,
                pretrained=pretrained,
                pretrained_text=False,
                device=torch.get_default_device(),
                force_preprocess_cfg=_pixels_of(name, pretrained if pretrained in known else None),
            )
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
            if pretrained is None:
                raise
            reason = " ".join(str(error).split())
            raise InputError(f"pretrained={pretrained!r} for {name}: {reason}") from error


class NotDrawn(TorchFunctionMode):
    """Random weights are left as their memory is, for a file will fill all of them in a moment."""

    _IN_PLACE = (Tensor.normal_, Tensor.uniform_, Tensor.erfinv_)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self._IN_PLACE:
            return args[0]
        return (torch.empty if func is torch.randn else func)(*args, **(kwargs or {}))


def _pixels_of(name: str, tag: str | None) -> dict[str, Any]:
    """Mean and standard deviation of a tag, or of the name's first where the weights have none."""
    tags = [tag] if tag is not None else open_clip.list_pretrained_tags_by_model(name)
    config = open_clip.get_pretrained_cfg(name, tags[0]) if tags else {}
    return {key: config[key] for key in ("mean", "std") if config.get(key) is not None}


def _pixels_in(folder: Path) -> dict[str, Any]:
    """Mean and standard deviation that a folder's preprocess_cfg gives, or OpenAI's."""
    pixels = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    given = read_json(folder / CONFIG_FILE, _OpenClipConfig).preprocess_cfg
    pixels |= {key: given[key] for key in pixels if key in given}
    for key, value in pixels.items():
        try:
            torch.tensor(value, dtype=torch.float32).view(3)
        except (RuntimeError, TypeError, ValueError):
            raise InputError(
                f"{folder / CONFIG_FILE}: preprocess_cfg: {key}={value!r}, expected three numbers"
            ) from None
    return pixels


def _from_folder(folder: Path, config: dict[str, Any]) -> nn.Module:
    custom_text = config.pop("custom_text", False)
    config["vision_cfg"]["timm_model_pretrained"] = False
    kind = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    try:
        with torch.device("meta"):  # what is wrong shows before random weights take their time
            kind(**config)
        model = kind(**config)
    except Exception as error:  # its values are checked by nobody but what fails of them
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{folder / CONFIG_FILE}: expected open_clip's model_cfg, got {reason}"
        ) from error
    set_model_preprocess_cfg(model, _pixels_in(folder))
    if torch.get_default_device().type == "meta":
        return model
    state, _ = read_safetensors(folder / WEIGHTS_FILE, ours=False)
    _unpack_token_rows(state, model)
    refuse_other_tensors(str(folder / WEIGHTS_FILE), state, model.state_dict())
    model.load_state_dict(state)
    return model


def _unpack_token_rows(state: dict[str, Tensor], model: Any) -> None:
    """A small backbone stores the rows of the tokens that it knows; the others are zero."""
    if "token_embedding.rows" in state:
        table = torch.zeros(model.token_embedding.weight.shape)
        rows = state.pop("token_embedding.rows").to(table.dtype)
        table[state.pop("token_embedding.ids").long()] = rows
        state["token_embedding.weight"] = table


def save_backbone(backbone: nn.Module, config: dict[str, object], folder: Path) -> None:
    """Write a folder that load_backbone reads, for a backbone that open_clip has no name for."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = get_model_preprocess_cfg(backbone)
    description = {
        "model_cfg": config,
        "preprocess_cfg": {key: pixels[key] for key in ("mean", "std") if key in pixels},
    }
    write_text(folder / CONFIG_FILE, json.dumps(description, indent=1))
    write_safetensors(folder / WEIGHTS_FILE, dict(backbone.state_dict()))


def fingerprint(backbone: nn.Module) -> str:
    """A short hash of the first values of every frozen tensor; of their names only on "meta"."""
    digest = hashlib.sha256()
    for name, tensor in backbone.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        if tensor.device.type != "meta":
            digest.update(tensor.flatten()[:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
