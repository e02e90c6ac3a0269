"""Options and files of options: any value is taken with sense, or refused in one line."""

from __future__ import annotations

import dataclasses
import time

import pytest
import yaml

from peclip_fast.config.data import DataConfig
from peclip_fast.config.layers import read_options, read_yaml
from peclip_fast.config.options import flat
from peclip_fast.config.parser import configure, options_of, resolve
from peclip_fast.config.run import RunConfig
from peclip_fast.errors import InputError


def parse(*dotted: str) -> RunConfig:
    return resolve([], dotted)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("data:\n  fold: 1\n  fold: 2\n", r"c\.yaml:3: not a YAML file \(fold is given twice\)"),
        ("a: &x [1]\nb: *x\n", r"c\.yaml:1: .*expected values written out, got an alias"),
        ("a: &x [*x]\n", r"c\.yaml:1: .*an alias"),
        ("a: {<<: &x {b: 1}, <<: {c: 1}}\n", r"c\.yaml:1: .*<< is given twice"),
        ("a: 1\n---\nb: 2\n", r"c\.yaml:2: .*but found another document"),
        ("a:\n\t- b\n", r"c\.yaml:2: .*found character that cannot start any token"),
        ("[" * 100_000, "nesting"),
        ("- " * 100_000, "nesting"),
        ("a: é\n".encode("latin-1"), r"c\.yaml:1: expected text in UTF-8, got the byte 0xe9"),
        ("a: \0", r"c\.yaml:1: expected a text file, got a NUL byte"),
        ("null", "expected the sections"),
        ("", "expected the sections"),
        ("a: " + "x" * 1_000_001, r"1000004 characters; expected options, at most 1000000"),
    ],
)
@pytest.mark.parametrize("read", [read_yaml, read_options])
def test_files_that_say_other_things_than_one_reads(tmp_path, content, message, read):
    path = tmp_path / "c.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    start = time.monotonic()
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert time.monotonic() - start < 1
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).isprintable()


def test_types_of_yaml_that_are_none(tmp_path):
    path = tmp_path / "c.yaml"
    for value in (
        "9" * 5000,
        "2020-99-99",
        "!!python/object:os.system x",
        "!!timestamp x",
        "!!int x",
        "!!float x",
        "!!bool x",
        "!!binary é",
    ):
        path.write_text(f"a: {value}")
        with pytest.raises(InputError, match=r"c\.yaml.*: not a YAML file"):
            read_yaml(path)


WORDS = ["yes", "no", "on", "null", "~", "1", "0x1F", "1e3", "2020-01-01", "12:30", "true", "é"]


def test_classes_may_be_called_anything(tmp_path):
    """What YAML 1.1 takes for booleans, numbers, dates and nothing."""
    path = tmp_path / "c.yaml"
    path.write_text(
        f"data:\n  classes: [{', '.join(WORDS)}]\nmodel:\n  texts: {{no: yes, 1: on}}\n"
    )
    config = resolve([("c", read_options(path))])
    assert config.data.classes == WORDS
    assert config.model.texts == {"no": "yes", "1": "on"}
    path.write_text(config.to_yaml())
    assert resolve([("c", read_options(path))]) == config
    given = parse("--data.classes", f"[{', '.join(WORDS)}]", "--model.texts", "[yes, no]")
    assert given.data.classes == WORDS
    assert given.model.texts == ["yes", "no"]
    with pytest.raises(InputError, match=r"^data.classes: expected list\[str\] or null, got yes$"):
        parse("--data.classes", "yes")


@pytest.mark.parametrize(
    "names", [["joy", "Joy"], ["joy", "joy "], ["ü", "u\u0308"], ["", "a"], []]
)
def test_classes_that_are_one(names):
    with pytest.raises(InputError, match=r"^data\.classes: "):
        DataConfig(classes=names)


def test_null_is_for_options_that_take_it():
    known = dict(flat(dataclasses.asdict(configure())))
    for name in (option.name[2:] for option in options_of("pe_clip")):
        for layer in ({name: None}, {name: "null"}):
            said, value = "null", None
            try:
                value = dict(flat(dataclasses.asdict(configure(layer)))).get(name)
            except InputError as error:
                said = str(error)
            assert "null" in said, name
            # Names are texts, of which null is one.
            assert value is None or value in (known[name], "null"), name
    with pytest.raises(InputError, match=r"^options: data.fold: Expected an int. Got value: null$"):
        configure({"data.fold": None})


VALUES = [
    "[]",
    "{}",
    "''",
    "[null]",
    "1e400",
    "-1",
    "9" * 5000,
    "{a: {b: c}}",
    "&a [*a]",
    "é\u202e",
]


@pytest.mark.parametrize("name", [option.name for option in options_of("pe_clip")])
def test_any_value_is_taken_or_refused_in_one_line(name):
    for value in VALUES:
        said = ""
        try:
            taken = parse(name, value)
        except InputError as error:
            said = str(error)
        else:
            assert yaml.safe_load(taken.to_yaml())
        assert said.isprintable()
        assert len(said) < 700


def test_what_is_no_number_of_use():
    for name in ("train.weight_decay", "train.lr.adapters", "data.noise", "train.clip_norm"):
        for value in (".nan", ".inf", "1e400", "-.inf"):
            with pytest.raises(InputError, match=rf"{name}\S* .*expected|{name}=.*expected"):
                parse(f"--{name}", value)
    for name in ("train.seed", "data.shots_seed", "data.num_workers", "data.frames"):
        with pytest.raises(InputError, match=name):
            parse(f"--{name}", str(2**63))


@pytest.mark.parametrize("number", ["9" * 400, "-" + "9" * 400, "0x" + "f" * 400, "1_" * 400 + "1"])
def test_whole_numbers_beyond_what_a_float_holds(number):
    message = r"train\.lr\.adapters: expected a number of fewer than 250 digits$"
    for written in ([f"--train.lr.adapters={number}"], ["--train.lr.adapters", number]):
        with pytest.raises(InputError, match=message):
            parse(*written)
    for value in (number, int(number, 0)):
        with pytest.raises(InputError, match=f"^c: {message}"):
            resolve([("c", {"train": {"lr": {"adapters": value}}})])


def test_long_names_are_no_numbers():
    names = ["a" * 300, "f" * 300, "1" + "b" * 300]
    assert parse("--data.classes", str(names).replace("'", '"')).data.classes == names


def test_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = parse("--data.root=~/d", "--data.train_list=~/l.csv", "--data.cues=$HOME")
    assert (config.data.root, config.data.train_list) == (tmp_path / "d", tmp_path / "l.csv")
    assert str(config.data.cues) == "$HOME"
    with pytest.raises(InputError, match=r"^data.root: ~nobody-of-this-name/x: "):
        parse("--data.root=~nobody-of-this-name/x")


def test_the_name_of_an_unknown_option_is_shortened():
    with pytest.raises(InputError, match=r"^c: unknown option data\.x+\.\.\.$") as caught:
        resolve([("c", {"data": {"x" * 100_000: 1}})])
    assert len(str(caught.value)) < 200
