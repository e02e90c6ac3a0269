"""A CLIP with trained parts: which they are, how fast they learn, and how they are stored."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor, nn

from peclip_fast.config.model import ModelConfig
from peclip_fast.files import write_text
from peclip_fast.hub.card import CARD_FILE, model_card
from peclip_fast.hub.transfer import CONFIG_FILE, WEIGHTS_FILE, check_name, upload
from peclip_fast.models.backbone import fingerprint, is_named, model_config, save_backbone
from peclip_fast.models.encoders import CLIPEncoders
from peclip_fast.models.storage import refuse_other_tensors, write_safetensors
from peclip_fast.models.tokenizer import TextTokenizer
from peclip_fast.models.trained_backbone import tensors_named, with_values

BACKBONE = "backbone"  # the part and the group of the backbone's own trained tensors


class TrainableCLIP(CLIPEncoders):
    """An open_clip model, frozen but for the tensors that trained_backbone names, and its parts.

    Args as AdaptedCLIP.

    Attributes:
        class_tokens: of the class texts.
        backbone_fingerprint: of the backbone as it was before training.
        card: the README.md that it was saved with, or that a run wrote; None for one of the model
            by itself. Whoever trains a loaded model on sets it anew.
    """

    class_tokens: Tensor

    def __init__(
        self,
        config: ModelConfig,
        classes: Sequence[str],
        backbone: nn.Module,
        unnamed_backbone: dict[str, object] | None = None,
        tokenizer: TextTokenizer | None = None,
    ) -> None:
        super().__init__(config, backbone, tokenizer)
        self.classes = tuple(classes)
        self.card: str | None = None
        self.unnamed_backbone = unnamed_backbone
        self._trained_names = tensors_named(backbone, self.trained_backbone, config.backbone)
        for parameter in self._trained_of_backbone().values():
            parameter.requires_grad_()
        self.remember_backbone()

    @property
    def trained_backbone(self) -> tuple[str, ...]:
        """Patterns (fnmatch) of the backbone's tensors that are trained, as ``visual.*``.

        ``*`` is the whole backbone. They have the learning rate ``backbone``.
        """
        return ()

    def parts(self) -> dict[str, nn.Module]:
        """The trained modules by name: those that make_parts() assigned."""
        return {name: module for name, module in self.named_children() if name != BACKBONE}

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """Every trained parameter under its name in the model and in saved files."""
        own = {
            f"{part}.{name}": parameter
            for part, module in self.parts().items()
            for name, parameter in module.named_parameters()
        }
        trained = self._trained_of_backbone().items()
        return own | {f"{BACKBONE}.{name}": parameter for name, parameter in trained}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The trained parameters by group; the groups are those of config.learning_rates.

        A part belongs to the group of its name, or to the first group if none has its name.
        """
        groups: dict[str, list[nn.Parameter]] = {name: [] for name in self.config.learning_rates}
        for part, module in self.parts().items():
            groups[part if part in groups else next(iter(groups))].extend(module.parameters())
        if trained := self._trained_of_backbone():
            groups[BACKBONE].extend(trained.values())
        return groups

    def undecayed(self) -> set[int]:
        """The ids of the trained parameters that weight decay leaves alone."""
        patterns, named = self.config.undecayed, self.trained_parameters().items()
        return {id(p) for name, p in named if any(fnmatchcase(name, one) for one in patterns)}

    def trained_counts(self) -> dict[str, int]:
        """The numbers of trained parameters by part, those of the backbone last."""
        counts = {n: sum(p.numel() for p in part.parameters()) for n, part in self.parts().items()}
        if trained := self._trained_of_backbone():
            counts[BACKBONE] = sum(p.numel() for p in trained.values())
        return counts

    def frozen_count(self) -> int:
        """The number of the backbone's parameters that aren't trained."""
        trained = self._trained_of_backbone()
        return sum(p.numel() for n, p in self.backbone.named_parameters() if n not in trained)

    def train(self, mode: bool = True) -> TrainableCLIP:
        """Train or evaluate the parts; the backbone computes as in eval mode even if trained."""
        super().train(mode)
        self.backbone.eval()
        return self

    def _trained_of_backbone(self) -> dict[str, nn.Parameter]:
        if not self._trained_names:
            return {}
        tensors = dict(self.backbone.named_parameters())
        return {name: tensors[name] for name in self._trained_names}

    def check_parts(self) -> None:
        """Raise ValueError for trained tensors outside the parts, which no group or file has."""
        known = {id(p) for p in self.trained_parameters().values()}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad and id(parameter) not in known:
                raise ValueError(f"{type(self).__name__}: {name} is in none of its parts()")
        if self._trained_names and BACKBONE not in self.config.learning_rates:
            raise ValueError(f"{type(self).__name__}: learning_rates has no {BACKBONE!r}")

    # The backbone before training --------------------------------------------------------------

    def remember_backbone(self) -> None:
        """Take the backbone as it is now for the original: call it after loading other weights.

        The values of the tensors that are trained are copied.
        """
        self.backbone_fingerprint = fingerprint(self.backbone)
        trained = self._trained_of_backbone().items()
        self._original = {name: parameter.detach().clone() for name, parameter in trained}

    def original_backbone(self) -> nn.Module:
        """The backbone as it was before training; the model's own where none of it is trained."""
        return with_values(self.backbone, self._original) if self._original else self.backbone

    # Files -------------------------------------------------------------------------------------

    def trained_state(self) -> dict[str, Tensor]:
        """The trained tensors, by name, detached and not copied."""
        return {name: p.detach() for name, p in self.trained_parameters().items()}

    def load_trained_state(self, state: Mapping[str, Tensor], source: str = "state") -> None:
        """Copy trained tensors in; InputError with the names of those that don't fit."""
        mine = self.trained_state()
        refuse_other_tensors(source, state, mine)
        for name, tensor in mine.items():
            tensor.copy_(state[name])

    def save_pretrained(self, folder: str | Path, whole: bool = False) -> None:
        """Write model.safetensors, the trained tensors, config.json, which belong together, and
        README.md, the model card.

        The config names the backbone. One that has no name, from a published checkpoint, is
        written next to it in ``backbone/``, as it was before training. With ``whole`` so is one
        whose name is that of a file or a folder here, so that the folder is of use elsewhere.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = asdict(self.config)
        unnamed = self.unnamed_backbone
        if unnamed is None and whole and not is_named(self.config.backbone, self.config.pretrained):
            unnamed = model_config(self.config.backbone)
        if unnamed is not None:
            save_backbone(self.original_backbone(), unnamed, folder / "backbone")
            config |= {"backbone": "./backbone", "pretrained": None}
        description = {
            "classes": list(self.classes),
            "config": config,
            "class_tokens": self.class_tokens.tolist(),
            "backbone_fingerprint": self.backbone_fingerprint,
        }
        notes = {CONFIG_FILE: description_digest(description)}
        write_safetensors(folder / WEIGHTS_FILE, self.trained_state(), notes)
        write_text(folder / CONFIG_FILE, json.dumps(description, indent=1))
        write_text(folder / CARD_FILE, self.card or model_card(self.config, self.classes))

    def push_to_hub(
        self,
        name: str,
        revision: str | None = None,
        token: str | bool | None = None,
        private: bool | None = None,
    ) -> str:
        """Upload what ``save_pretrained`` writes, with the backbone where that has no name.

        Args:
            name: USER/NAME; the repository is made if it isn't there.
            revision: a branch; ``main`` unless given.
            token: that may write; that of ``hf auth login`` or HF_TOKEN unless given.
            private: whether a repository that is made is private.

        Returns:
            the address of the commit.

        Raises:
            InputError: the Hub can't be reached, or doesn't let this user write there.
        """
        check_name(name)
        card = self.card or model_card(self.config, self.classes, name=name)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, whole=True)
            write_text(Path(folder) / CARD_FILE, card)
            return upload(Path(folder), name, revision, token, private)


def description_digest(description: Mapping[str, object]) -> str:
    """Of the content of config.json, which model.safetensors keeps."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
