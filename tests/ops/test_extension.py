"""Loading the compiled module, and why it can't be."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from peclip_fast.ops import extension


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    functions = (
        extension.load, extension.missing, extension.amx_missing, extension.cuda_missing,
    )  # fmt: skip
    for function in functions:
        function.cache_clear()
    yield
    for function in functions:
        function.cache_clear()


def test_a_module_that_is_not_built_is_the_reason_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(extension, "import_module", absent)
    reason = (
        "the extension peclip_fast._C is not built or does not load (No module named "
        "'peclip_fast._C')"
    )
    assert extension.missing() == extension.amx_missing() == extension.cuda_missing() == reason
    with pytest.raises(ImportError, match="_C"):
        extension.load()


def test_what_a_built_module_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(cuda_architectures=(), amx_missing=lambda: "this CPU has no AMX")
    monkeypatch.setattr(extension, "import_module", lambda name: module)
    assert extension.missing() is None
    assert extension.load() is module
    assert extension.amx_missing() == "this CPU has no AMX"
    assert extension.cuda_missing() == "the extension peclip_fast._C was built without CUDA"


def test_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(cuda_architectures=(90,), amx_missing=lambda: "")
    monkeypatch.setattr(extension, "import_module", lambda name: module)
    monkeypatch.setattr(extension, "gpu_missing", lambda: None)
    assert extension.amx_missing() is None
    assert extension.cuda_missing() is None
