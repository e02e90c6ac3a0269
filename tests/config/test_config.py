"""Configurations: from files, from the command line, and what is said of wrong ones."""

from __future__ import annotations

from dataclasses import fields

import pytest
import yaml

from peclip_fast.commands.shared.options import CommandLine
from peclip_fast.config.layers import (
    RECIPES,
    config_layers,
    config_path,
    config_title,
    read_yaml,
)
from peclip_fast.config.methods.finecliper import FineCLIPERConfig
from peclip_fast.config.methods.pe_clip import PECLIPConfig
from peclip_fast.config.parser import options_of, resolve
from peclip_fast.config.run import RunConfig, differences
from peclip_fast.config.train import TrainConfig
from peclip_fast.errors import InputError

NAMES = {"dfew", "ferv39k", "mafw", "afew", "crema-d", "ravdess", "demo", "demo-order"}


def parse(*argv: str, layer: dict | None = None) -> RunConfig:
    given = CommandLine("train", "Train.", "[options]").read(argv)
    return given.resolve([("c.yaml", layer)] if layer else [])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data.fol", "3"], "unknown option --data.fol; did you mean --data.fold?"),
        (["--fold=3"], "unknown option --fold; did you mean --data.fold?"),
        (["--hflip", "1"], "unknown option --hflip; did you mean --data.augment.hflip?"),
        (["--train.epoch", "1"], "unknown option --train.epoch; did you mean --train.epochs?"),
        (["--data", "x.yaml"], "unknown option --data"),
        (["--xyzzy"], "unknown option --xyzzy"),
        (["--data.fold", "x"], "data.fold: Expected an int. Got value: x"),
        (
            ["--model.recurrence", "gruu"],
            "model.recurrence: Expected one of 'gru', 'lstm', 'rnn', 'none'. Got value: gruu",
        ),
        (["--train.epochs", "0"], "train.epochs=0: expected at least 1"),
        (["--train.lr.prompts", "-1"], "train.lr.prompts=-1.0: expected more than 0"),
        (
            ["--train.lr.prompt", "1"],
            "unknown option --train.lr.prompt; did you mean --train.lr.prompts?",
        ),
        (
            ["--model.method", "pe_clap"],
            "model.method=pe_clap: expected one of pe_clip, finecliper",
        ),
        (["--data.dataset", "dfw"], "data.dataset=dfw: expected one of dfew, ferv39k"),
        (["--train.warmup_epochs", "30"], "expected less than the 30 epochs"),
        (["--train.select", "best", "--train.test_every", "0"], "needs train.test_every"),
        (["extra"], "unrecognized arguments: extra"),
        (["--data.fold"], "--data.fold: expected a value"),
    ],
)
def test_wrong_options(argv, message):
    with pytest.raises(InputError) as raised:
        parse(*argv)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


DESCRIBED = ["--train.target=descriptions", "--model.method=finecliper"]
DESCRIBED += ["--data.descriptions=fine.jsonl", "--data.mix.mixup=0", "--data.mix.fmix=0"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model.method=pe_clip"], "train.target=descriptions: pe_clip is trained for classes"),
        ([], r"expected model.negative_adapter false, as nothing would train it"),
        (
            ["--model.descriptions=true"],
            "expected model.descriptions false, as a text would be its own answer",
        ),
        (
            ["--model.negative_adapter=false", "--data.mix.fmix=0.1"],
            r"data.mix: .* texts can't be mixed \(train.target=descriptions\)",
        ),
        (
            ["--model.negative_adapter=false", "--data.descriptions=null",
             "--data.dataset=dfew"],
            r"data.descriptions: expected the file .*, for train.target=descriptions",
        ),
    ],
)  # fmt: skip
def test_what_training_on_descriptions_asks_for(argv, message):
    with pytest.raises(InputError, match=message):
        parse(*DESCRIBED, *argv)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"data": {"fodl": 2}}, "c.yaml: unknown option data.fodl; did you mean data.fold?"),
        ({"trian": {"epochs": 1}}, "c.yaml: unknown option trian.epochs; did you mean train.epo"),
        ({"data": {"fold": "x"}}, "c.yaml: data.fold: Expected an int. Got value: x"),
        ({"data": 3}, "c.yaml: unknown option data"),
    ],
)
def test_wrong_files(layer, message):
    with pytest.raises(InputError) as raised:
        parse(layer=layer)
    assert message in str(raised.value)


def test_a_file_that_is_no_yaml(tmp_path):
    for content in (b"a: [1", b"\xff\xfe\x00", b"- list"):
        path = tmp_path / "c.yaml"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"c\.yaml"):
            read_yaml(path)


def test_the_command_line_has_the_last_word():
    layer = {"train": {"epochs": 7, "lr": {"adapters": "1e-3"}}, "data": {"augment": {"hflip": 0}}}
    config = parse("--train.epochs", "9", layer=layer)
    assert config.train == TrainConfig(epochs=9, lr={"adapters": 1e-3, "prompts": 3e-5})
    assert config.data.augment.hflip == 0
    assert config.data.augment.brightness == 0.5


def test_later_layers_win():
    layers = [("a", {"train": {"epochs": 7, "seed": 1}}), ("b", {"train": {"epochs": 8}})]
    train = resolve(layers).train
    assert (train.epochs, train.seed) == (8, 1)


def test_yaml_gives_the_same_configuration_again(tmp_path):
    argv = ["--model.texts", "[one, two]", "--data.root", str(tmp_path), "--train.clip_norm=1"]
    config = parse(*argv)
    assert config.model.texts == ["one", "two"]
    assert parse(layer=yaml.safe_load(config.to_yaml())) == config


def test_texts_by_class_are_one_option(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("b: two\na: one")
    config = parse("--model.texts", str(file))
    file.unlink()
    assert config == parse(layer={"model": {"texts": {"a": "one", "b": "two"}}})
    assert parse(layer=yaml.safe_load(config.to_yaml())) == config
    other = parse("--model.texts", "[x, y]", layer={"model": {"texts": {"a": "one"}}})
    assert other.model.texts == ["x", "y"]
    (found,) = differences(config, other)
    assert str(found) == "model.texts={'b': 'two', 'a': 'one'}, not ['x', 'y']"


def test_paths_are_kept_absolute():
    config = parse("--data.root", "clips")
    assert yaml.safe_load(config.to_yaml())["data"]["root"].startswith("/")


def test_differences_name_the_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = parse("--data.root", "clips"), parse("--data.root", str(tmp_path / "clips"))
    assert differences(*paths) == []
    found = differences(parse(), parse("--data.mix.fmix", "0", "--train.seed", "7"))
    assert [str(d) for d in found] == ["data.mix.fmix=0.3, not 0.0", "train.seed=42, not 7"]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_packaged_configurations(name):
    config = parse(layer=read_yaml(config_path(name)))
    assert config.data.dataset == name
    assert config.demo == name.startswith("demo")
    assert ("not real data" in config.title) == config.demo
    if not config.demo:
        assert (config.model.backbone, config.model.pretrained) == ("ViT-B-16-quickgelu", "openai")


def test_the_published_recipes():
    dfew, ferv39k = (parse(layer=read_yaml(config_path(n))) for n in ("dfew", "ferv39k"))
    assert dfew.train == TrainConfig(
        epochs=30, warmup_epochs=3, batch_size=8, lr={"adapters": 2e-4, "prompts": 3e-5}
    )
    assert (ferv39k.train.epochs, ferv39k.train.warmup_epochs) == (20, 2)
    assert (dfew.data.augment.brightness, dfew.data.augment.rotation) == (0.5, 0)
    assert (ferv39k.data.augment.brightness, ferv39k.data.augment.rotation) == (0, 4)
    assert dfew.data.frames == 16
    assert dfew.model.normalize == "none"


def test_known_names_are_told():
    assert {path.stem for path in RECIPES.glob("*.yaml")} == NAMES
    with pytest.raises(InputError, match=r"--config dfw: .*; did you mean dfew\?; known names: a"):
        config_path("dfw")


def test_a_row_of_a_table_goes_over_a_recipe():
    layers = config_layers(["ferv39k", "table9/r4"])
    config = resolve(layers, [])
    recipe = parse(layer=read_yaml(config_path("ferv39k")))
    assert [str(d) for d in differences(recipe, config)] == ["model.reduction=8, not 4"]
    assert config_title(["ferv39k", "table9/r4", "a/mine.yaml"]) == "ferv39k-table9-r4-mine"


@pytest.mark.parametrize("variant", ["video", "cues", "text", "all"])
def test_the_variants_of_finecliper_differ_in_their_branches_alone(variant):
    options = ["--data.cues=cues", "--data.descriptions=fine.jsonl"]
    whole, row = (
        resolve(config_layers(names), options)
        for names in (
            ["mafw", f"finecliper/{variant}"],
            ["mafw", "finecliper/video", f"finecliper-table1/{variant}"],
        )
    )
    assert differences(whole, row) == []
    assert whole.data.mix.mixup + whole.data.mix.fmix == 0  # texts can't be mixed
    assert whole.model.parsing == whole.model.landmarks == (variant in ("cues", "all"))
    assert whole.model.descriptions == (variant in ("text", "all"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["dfew", "finecliper-table5/both"],
            "its model is trained; expected finecliper/video in",
        ),
        (["dfew", "finecliper-table5/bth"], r"did you mean finecliper-table5/both\?; known names"),
        (["finecliper/all"], "expected a recipe in front"),
        (["table9/r4"], "--config table9/r4: a row of a table, .*; expected a recipe in front"),
        (["table9/r4", "dfew"], "--config table9/r4: a row of a table"),
        (
            ["dfew", "table9/r5"],
            r"--config table9/r5: .*; did you mean table9/r\d+\?; known names: table9/r16, table",
        ),
        (["dfew", "table9"], "--config table9: .*; known names: table9/r16, table9/r4, table9/r8"),
        (["dfew", "tabel6/ta"], r"did you mean table6/ta\?; known names: afew, "),
    ],
)
def test_rows_that_are_not_there_or_alone(names, message):
    with pytest.raises(InputError, match=message):
        config_layers(names)


# Methods ------------------------------------------------------------------------------------------

FINE = ("fine.yaml", {"model": {"method": "finecliper"}})
DEMO = ("demo.yaml", {"model": {"reduction": 4}, "train": {"lr": {"prompts": 1.0}, "epochs": 5}})


@pytest.mark.parametrize(
    ("layers", "argv", "message"),
    [
        ([], ["--model.video_hidden", "3"],
         "--model.video_hidden: an option of finecliper; the method is pe_clip"),
        ([], ["--model.method=finecliper", "--model.reduction=4"],
         "--model.reduction: an option of pe_clip; the method is finecliper"),
        ([], ["--model.method=finecliper", "--train.lr.prompts=1"],
         "--train.lr.prompts: an option of pe_clip; the method is finecliper"),
        ([("c", {"model": {"video_hidden": 3}})], [],
         "c: model.video_hidden: an option of finecliper; the method is pe_clip"),
        ([FINE, ("row", {"model": {"temporal": False}})], [],
         "row: model.temporal: an option of pe_clip; the method is finecliper"),
        ([("c", {"model": {"method": "lora"}})], [], "c: model.method=lora: expected one of"),
    ],
)  # fmt: skip
def test_options_of_another_method(layers, argv, message):
    with pytest.raises(InputError) as raised:
        resolve(layers, argv)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("argv", [[], ["--model.method", "finecliper"]])
def test_another_method_drops_what_was_said_of_the_former(argv):
    config = resolve([DEMO] if argv else [DEMO, FINE], argv)
    assert config.model == FineCLIPERConfig()
    assert config.train == TrainConfig(epochs=5, lr={"adapters": 1e-2})
    back = resolve([DEMO, FINE], ["--model.method=pe_clip"])
    assert back.model == PECLIPConfig()
    assert resolve([FINE, ("row", {"model": {"video_hidden": 3}})]).model.video_hidden == 3


def test_rates_are_the_methods_own_unless_given():
    assert parse().learning_rates == {"adapters": 2e-4, "prompts": 3e-5}
    config = parse("--train.lr.prompts=1e-3", layer={"train": {"lr": {"adapters": 1}}})
    assert config.learning_rates == {"adapters": 1.0, "prompts": 1e-3}
    with pytest.raises(InputError, match=r"train.lr.backbone: pe_clip trains the groups adapt"):
        RunConfig(train=TrainConfig(lr={"backbone": 1.0}))


def test_differences_between_methods():
    found = {d.key: d for d in differences(RunConfig(), resolve([FINE]))}
    assert (found["model.video_hidden"].before, found["model.video_hidden"].after) == (None, 128)
    assert (found["train.lr.prompts"].before, found["train.lr.prompts"].after) == (3e-5, None)


@pytest.mark.parametrize("config", [PECLIPConfig, FineCLIPERConfig])
def test_a_sentence_for_every_option(config):
    method = config().method
    options = options_of(method)
    assert all(option.help for option in options)
    names = {option.name for option in options}
    assert {f"--model.{field.name}" for field in fields(config)} <= names
    assert {f"--train.lr.{group}" for group in config.learning_rates} <= names
