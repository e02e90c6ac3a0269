"""FineCLIPER: frames, face parsing, landmarks and descriptions through one frozen CLIP."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peclip_fast.config.methods.finecliper import FineCLIPERConfig
from peclip_fast.models.adapted_clip import LOGIT_SCALE, AdaptedCLIP, mean_over_time
from peclip_fast.models.hooks import Hooks, adapt
from peclip_fast.models.parts.adapters import BottleneckAdapter
from peclip_fast.models.parts.temporal_transformer import TemporalTransformer
from peclip_fast.registry import register_method

IMAGES = ("frames", "parsing", "landmarks")
DESCRIPTIONS = "descriptions"


class VisionAdapters(nn.Module):
    """The adapters of an image encoder: one after each attention, one parallel to each MLP."""

    def __init__(self, blocks: int, width: int, hidden: int, scale: float, backend: str) -> None:
        super().__init__()
        self.series = adapters(blocks, width, hidden, backend)
        # A skip of its own would add a share of LN(x) to what CLIP computes.
        self.parallel = adapters(blocks, width, hidden, backend, skip=False, scale=scale)


@register_method("finecliper")
class FineCLIPER(AdaptedCLIP):
    """The model of FineCLIPER (arXiv 2407.02157), section 3; docs/finecliper.md has our choices.

    A class has two texts, what it is and what it isn't, read with adapters of their own. A clip has
    a feature from each branch, and their weighted mean is compared with both. Args as AdaptedCLIP.
    """

    config_class = FineCLIPERConfig
    config: FineCLIPERConfig

    def make_parts(self) -> None:
        """See AdaptedCLIP."""
        config, text, vision = self.config, self.text, self.vision
        draws = _Draws()

        def of_text(part: str, wanted: bool) -> nn.ModuleList | None:
            with draws.of(part):
                hidden, backend = config.text_hidden, config.backend
                return adapters(len(text.blocks), text.width, hidden, backend) if wanted else None

        self.positive = of_text("positive", config.positive_adapter)
        self.negative = of_text("negative", config.negative_adapter)
        self.descriptions = of_text(DESCRIPTIONS, DESCRIPTIONS in self.inputs)
        self.images = nn.ModuleDict()
        for name in IMAGES:
            hidden = config.video_hidden if name == "frames" else config.cue_hidden
            if name in self.inputs and (name != "frames" or config.video_adapter):
                with draws.of(name):
                    self.images[name] = VisionAdapters(
                        len(vision.blocks), vision.width, hidden, config.parallel_scale,
                        config.backend,
                    )  # fmt: skip
        width = text.features
        self.temporal = None
        if "frames" in self.inputs and config.temporal_layers:
            with draws.of("temporal"):
                self.temporal = TemporalTransformer(width, config.temporal_layers)
        adaptive = len(self.inputs) > 1 and config.video_weight is None
        self.fusion = AdaptiveWeights(width, self.inputs) if adaptive else None

    @property
    def adapter_width(self) -> int:
        """See AdaptedCLIP."""
        return self.config.video_hidden

    def parts(self) -> dict[str, nn.Module]:
        """See AdaptedCLIP."""
        named = {
            "positive": self.positive,
            "negative": self.negative,
            **self.images,
            "descriptions": self.descriptions,
            "temporal": self.temporal,
            "fusion": self.fusion,
        }
        return {name: part for name, part in named.items() if part is not None}

    # Texts -------------------------------------------------------------------------------------

    def class_texts(self) -> tuple[str, ...]:
        """What each class is, then what each isn't."""
        config, classes = self.config, self.classes
        return config.class_texts(classes) + config.negative_texts(classes)

    def text_hooks(self) -> Hooks:
        """In the blocks that read what a class is."""
        return Hooks(feed_forward=adapt(self.positive))

    def encode_classes(self) -> Tensor:
        """Features of what each class is and of what it isn't, (2, C, E), of length 1.

        (1, C, E) without negative texts.
        """
        kinds = self.class_tokens.split(len(self.classes))
        pairs = zip(kinds, (self.positive, self.negative), strict=False)
        return torch.stack([self._encode(tokens, part) for tokens, part in pairs])

    def class_side(self) -> Iterator[Tensor]:
        """See AdaptedCLIP."""
        parts = [part for part in (self.positive, self.negative) if part is not None]
        yield from chain(*(part.parameters() for part in parts))
        yield self.class_tokens

    def _encode(self, tokens: Tensor, part: nn.ModuleList | None) -> Tensor:
        return self.encode_text(tokens, Hooks(feed_forward=adapt(part)))

    # Clips -------------------------------------------------------------------------------------

    def encode_branches(self, frames: Tensor | None = None, **others: Tensor) -> Tensor:
        """Each branch's feature of each clip, in the order of ``inputs``: (branches, B, E)."""
        given = self.checked(frames, others)
        return torch.stack([self.encode_branch(name, given[name]) for name in self.inputs])

    def encode_clips(self, frames: Tensor | None = None, **others: Tensor) -> Tensor:
        """The entries of a batch that ``inputs`` names -> features (B, E), of length 1."""
        return self.fuse(self.encode_branches(frames, **others))

    def fuse(self, features: Tensor) -> Tensor:
        """Branches' features (branches, B, E) -> the clips' (B, E), of length 1."""
        return F.normalize((self.weights(features) * features).sum(0), dim=-1)

    def weights(self, features: Tensor) -> Tensor:
        """How much each branch (branches, B, E) counts, (branches, B, 1), in all 1."""
        if self.fusion is not None:
            shares: Tensor = self.fusion(features)
            return shares
        number = len(self.inputs)
        if number == 1:
            return features.new_ones(1, 1, 1)
        video = self.config.video_weight or 0.0
        others = [(1 - video) / (number - 1)] * (number - 1)
        return features.new_tensor([video, *others]).view(-1, 1, 1)

    def encode_branch(self, name: str, given: Tensor) -> Tensor:
        """A branch's feature of each clip, (B, E), of length 1."""
        if name == DESCRIPTIONS:
            return self._encode(given, self.descriptions)
        return self._time_of(name)(self.encode_frames(given, self._hooks(name)))

    def over_time(self, features: Tensor) -> Tensor:
        """See AdaptedCLIP; of the frames' branch."""
        if self.temporal is None:
            return mean_over_time(features)
        return F.normalize(self.temporal(features), dim=-1)

    def _time_of(self, name: str) -> Callable[[Tensor], Tensor]:
        return self.over_time if name == "frames" else mean_over_time

    def frame_hooks(self, length: int) -> Hooks:
        """See AdaptedCLIP."""
        return self._hooks("frames")

    def _hooks(self, name: str) -> Hooks:
        part = dict(self.images.items()).get(name)
        if part is None:
            return Hooks()
        assert isinstance(part, VisionAdapters)
        parallel = part.parallel

        def with_parallel(i: int, m: Tensor, x: Tensor) -> Tensor:
            y: Tensor = parallel[i](self.vision.blocks[i].norm_2(x, self._backend), x + m)
            return y

        return Hooks(adapt(part.series), with_parallel)

    def logits(self, clips: Tensor, classes: Tensor) -> Tensor:
        """100 times (the cosine of what a class is, less that of what it isn't)."""
        with torch.autocast(clips.device.type, enabled=False):
            positive, *negative = (clips @ kind.mT for kind in classes)
            return LOGIT_SCALE * (positive - negative[0] if negative else positive)

    # What the commands ask ---------------------------------------------------------------------

    def clips_so_far(self, features: Tensor, others: Mapping[str, Tensor]) -> Tensor:
        """See AdaptedCLIP; a description is of the whole clip."""
        return self.fuse(self._branches_so_far(features, others))

    def branch_shares(self, features: Tensor, others: Mapping[str, Tensor]) -> dict[str, float]:
        """See AdaptedCLIP."""
        if len(self.inputs) == 1:
            return {}
        weights = self.weights(self._branches_so_far(features, others))[:, -1, 0]
        return dict(zip(self.inputs, weights.tolist(), strict=True))

    def _branches_so_far(self, features: Tensor, others: Mapping[str, Tensor]) -> Tensor:
        """(branches, T, E)."""
        found = []
        for name in self.inputs:
            if name == DESCRIPTIONS:
                whole = self.encode_branch(name, others[name][None])
                found.append(whole.expand(len(features), -1))
                continue
            own = features
            if name != "frames":
                own = self.encode_frames(others[name][None], self._hooks(name))[0]
            ends, over_time = range(1, 1 + len(features)), self._time_of(name)
            found.append(torch.cat([over_time(own[None, :end]) for end in ends]))
        return torch.stack(found)


class AdaptiveWeights(nn.Module):
    """How much each branch counts in a clip: the softmax of a score of its feature.

    Scores start at zero, so that training starts from the branches' plain mean.
    """

    def __init__(self, width: int, branches: Sequence[str]) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.zeros(len(branches), width))
        self.bias = nn.Parameter(torch.zeros(len(branches)))

    def forward(self, features: Tensor) -> Tensor:
        """(branches, B, E) -> (branches, B, 1)."""
        scores = torch.einsum("nbe,ne->nb", features, self.direction) + self.bias[:, None]
        return scores.softmax(0).unsqueeze(-1)


def adapters(
    blocks: int, width: int, hidden: int, backend: str, *, skip: bool = True, scale: float = 1.0
) -> nn.ModuleList:
    """An adapter for each block; what it adds starts at zero, so training starts from CLIP."""
    made = [BottleneckAdapter(width, hidden, backend, skip, scale) for _ in range(blocks)]
    for one in made:
        nn.init.zeros_(one.up.weight)
        nn.init.zeros_(one.up.bias)
    return nn.ModuleList(made)


class _Draws:
    """Random numbers for each part, of which no other part changes anything."""

    def __init__(self) -> None:
        self.seed = int(torch.randint(2**31, (), device="cpu"))

    @contextlib.contextmanager
    def of(self, part: str) -> Iterator[None]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + zlib.crc32(part.encode()))
            yield
