"""Make a model from a configuration, or from a folder that save_pretrained wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from peclip_fast.config.texts import PUBLISHED_ACTION_UNITS
from peclip_fast.errors import InputError, hint
from peclip_fast.hub.card import CARD_FILE
from peclip_fast.hub.transfer import CONFIG_FILE, WEIGHTS_FILE, download, is_name
from peclip_fast.json_files import read_json
from peclip_fast.models.adapted_clip import AdaptedCLIP
from peclip_fast.models.backbone import load_backbone
from peclip_fast.models.storage import read_metadata, read_safetensors
from peclip_fast.models.tokenizer import TextTokenizer, text_tokenizer
from peclip_fast.models.trainable import description_digest
from peclip_fast.registry import CONFIGS, METHODS


def create_model(
    method: str = "pe_clip",
    backbone: str = "ViT-B-16-quickgelu",
    pretrained: str | None = None,
    classes: Sequence[str] = tuple(PUBLISHED_ACTION_UNITS),
    tokenizer: TextTokenizer | None = None,
    **options: Any,
) -> AdaptedCLIP:
    """A model on a frozen backbone, in training mode.

    Args:
        method: "pe_clip", "finecliper", "dfer_clip", ..., or one that a plugin registers.
        backbone: open_clip's name of a model with a ViT, "demo", or a folder with
            open_clip_config.json.
        pretrained: open_clip's tag or a file; None gives random weights of a fixed seed.
        classes: names, in the order of the logits; the seven of the paper unless given.
        tokenizer: of the class texts; the backbone's own unless given, which for some (SigLIP)
            is downloaded at the first use.
        **options: the method's own, the fields of its ModelConfig.

    Raises:
        InputError: an unknown method, backbone, weight source or option, or values that don't fit.
    """
    config_class = CONFIGS[method]
    known = [field.name for field in fields(config_class)]
    for name in options:
        if name not in known:
            raise InputError(
                f"{name}: not an option of {method}; expected one of {', '.join(known)}"
                f"{hint(name, known)}"
            )
    config = config_class(method=method, backbone=backbone, pretrained=pretrained, **options)
    if isinstance(classes, str) or not classes or len(set(classes)) != len(classes):
        raise InputError(f"classes: expected a list of different names, got {classes!r}")
    # First what may be missing on this machine, then what takes long.
    tokenizer = text_tokenizer(backbone) if tokenizer is None else tokenizer
    frozen = load_backbone(backbone, pretrained)
    return METHODS[method](config, classes, frozen, tokenizer=tokenizer)


def from_pretrained(
    folder: str | Path,
    classes: Sequence[str] | None = None,
    tokenizer: TextTokenizer | None = None,
    zero_shot: bool = False,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache: str | Path | None = None,
    offline: bool = False,
    **config: Any,
) -> AdaptedCLIP:
    """The model that save_pretrained wrote, in eval mode.

    Args:
        folder: where it is; or, where no such folder is here, USER/NAME of a model on the Hub.
        classes: names that the caller expects, instead of those that were saved; a model of others
            is refused with the names of the tensors.
        tokenizer: as for create_model.
        zero_shot: any classes will do, as for a model that was trained on none.
        revision: branch, tag or commit on the Hub.
        token: of a user of the Hub, for private models; that of ``hf auth login`` or HF_TOKEN
            unless given.
        cache: where downloads are kept; the Hub's own place unless given.
        offline: take what was downloaded before and ask nobody.
        **config: options that the caller expects, likewise.

    Raises:
        InputError: there is no such model, or it can't be had or used; names it.
    """
    if is_name(folder) and not Path(folder).exists():
        folder = download(str(folder), revision, token, cache, offline)
    elif revision is not None:
        raise InputError(f"revision={revision!r}: expected the name of a model on the Hub, as "
                         f"USER/NAME; {folder} is looked for here")  # fmt: skip
    saved = read_description(folder)
    settings = {**saved["config"], **config}
    if settings["backbone"].startswith("./"):
        settings["backbone"] = str(Path(folder) / settings["backbone"])
    names = saved["classes"] if classes is None else list(classes)
    if not zero_shot and set(names) != set(saved["classes"]):  # before their texts are looked for
        raise InputError(
            f"{folder}: tensors differ: class_tokens is of {len(saved['classes'])} classes, "
            f"{', '.join(saved['classes'])}; expected {len(names)}, {', '.join(names)}"
        )
    model = create_model(classes=names, tokenizer=tokenizer, **settings)
    load_trained(model, folder, zero_shot)
    card = Path(folder) / CARD_FILE
    if card.is_file() and model.classes == tuple(saved["classes"]):
        model.card = card.read_text("utf-8", errors="replace")
    return model.eval()


@dataclass(frozen=True)
class _Saved:
    """What CONFIG_FILE holds."""

    classes: list[str]
    config: dict[str, Any]
    class_tokens: list[list[int]]
    backbone_fingerprint: str


def read_description(folder: str | Path) -> dict[str, Any]:
    """config.json of a saved model, or InputError that names it."""
    path = Path(folder) / CONFIG_FILE
    if not path.exists():
        raise InputError(f"{path}: no such file; expected what save_pretrained writes")
    saved = asdict(read_json(path, _Saved))
    weights = Path(folder) / WEIGHTS_FILE
    if read_metadata(weights).get(CONFIG_FILE) != description_digest(saved):
        raise InputError(
            f"{path}: damaged or changed: it isn't what was written with {weights.name}; give "
            "other values as options"
        )
    return saved


def load_trained(model: AdaptedCLIP, folder: str | Path, zero_shot: bool = False) -> None:
    """Load a saved model's trained tensors into ``model`` if it is for the same thing.

    With ``zero_shot`` that may be other classes.
    """
    folder = Path(folder)
    saved = read_description(folder)
    tokens = torch.tensor(saved["class_tokens"])
    mine = model.class_tokens.cpu()
    if not zero_shot and (tokens.shape != mine.shape or not torch.equal(tokens, mine)):
        raise InputError(
            f"{folder}: tensors differ: class_tokens is {list(tokens.shape)} for the classes "
            f"{', '.join(saved['classes'])}; expected {list(mine.shape)} for "
            f"{', '.join(model.classes)}"
        )
    source = folder / WEIGHTS_FILE
    model.load_trained_state(read_safetensors(source)[0], str(source))
    if saved["backbone_fingerprint"] != model.backbone_fingerprint:
        config = asdict(model.config)
        raise InputError(
            f"{folder}: trained on other frozen weights than those of backbone="
            f"{config['backbone']!r}, pretrained={config['pretrained']!r}"
        )
