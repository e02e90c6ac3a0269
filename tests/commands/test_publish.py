"""A run's model into a folder for others, and to a hub."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from helpers.hub_server import TOKEN, serving
from huggingface_hub import ModelCard

from peclip_fast.commands.publish import main
from peclip_fast.hub.transfer import FILES
from peclip_fast.models.pretrained import from_pretrained


def test_a_run_writes_its_card(tiny_run):
    card = ModelCard((tiny_run / "model" / "README.md").read_text())
    report = json.loads((tiny_run / "report.json").read_text())
    found = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert found == {"UAR": round(report["uar"], 4), "WAR (accuracy)": round(report["war"], 4)}
    assert from_pretrained(tiny_run / "model").card == str(card)


def test_folder_and_hub(tiny_run, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "mine"
    with serving() as hub:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        argv = [str(tiny_run), "--folder", str(folder), "--to", "ann/tiny", "--licence", "mit"]
        assert main(argv) == 0
        out = capsys.readouterr().out
        assert out.splitlines() == [
            f"wrote {folder}; its card is {folder / 'README.md'}",
            f"uploaded as {hub.url}/ann/tiny/commit/{hub.sha('ann/tiny', 'main')}",
        ]
        files = hub.repositories["ann/tiny"]["main"]
        found = from_pretrained("ann/tiny", cache=tmp_path / "cache")
    assert set(files) == set(FILES) == {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip
    assert files["README.md"] == (folder / "README.md").read_bytes()
    assert ModelCard(found.card).data.license == "mit"
    assert 'from_pretrained("ann/tiny")' in found.card
    expected = from_pretrained(tiny_run / "model").trained_state()
    assert all(torch.equal(tensor, expected[n]) for n, tensor in found.trained_state().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], r"expected --folder FOLDER, --to USER/NAME or both"),
        (["--folder", "full"], r"--folder full: holds files already; expected a new folder"),
        (["--to", "tiny"], r"tiny: expected the name of a model on the Hub, as USER/NAME"),
        (["--folder", "new", "--private"], r"--revision, --private: expected --to USER/NAME"),
        (["--to", "ann/tiny"], r"ann/tiny: .* isn't asked, as HF_HUB_OFFLINE is set"),
    ],
)
def test_wrong_options(tiny_run, capsys, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    capsys.readouterr()
    assert main([str(tiny_run), *options]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(message, err)
    assert not (tmp_path / "new").exists()


def test_a_run_that_has_not_ended(tiny_run, tmp_path, capsys):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    shutil.rmtree(run / "model")
    assert main([str(run), "--folder", str(tmp_path / "new")]) == 2
    assert "its training has not ended" in capsys.readouterr().err
