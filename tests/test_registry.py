"""Names that plug in: ours, a plugin's, twice the same, unknown, broken."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from peclip_fast import registry
from peclip_fast.errors import InputError
from peclip_fast.registry import CONFIGS, DATASETS, METHODS, Registry, load_plugins


@pytest.fixture
def plugins(monkeypatch, tmp_path):
    """Installs modules as plugins: name -> source."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(**sources: str) -> None:
        found = []
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
            found.append(EntryPoint(name, name, registry.GROUP))
        monkeypatch.setattr(registry, "entry_points", lambda group: found)
        load_plugins.cache_clear()

    yield install
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)
    load_plugins.cache_clear()


@pytest.fixture
def things(monkeypatch):
    """A registry with one thing of its own, which the module json registers."""
    made = Registry("data.thing", {"ours": "json"})
    monkeypatch.setattr(registry, "THINGS", made, raising=False)
    return made


PLUGIN = """
from peclip_fast import registry
registry.THINGS.add("theirs", {thing}, __name__)
"""


def test_a_name_is_imported_when_it_is_asked_for(things, plugins):
    things.add("ours", 1, "json")
    plugins(broken="1 / 0")
    assert things["ours"] == 1  # no plugin was needed, so none was loaded
    assert things.built_in() == {"ours": 1}


def test_a_plugin_is_loaded_for_a_name_that_is_not_ours(things, plugins):
    things.add("ours", 1, "json")
    plugins(extra=PLUGIN.format(thing="2"))
    assert things["theirs"] == 2
    assert things.names() == ["ours", "theirs"]


def test_unknown_names(things, plugins):
    plugins(extra=PLUGIN.format(thing="2"))
    with pytest.raises(InputError) as raised:
        things["their"]
    known = "data.thing=their: expected one of ours, theirs; did you mean theirs?"
    assert str(raised.value) == known


def test_a_broken_plugin_is_named(things, plugins):
    plugins(broken="1 / 0")
    with pytest.raises(InputError, match=r"^plugin broken \(broken\): can't be loaded \(ZeroDiv"):
        things["theirs"]


@pytest.mark.parametrize("name", ["ours", "theirs"])
def test_no_name_is_taken_twice(things, name):
    things.add("theirs", 2, "one")
    with pytest.raises(ValueError, match=f"data.thing: '{name}' is"):
        things.add(name, 3, "another")


def test_a_method_and_a_dataset_cannot_take_our_names():
    with pytest.raises(ValueError, match="'dfew' is the name of one of peclip_fast's own"):
        registry.register_dataset("dfew")(lambda config: None)


@pytest.mark.parametrize("name", list(DATASETS.built_in()))
def test_our_datasets(name):
    assert DATASETS[name].name == name
    assert callable(DATASETS[name].read)


def test_our_methods_have_one_configuration_each():
    configs = {name: METHODS[name].config_class for name in METHODS.built_in()}
    assert configs == CONFIGS.built_in()
    assert all(config().method == name for name, config in configs.items())
