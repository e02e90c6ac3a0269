"""How the package is laid out: which way imports go, and how large files and functions are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "peclip_fast"
# From the ground up; a room may import from those below it, and from itself.
DRAWN = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[1]
FLOORS = [set(line.split()) for line in DRAWN.splitlines()[1:] if "↓" not in line][::-1]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# The package's own file gives names that users ask for, when they ask.
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports_of(path: Path) -> Iterator[str]:
    """The package's modules that a file imports, wherever in it, for types only as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            of_module = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [n if n in MODULES else str(node.module) for n in of_module]
        else:
            continue
        yield from {name for name in names if name in MODULES}


ARROWS = {module: set(imports_of(path)) - {module} for module, path in MODULES.items()}


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in MODULES} | {"kernels"} == FLOOR.keys()


def test_no_import_goes_up() -> None:
    up = [
        f"{module} -> {other}"
        for module, others in ARROWS.items()
        for other in others
        if FLOOR[room(other)] > FLOOR[room(module)]
    ]
    assert up == []


def test_rooms_of_one_floor_do_not_need_each_other() -> None:
    """Not both ways, that is."""
    pairs = {(room(a), room(b)) for a, others in ARROWS.items() for b in others}
    assert {(a, b) for a, b in pairs if a < b and (b, a) in pairs} == set()


def test_no_circle_among_files() -> None:
    left = {module: set(others) for module, others in ARROWS.items()}
    while ends := [module for module, others in left.items() if not others & left.keys()]:
        for module in ends:
            del left[module]
    assert left == {}


SOURCES = [
    path
    for folder, pattern in (
        ("peclip_fast", "*.py"), ("kernels", "*.py"), ("benchmarks", "*.py"), ("csrc", "*.*"),
        ("tests", "*.py"),
    )
    for path in sorted((ROOT / folder).rglob(pattern))
    if path.suffix in (".py", ".cpp", ".cu", ".cuh", ".h")
]  # fmt: skip


def test_no_file_is_long() -> None:
    long = {
        str(path.relative_to(ROOT)): number
        for path in SOURCES
        if (number := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}


def test_no_folder_is_full() -> None:
    folders: dict[str, int] = {}
    for path in SOURCES:
        folder = str(path.parent.relative_to(ROOT))
        if not folder.startswith("tests"):
            folders[folder] = folders.get(folder, 0) + 1
    assert {folder: number for folder, number in folders.items() if number > 14} == {}


def test_no_function_is_long() -> None:
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.end_lineno - node.body[0].lineno + 1  # type: ignore[operator]
                if body > 60 and "@triton.jit" not in ast.unparse(node):
                    long[f"{module_of(path)}.{node.name}"] = body
    assert long == {}


METHODS = sorted(p.stem for p in (PACKAGE / "models" / "methods").glob("[!_]*.py"))
CLASSES = "|".join(
    name
    for method in METHODS
    for name in re.findall(
        r"@register_method\(.*\)\nclass (\w+)",
        (PACKAGE / "models" / "methods" / f"{method}.py").read_text(encoding="utf-8"),
    )
)


def test_every_method_is_looked_for() -> None:
    assert len(METHODS) == len(CLASSES.split("|")) >= 7


@pytest.mark.parametrize(
    "pattern",
    [
        rf"isinstance\([^)]*\b({CLASSES})\b",
        r"\bmethod\b *(==|!=|in\b|not in\b)",
        rf"==? *[\"']({'|'.join(METHODS)})[\"']",
        rf"import .*\b({CLASSES})\b",
    ],
)
def test_nobody_asks_which_method_it_is(pattern: str) -> None:
    allowed = {"__init__.py", "config/run.py"}  # names for users; the default configuration
    found = []
    for path in FILES:
        name = path.relative_to(PACKAGE).as_posix()
        if name in allowed or name.startswith(("models/methods/", "config/methods/")):
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [f"{name}:{i}: {line}" for i, line in enumerate(lines, 1)
                  if re.search(pattern, line) and "= \"pe_clip\"" not in line]  # fmt: skip
    assert found == []


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(module_of(path))
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_documents_cite_what_is_here() -> None:
    """No docstring names a plan or a file outside of the repository."""
    for path in SOURCES:
        if path.name != Path(__file__).name:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"\b(SPEC|HOUSE|PEERS)\b", text), path
