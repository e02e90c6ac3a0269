"""Model cards: they parse, their figures are the run's, and what isn't known is said to be so."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.tiny_runs import CLASSES
from huggingface_hub import ModelCard
from scipy import stats

from peclip_fast.config.data import DataConfig, MixConfig
from peclip_fast.config.methods.pe_clip import PECLIPConfig
from peclip_fast.config.run import RunConfig
from peclip_fast.errors import InputError
from peclip_fast.hub.card import model_card
from peclip_fast.hub.facts import CropOfClips, RunFacts, TestResult, run_facts
from peclip_fast.hub.intervals import recall_interval, uar_interval

CONFIG = PECLIPConfig(backbone="ViT-B-16-quickgelu", pretrained="openai")
RESULT = TestResult(list(CLASSES), [[8, 2, 0], [0, 5, 0], [1, 0, 3]], "last epoch (25 of 25)",
                    training_clips=1234)  # fmt: skip
CROP = CropOfClips(1.5, 0.0, -0.1, seconds=2.0, origin="measured on 32 training clips")


def facts(dataset: str = "dfew", **changes: object) -> RunFacts:
    data = DataConfig(dataset, Path("/data"), mix=MixConfig(mixup=0, fmix=0))
    return replace(RunFacts(RunConfig(CONFIG, data), RESULT, CROP), **changes)


def test_the_hub_reads_it():
    text = model_card(CONFIG, CLASSES, facts(), "ann/faces", "cc-by-nc-4.0")
    card = ModelCard(text)
    assert str(card) == text
    data = card.data
    assert (data.license, data.library_name, data.pipeline_tag, data.datasets) == (
        "cc-by-nc-4.0", "peclip-fast", "video-classification", ["dfew"]
    )  # fmt: skip
    assert {"pe-clip", "facial-expression-recognition"} <= set(data.tags)
    found = {result.metric_name: result.metric_value for result in data.eval_results}
    assert found == {"UAR": round((0.8 + 1 + 0.75) / 3, 4), "WAR (accuracy)": round(16 / 19, 4)}
    assert all(result.dataset_split == "test" for result in data.eval_results)


def test_it_says_what_the_run_is():
    text = model_card(CONFIG, CLASSES, facts(), "ann/faces")
    for expected in (
        'from_pretrained("ann/faces")',
        "| training clips | 1,234 |",
        "| side of the picture | 1.50 times the side of the face |",
        "| weights | last epoch (25 of 25) |",
        "| happiness | 10 | 80.0 % | ",
        "| sadness | 0 | 5 | 0 |",
        "what is shown, not what is felt",
        "Article 5(1)(f)",
        "not tested by age, gender, skin tone",
        "| the frozen backbone | MIT;",
        "| the training clips | academic research only, on a signed agreement |",
    ):
        assert expected in text, expected
    assert "Not known" not in text


@pytest.mark.parametrize(
    ("run", "unknown"),
    [
        (None, ["Training data", "How the clips show a face", "Protocol", "Results"]),
        (facts(result=None), ["Results"]),
        (facts(crop=None), ["How the clips show a face"]),
    ],
)
def test_what_is_not_known_is_said(run, unknown):
    card = ModelCard(model_card(CONFIG, CLASSES, run))
    sections = card.text.split("\n## ")
    assert [s.split("\n")[0].split(" on the")[0] for s in sections if "Not known" in s] == unknown
    assert (card.data.eval_results is None) == (run is None or run.result is None)


def test_a_licence_is_named_only_where_it_is_certain():
    assert ModelCard(model_card(CONFIG, CLASSES, facts())).data.license == "other"
    ours = replace(CONFIG, backbone="demo", pretrained=None)
    run = facts("demo")
    assert ModelCard(model_card(ours, CLASSES, run)).data.license == "apache-2.0"
    assert "knows nothing of real people" in model_card(ours, CLASSES, run).replace("\n", " ")
    assert ModelCard(model_card(CONFIG, CLASSES, run)).data.license == "other"


def test_a_model_of_other_things_is_not_called_one_of_faces():
    text = model_card(CONFIG, CLASSES, facts("folder", crop=replace(CROP, faces=0.1)))
    assert "facial" not in text
    assert "AI Act" not in text
    assert ModelCard(text).data.datasets is None


def test_names_that_are_markup():
    names = ["a|b", "<script>", "c: [d]\n---\n"]
    run = facts(result=replace(RESULT, classes=names))
    text = model_card(CONFIG, names, run)
    assert str(ModelCard(text)) == text
    assert "<script>" not in text
    tables = [line for line in text.splitlines() if line.startswith("| a\\|b |")]
    assert len(tables) == 2  # recall and confusion


def test_intervals():
    """Wilson's are close, and the mean of one class is that class."""
    for found, clips in ((8, 10), (500, 1000), (1, 40)):
        wilson = stats.binomtest(found, clips).proportion_ci(method="wilson")
        assert recall_interval(found, clips) == pytest.approx((wilson.low, wilson.high), abs=0.03)
        assert uar_interval([found, 0], [clips, 0]) == pytest.approx(recall_interval(found, clips))
    assert recall_interval(0, 5)[0] == 0.0
    assert recall_interval(5, 5)[1] == 1.0
    low, high = uar_interval([80] * 4, [100] * 4)
    one = recall_interval(80, 100)
    assert high - low == pytest.approx((one[1] - one[0]) / math.sqrt(4), rel=1e-6)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1, 0]], "3 rows of 3 numbers"),
        ([[1, 0], [0, 1], [0, 0]], "3 rows of 3 numbers"),
        ([[0, 0, 0]] * 3, "3 rows of 3 numbers"),
        ([[1, -1, 0]] * 3, "3 rows of 3 numbers"),
        ("none", "'confusion_matrix': expected a list"),
    ],
)
def test_a_damaged_report_is_named(tmp_path, matrix, message):
    path = tmp_path / "report.json"
    said = {"classes": list(CLASSES), "confusion_matrix": matrix, "protocol": "last"}
    path.write_text(json.dumps(said))
    with pytest.raises(InputError, match=rf"report\.json: .*{message}"):
        run_facts(facts().config, path, tmp_path / "crop.json")


def test_a_run_without_files(tmp_path):
    found = run_facts(facts().config, tmp_path / "report.json", tmp_path / "crop.json")
    assert (found.result, found.crop) == (None, None)
