"""The configuration of a run: dataclasses, packaged YAML files, and the command line from both."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace

from peclip_fast.data.config import DataConfig
from peclip_fast.errors import InputError, one_line
from peclip_fast.models.config import ModelConfig

CONFIGS = Path(str(files("peclip_fast"))) / "configs"
SECTIONS = ("model", "data", "train")
# What may differ when a run goes on: where things are, and what doesn't change its results.
FREE_TO_CHANGE = (
    "data.root",
    "data.num_workers",
    "data.prefetch",
    "train.device",
    "train.threads",
    "train.recompute",
    "train.cuda_graphs",
    "train.eval_batch_size",
    "train.checkpoint_every",
)
MAPPINGS = ("model.texts",)  # options whose value may be a mapping, not a group of options


@dataclass(frozen=True)
class TrainConfig:
    """How it is trained; the defaults are the paper's recipe for DFEW (Table 2).

    Args:
        target: what a clip's feature is drawn to: its class's texts, or its own description, with
            no class in training, so that it can be tested on any (zero-shot).
        epochs: passes over the training clips.
        warmup_epochs: epochs over which the learning rates rise; they fall along a cosine after.
        batch_size: clips per batch, over all processes.
        eval_batch_size: clips per batch and process in evaluation and prediction.
        accumulate: batches whose gradients are added up for one optimizer step.
        lr_adapters: highest learning rate of the adapters.
        lr_prompts: highest learning rate of the prompts.
        weight_decay: the optimizer's weight decay.
        optimizer: adamw, or sgd with a momentum of 0.9 (FineCLIPER's).
        clip_norm: largest norm of all gradients together; null doesn't clip.
        precision: fp32, or mixed precision with bf16 or fp16 (fp16 needs a GPU).
        recompute: vision blocks, from the first on, whose activations the backward pass computes
            again instead of keeping them; less memory, more time, the same results.
        cuda_graphs: launch the model's forward and backward pass as one CUDA graph each, for whole
            batches; not run on a GPU yet.
        seed: fixes initial weights, order, augmentation and mixing.
        select: weights to report, of the last epoch, or of the best WAR on the test split, which
            is optimistic and only for comparison with work that does so.
        test_every: epochs from one test to the next during training; 0 tests at the end only.
        checkpoint_every: optimizer steps between checkpoints within an epoch; each epoch ends
            with one anyway.
        device: auto takes a GPU where there is one.
        threads: CPU threads of the main process; null leaves PyTorch's choice.
    """

    target: Literal["classes", "descriptions"] = "classes"
    epochs: int = 30
    warmup_epochs: int = 3
    batch_size: int = 8
    eval_batch_size: int = 8
    accumulate: int = 1
    lr_adapters: float = 2e-4
    lr_prompts: float = 3e-5
    weight_decay: float = 0.01
    optimizer: Literal["adamw", "sgd"] = "adamw"
    clip_norm: float | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    recompute: int = 0
    cuda_graphs: bool = False
    seed: int = 42
    select: Literal["last", "best"] = "last"
    test_every: int = 1
    checkpoint_every: int = 200
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        smallest = dict.fromkeys(
            ("warmup_epochs", "test_every", "recompute", "seed", "weight_decay"), 0
        )
        for name in ("epochs", "batch_size", "eval_batch_size", "accumulate", "checkpoint_every"):
            smallest[name] = 1
        for name, least in smallest.items():
            if getattr(self, name) < least:
                raise InputError(f"train.{name}={getattr(self, name)}: expected at least {least}")
        for name in ("lr_adapters", "lr_prompts", "clip_norm", "threads"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"train.{name}={value}: expected more than 0")
        if self.warmup_epochs >= self.epochs:
            raise InputError(
                f"train.warmup_epochs={self.warmup_epochs}: expected less than the "
                f"{self.epochs} epochs of the run"
            )
        if self.cuda_graphs and self.accumulate > 1:
            raise InputError(
                f"train.cuda_graphs: gives each batch's gradients in the same memory, which "
                f"train.accumulate={self.accumulate} can't add up; expected 1"
            )
        if self.select == "best" and not self.test_every:
            raise InputError("train.select=best: needs train.test_every of at least 1")


@dataclass(frozen=True)
class RunConfig:
    """All that a run is made from; with the same machine and versions it gives the same run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        described = self.train.target == "descriptions"
        if self.model.method == "pe_clip":
            if described:
                raise InputError("train.target=descriptions: takes the method finecliper alone")
            return
        if self.train.cuda_graphs:
            raise InputError("train.cuda_graphs: takes the method pe_clip alone")
        wanted = self.model.finecliper
        if self.reads_cues and not (self.data.cues or self.demo):
            raise InputError(
                "data.cues: expected the folder that `python -m peclip_fast.data cues` wrote, for "
                "model.finecliper's parsing and landmarks"
            )
        if described and (wanted.descriptions or wanted.negative_adapter):
            part, why = "negative_adapter", "nothing would train it"
            if wanted.descriptions:
                part, why = "descriptions", "a text would be its own answer"
            raise InputError(
                f"train.target=descriptions: expected model.finecliper.{part} false, as {why}"
            )
        reader = "train.target=descriptions" if described else "model.finecliper.descriptions"
        if self.reads_descriptions and not (self.data.descriptions or self.demo):
            raise InputError(
                "data.descriptions: expected the file that `python -m peclip_fast.fine_text` "
                f"wrote, for {reader}"
            )
        mixed = self.data.mix.mixup + self.data.mix.fmix > 0
        if self.reads_descriptions and mixed:
            raise InputError(
                f"data.mix: expected mixup 0 and fmix 0, as texts can't be mixed ({reader})"
            )

    @property
    def demo(self) -> bool:
        """Whether the clips are rendered ones."""
        return self.data.dataset in ("demo", "demo-order")

    @property
    def title(self) -> str:
        """The dataset in words for people."""
        if self.demo:
            return f"{self.data.dataset} (built-in demo: rendered faces, not real data)"
        return self.data.dataset

    @property
    def reads_cues(self) -> bool:
        """Whether its model sees `data.cues`."""
        wanted = self.model.finecliper
        return self.model.method == "finecliper" and (wanted.parsing or wanted.landmarks)

    @property
    def reads_descriptions(self) -> bool:
        """Whether its model, or its training, reads `data.descriptions`."""
        read = self.model.finecliper.descriptions or self.train.target == "descriptions"
        return self.model.method == "finecliper" and read

    @property
    def without_unread(self) -> RunConfig:
        """Without the files that it doesn't read, which change nothing in the run."""
        data = dataclasses.replace(
            self.data,
            cues=self.data.cues if self.reads_cues else None,
            descriptions=self.data.descriptions if self.reads_descriptions else None,
        )
        return dataclasses.replace(self, data=data)

    @property
    def as_tested(self) -> RunConfig:
        """Without the texts that training alone reads, so that clips of any dataset will do."""
        if self.train.target == "classes":
            return self
        return dataclasses.replace(
            self,
            data=dataclasses.replace(self.data, descriptions=None),
            train=dataclasses.replace(self.train, target="classes"),
        )

    def to_yaml(self) -> str:
        """Every field, such that from_yaml() gives an equal configuration."""
        plain = _plain(dataclasses.asdict(self))
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


class Difference(NamedTuple):
    """An option in which two configurations differ."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key}={self.before}, not {self.after}"


def differences(before: RunConfig, after: RunConfig) -> list[Difference]:
    """The options in which two configurations differ; one path may be written in two ways."""
    plain = (_plain(dataclasses.asdict(config)) for config in (before, after))
    pairs = zip(*map(_flat, plain), strict=True)
    return [Difference(key, a, b) for (key, a), (_, b) in pairs if a != b]


def read_yaml(path: Path) -> dict[str, Any]:
    """The options in a YAML file, nested as there, or InputError that names it."""
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML file ({one_line(error)})") from error
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from error
    if not isinstance(options, dict):
        raise InputError(f"{path}: expected the sections {', '.join(SECTIONS)}")
    return options


def config_names() -> list[str]:
    """The packaged configurations: recipes (dfew) and rows of tables (table6/ta)."""
    paths = (path.relative_to(CONFIGS).with_suffix("") for path in CONFIGS.rglob("*.yaml"))
    return sorted(path.as_posix() for path in paths)


def config_path(name: str) -> Path:
    """The YAML file of a packaged configuration's name, or the file itself."""
    packaged = config_names()
    if name in packaged:
        return CONFIGS / f"{name}.yaml"
    if Path(name).is_file():
        return Path(name)
    rows = [n for n in packaged if n.startswith(f"{name.split('/')[0]}/")]
    told = rows or [n for n in packaged if "/" not in n]
    raise InputError(
        f"--config {name}: no such file, and no configuration of that name"
        f"{_hint(name, packaged)}; known names: {', '.join(told)}"
    )


def config_layers(names: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """What resolve() takes of the configurations of these names, the later over the earlier."""
    if names and "/" in names[0] and names[0] in config_names():
        raise InputError(
            f"--config {names[0]}: a row of a table, which holds only what differs from a "
            "dataset's recipe; expected a recipe in front of it, such as dfew"
        )
    for place, name in enumerate(names):
        before = [n for n in names[:place] if n.startswith("finecliper/")]
        if name.startswith("finecliper-") and name in config_names() and not before:
            raise InputError(
                f"--config {name}: a row of a table of FineCLIPER's, which doesn't say how it is "
                "trained; expected finecliper/video in front of it"
            )
    return [(name, read_yaml(config_path(name))) for name in names]


def config_title(names: Sequence[str]) -> str:
    """A word for configurations together, which can name a folder: dfew-table6-ta."""
    packaged = config_names()
    parts = (name.replace("/", "-") if name in packaged else Path(name).stem for name in names)
    return "-".join(parts)


class _Help(DefaultHelpFormatter):
    """Each option with its sentence and default, without Python's types."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34)

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return "VALUE"

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        shown = action.option_strings and action.default not in (argparse.SUPPRESS, None)
        return f"{text} (default: %(default)s)" if shown else text

    def _format_action(self, action: argparse.Action) -> str:
        section = action.metavar == "CONFIG"  # a file for one section; --config serves for all
        return "" if section else super()._format_action(action)


def make_parser(command: str, description: str, usage: str) -> ArgumentParser:
    """A parser with the options of all sections; the command adds its own."""
    parser = ArgumentParser(
        prog=f"python -m peclip_fast.{command}",
        usage=f"python -m peclip_fast.{command} {usage}",
        description=description,
        formatter_class=_Help,
        exit_on_error=False,
        allow_abbrev=False,
    )
    return _add_sections(parser)


def add_config_option(parser: ArgumentParser) -> None:
    """The option --config, for config_layers()."""
    parser.add_argument(
        "--config",
        nargs="+",
        metavar="NAME",
        help="packaged configurations by name, or files; the later over the earlier",
    )


def _add_sections(parser: ArgumentParser) -> ArgumentParser:
    for section, kind in zip(SECTIONS, (ModelConfig, DataConfig, TrainConfig), strict=True):
        parser.add_class_arguments(kind, section)
    return parser


@functools.cache
def _sections() -> ArgumentParser:
    """Checks layers; it costs more to make than to use, and is never changed."""
    return _add_sections(ArgumentParser(exit_on_error=False))


def read_arguments(parser: ArgumentParser, argv: Sequence[str]) -> Namespace:
    """The command line's values over the parser's defaults; checked one by one, not together."""
    options = [f"--{key}" for key in parser.get_defaults().keys()] + ["--help"]  # noqa: SIM118
    for argument in argv:
        name = argument.split("=")[0]
        if name.startswith("--") and name not in options:
            raise InputError(f"unknown option {name}{_hint(name, options)}")
    with _naming(""):
        return parser.parse_args(list(argv))


def resolve(
    parser: ArgumentParser, argv: Sequence[str], layers: Sequence[tuple[str, Mapping[str, Any]]]
) -> RunConfig:
    """The configuration that ``argv`` makes of the parser's defaults and ``layers``.

    Args:
        parser: from make_parser(); the layers become its defaults.
        argv: the command line, which has the last word.
        layers: options as in YAML under the name of their source, the later over the earlier.
    """
    sections = _sections()
    known = list(sections.get_defaults().keys())
    for source, layer in layers:
        for key, _ in _flat(layer):
            if key not in known:
                raise InputError(f"{source}: unknown option {key}{_hint(key, known)}")
        with _naming(f"{source}: "):
            values = sections.parse_object(dict(layer), defaults=False)
        parser.set_defaults(dict(_flat(values.as_dict())))
    built = parser.instantiate(read_arguments(parser, argv))
    return RunConfig(*(built[section] for section in SECTIONS))


@contextlib.contextmanager
def _naming(source: str) -> Iterator[None]:
    """Turn the parser's errors into InputError: one line, the source in front, plain types."""
    try:
        yield
    except (ArgumentError, TypeError) as error:
        text = one_line(error)
        text = re.sub(r'Parser key "([^"]+)":', r"\1:", text)
        text = re.sub(r"<class '(\w+)'>", r"\1", text)
        text = re.sub(r"a typing\.Literal\[([^]]*)\]", r"one of \1", text)
        text = text.replace("Expected a int", "Expected an int")
        raise InputError(source + text) from error


def _hint(name: str, known: Sequence[str]) -> str:
    """A suggestion for a name that isn't known: of the same last part, or else a similar one."""
    last = name.lstrip("-").split(".")[-1]
    same = [k for k in known if k.split(".")[-1].lstrip("-") == last]
    close = same or get_close_matches(name, known, n=1)
    if not close:
        parts = {k.split(".")[-1].lstrip("-"): k for k in known}
        close = [parts[part] for part in get_close_matches(last, parts, n=1)]
    return f"; did you mean {close[0]}?" if close else ""


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name not in MAPPINGS:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _plain(value: Any) -> Any:
    """Only what YAML knows; paths absolute, since a run is continued from anywhere."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value.absolute()) if isinstance(value, Path) else value
