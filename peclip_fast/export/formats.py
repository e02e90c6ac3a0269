"""The formats of exported files: how each is written, read and run."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from peclip_fast.errors import InputError, one_line
from peclip_fast.export.about import KEY, About, read_about
from peclip_fast.files import write_bytes

OPSET = 20
ENTRY = f"{KEY}.json"  # of a .pt2 archive
_LARGEST_ONNX = 2**31 - 2**20  # bytes that a protobuf can hold
_F32 = {"INFERENCE_PRECISION_HINT": "f32"}  # else bfloat16 on some processors

Arrays: TypeAlias = Sequence[NDArray[Any]]
Runner: TypeAlias = Callable[[Arrays], NDArray[np.float32]]


class Format(NamedTuple):
    """A kind of exported file.

    Args:
        suffix: of its name.
        needs: what to install.
        write: the program and what is said of it, to a path.
        read: what is said in a file, and what runs it.
        weights: suffix of the file next to it that holds the weights, where it doesn't itself.
    """

    suffix: str
    needs: str
    write: Callable[[ExportedProgram, About, Path], None]
    read: Callable[[Path], tuple[About, Runner]]
    weights: str | None = None


# torch.export -------------------------------------------------------------------------------


def _write_torch(program: ExportedProgram, about: About, path: Path) -> None:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={ENTRY: about.to_json()})
    write_bytes(path, file.getbuffer())


def _read_torch(path: Path) -> tuple[About, Runner]:
    _refuse_pickles(path)
    extra = {ENTRY: ""}
    program = torch.export.load(path, extra_files=extra)
    module = program.module()

    def run(batch: Arrays) -> NDArray[np.float32]:
        with torch.no_grad():
            found: NDArray[np.float32] = module(*map(torch.from_numpy, batch)).numpy()
        return found

    return read_about(extra[ENTRY], str(path)), run


def _refuse_pickles(path: Path) -> None:
    """InputError if loading the archive would unpickle anything, as our archives never do."""
    with zipfile.ZipFile(path) as archive:
        configs = [name for name in archive.namelist() if name.endswith("_config.json")]
        entries = [json.loads(archive.read(name))["config"] for name in configs]
    for entry in (one for found in entries for one in found.values()):
        plain = str(entry["path_name"]).startswith(("weight_", "tensor_"))
        if entry["use_pickle"] or not plain:
            raise InputError(f"{path}: holds a pickle, which can run any code; expected tensors")


# ONNX ---------------------------------------------------------------------------------------


def _write_onnx(program: ExportedProgram, about: About, path: Path) -> None:
    write_bytes(path, _onnx_bytes(program, about, str(path)))


def _onnx_bytes(program: ExportedProgram, about: About, source: str) -> bytes:
    size = sum(tensor.nbytes for tensor in program.state_dict.values())
    if size > _LARGEST_ONNX:
        raise InputError(
            f"{source}: {size / 2**30:.1f} GiB of weights; an ONNX file holds 2 GiB at most, "
            "expected --format torch"
        )
    with _quiet():
        made = torch.onnx.export(
            program,
            (),
            dynamo=True,
            opset_version=OPSET,
            input_names=about.inputs,
            output_names=["probabilities"],
            verbose=False,
        )
    assert made is not None
    made.model.metadata_props[KEY] = about.to_json()
    return made.model_proto.SerializeToString()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the converters' reports of what they optimize."""
    loggers = [logging.getLogger(name) for name in ("onnx_ir", "onnxscript", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _read_onnx(path: Path) -> tuple[About, Runner]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    providers = onnxruntime.get_available_providers()
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    names = [given.name for given in session.get_inputs()]

    def run(batch: Arrays) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run(None, dict(zip(names, batch, strict=True)))[0]
        return found

    return read_about(session.get_modelmeta().custom_metadata_map.get(KEY), str(path)), run


# OpenVINO -----------------------------------------------------------------------------------


def _write_openvino(program: ExportedProgram, about: About, path: Path) -> None:
    """The model in ``path``, its weights next to it with the suffix .bin, written before it."""
    import openvino

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        onnx, graph = Path(folder) / "model.onnx", Path(folder) / "model.xml"
        onnx.write_bytes(_onnx_bytes(program, about, str(path)))
        model = openvino.convert_model(onnx)
        model.set_rt_info(about.to_json(), KEY)
        openvino.save_model(model, graph, compress_to_fp16=False)
        write_bytes(path.with_suffix(".bin"), graph.with_suffix(".bin").read_bytes())
        write_bytes(path, graph.read_bytes())


@functools.cache
def _openvino_core() -> Any:
    """The one of this process: where a second one ends, the stack for signals is unmapped."""
    import openvino

    return openvino.Core()


def _read_openvino(path: Path) -> tuple[About, Runner]:
    core = _openvino_core()
    model = core.read_model(path)
    said = model.get_rt_info(KEY).value if model.has_rt_info(KEY) else None
    about = read_about(said, str(path))
    compiled = core.compile_model(model, "CPU", _F32)

    def run(batch: Arrays) -> NDArray[np.float32]:
        found: NDArray[np.float32] = compiled(dict(zip(about.inputs, batch, strict=True)))[0]
        return found

    return about, run


FORMATS = {
    "onnx": Format(".onnx", "onnx onnxscript onnxruntime", _write_onnx, _read_onnx),
    "torch": Format(".pt2", "torch", _write_torch, _read_torch),
    "openvino": Format(".xml", "openvino onnx onnxscript", _write_openvino, _read_openvino, ".bin"),
}


def read_exported(path: Path) -> tuple[About, Runner]:
    """What is said in an exported file, and what runs it: arrays in -> probabilities (B, C).

    Raises:
        InputError: the file can't be read, isn't one of ours, or needs a package.
    """
    by_suffix = {kind.suffix: kind for kind in FORMATS.values()}
    if path.suffix not in by_suffix:
        raise InputError(
            f"{path}: expected a run folder, or an exported file ({', '.join(by_suffix)})"
        )
    kind = by_suffix[path.suffix]
    with installed(kind):
        try:
            return kind.read(path)
        except (InputError, ImportError, MemoryError):
            raise
        except Exception as error:  # each runtime has errors of its own
            raise InputError(
                f"{path}: can't be read as a {path.suffix} file ({one_line(error)[:200]})"
            ) from error


@contextlib.contextmanager
def installed(kind: Format) -> Iterator[None]:
    """InputError with what to install, for a package that is missing."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"{kind.suffix} files need {kind.needs} ({one_line(error)}); pip install {kind.needs}"
        ) from error
