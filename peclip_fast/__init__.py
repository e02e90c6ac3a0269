"""PE-CLIP, accelerated: a frozen CLIP adapted to dynamic facial expression recognition."""

from __future__ import annotations

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

# From a checkout's root the source shadows the installed package; its built parts stay in reach.
__path__ = extend_path(__path__, __name__)

from peclip_fast.errors import InputError
from peclip_fast.quick_imports import without_dynamo
from peclip_fast.version import __version__ as __version__
from peclip_fast.waiting import wait_by_sleeping

wait_by_sleeping()
without_dynamo()

if TYPE_CHECKING:
    from peclip_fast import ops
    from peclip_fast.analyze.analyzer import AnalyzeOptions, Analyzer
    from peclip_fast.analyze.reading import read_analysis
    from peclip_fast.analyze.results import Analysis, FaceRow, TrackRow, WindowRow
    from peclip_fast.config.model import ModelConfig
    from peclip_fast.config.parser import configure
    from peclip_fast.data.splits import open_files, open_splits
    from peclip_fast.engine.evaluation import predict_clips
    from peclip_fast.engine.run import evaluate_run, train_run
    from peclip_fast.engine.run_folder import RunFolder
    from peclip_fast.models.adapted_clip import AdaptedCLIP
    from peclip_fast.models.hooks import Hooks
    from peclip_fast.models.methods.finecliper import FineCLIPER
    from peclip_fast.models.methods.pe_clip import PECLIP
    from peclip_fast.models.pretrained import create_model, from_pretrained
    from peclip_fast.models.published.load import load_published
    from peclip_fast.registry import register_dataset, register_method

__all__ = [
    "PECLIP",
    "AdaptedCLIP",
    "Analysis",
    "AnalyzeOptions",
    "Analyzer",
    "FaceRow",
    "FineCLIPER",
    "Hooks",
    "InputError",
    "ModelConfig",
    "RunFolder",
    "TrackRow",
    "WindowRow",
    "configure",
    "create_model",
    "evaluate_run",
    "from_pretrained",
    "load_published",
    "open_files",
    "open_splits",
    "ops",
    "predict_clips",
    "read_analysis",
    "register_dataset",
    "register_method",
    "train_run",
]


_WHERE = {
    "AdaptedCLIP": "models.adapted_clip",
    "Analysis": "analyze.results",
    "AnalyzeOptions": "analyze.analyzer",
    "Analyzer": "analyze.analyzer",
    "FaceRow": "analyze.results",
    "FineCLIPER": "models.methods.finecliper",
    "Hooks": "models.hooks",
    "ModelConfig": "config.model",
    "PECLIP": "models.methods.pe_clip",
    "RunFolder": "engine.run_folder",
    "TrackRow": "analyze.results",
    "WindowRow": "analyze.results",
    "configure": "config.parser",
    "create_model": "models.pretrained",
    "evaluate_run": "engine.run",
    "from_pretrained": "models.pretrained",
    "load_published": "models.published.load",
    "open_files": "data.splits",
    "open_splits": "data.splits",
    "predict_clips": "engine.evaluation",
    "read_analysis": "analyze.reading",
    "register_dataset": "registry",
    "register_method": "registry",
    "train_run": "engine.run",
}


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: open_clip takes seconds, and neither `ops` nor a command like
    `compare` needs it."""
    if name == "ops":
        return import_module("peclip_fast.ops")
    if name in _WHERE:
        return getattr(import_module(f"peclip_fast.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
