"""Models up to a hub and down from it, and one line for whatever goes wrong."""

from __future__ import annotations

import json
import re
import socket

import pytest
import torch
from helpers.hub_server import TOKEN, serving
from helpers.tiny_runs import CLASSES

import peclip_fast
from peclip_fast.errors import InputError
from peclip_fast.hub.transfer import FILES, is_name
from peclip_fast.models.pretrained import from_pretrained

NAME = "ann/faces"


@pytest.fixture(scope="module")
def model(tiny_backbone):
    made = peclip_fast.create_model(
        "pe_clip", tiny_backbone, classes=CLASSES, prompt_depth=2, reduction=16
    )
    generator = torch.Generator().manual_seed(2)
    for parameter in made.trained_parameters().values():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    made.eval().card = "---\nlicense: mit\n---\n\n# Mine\n"
    return made


@pytest.fixture
def hub():
    with serving() as hub:
        yield hub


@pytest.fixture
def uploaded(hub, model):
    model.push_to_hub(NAME, token=TOKEN)
    return hub


def test_up_and_down_gives_the_same_model_elsewhere(hub, model, tmp_path):
    """Its backbone, a folder of this machine's, goes along."""
    url = model.push_to_hub(NAME, token=TOKEN)
    assert url == f"{hub.url}/{NAME}/commit/{hub.sha(NAME, 'main')}"
    files = hub.repositories[NAME]["main"]
    assert set(files) == set(FILES)
    assert json.loads(files["config.json"])["config"]["backbone"] == "./backbone"
    found = from_pretrained(NAME, cache=tmp_path)
    assert str(tmp_path) in found.config.backbone
    assert found.card == model.card
    frames = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(found(frames), model(frames), rtol=0, atol=0)


def test_only_the_files_of_models_come_down(uploaded, tmp_path):
    uploaded.repositories[NAME]["main"]["pytorch_model.bin"] = b"a pickle, perhaps"
    peclip_fast.from_pretrained(NAME, cache=tmp_path)
    assert not any("pytorch_model.bin" in asked for asked in uploaded.asked)
    assert not list(tmp_path.rglob("pytorch_model.bin"))


def test_revisions(uploaded, model, tmp_path):
    first = uploaded.sha(NAME, "main")
    other = peclip_fast.create_model(
        "pe_clip", model.config.backbone, classes=CLASSES, prompt_depth=2, reduction=16
    )
    other.push_to_hub(NAME, revision="untrained", token=TOKEN)
    for revision, expected in (("untrained", other), (first, model), (None, model)):
        found = from_pretrained(NAME, revision=revision, cache=tmp_path)
        state = found.trained_state()
        for name, tensor in expected.trained_state().items():
            assert torch.equal(state[name], tensor), (revision, name)
    with pytest.raises(InputError, match=f"^{NAME}: has no revision 'v9' at {uploaded.url}$"):
        from_pretrained(NAME, revision="v9", cache=tmp_path)


def test_private_models(hub, model, tmp_path):
    model.push_to_hub(NAME, token=TOKEN, private=True)
    from_pretrained(NAME, token=TOKEN, cache=tmp_path / "own")
    told = rf"^{NAME}: no such folder here, and no such model at {hub.url} for this user; .*token=$"
    with pytest.raises(InputError, match=told):
        from_pretrained(NAME, cache=tmp_path / "others")


def test_a_folder_of_that_name_comes_first(hub, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save_pretrained(NAME)
    assert from_pretrained(NAME).classes == CLASSES
    assert hub.asked == []
    with pytest.raises(InputError, match="revision='main': expected the name of a model on the"):
        from_pretrained(NAME, revision="main")


def test_the_network_goes(uploaded, tmp_path, monkeypatch):
    """What was downloaded before is still there, and nothing else."""
    from huggingface_hub import constants

    from_pretrained(NAME, cache=tmp_path)
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", gone)
        assert from_pretrained(NAME, cache=tmp_path).classes == CLASSES
        asked = f"^ann/other: not in the cache, and {gone} can't be reached \\(.*\\)$"
        with pytest.raises(InputError, match=asked):
            from_pretrained("ann/other", cache=tmp_path)
        model = from_pretrained(NAME, cache=tmp_path, offline=True)
        with pytest.raises(InputError, match=rf"^{NAME}: {gone} can't be reached \(.*\)$"):
            model.push_to_hub(NAME, token=TOKEN)


def test_offline(uploaded, tmp_path, monkeypatch):
    from huggingface_hub import constants

    from_pretrained(NAME, cache=tmp_path)
    before = len(uploaded.asked)
    assert from_pretrained(NAME, cache=tmp_path, offline=True).classes == CLASSES
    with pytest.raises(InputError, match=r"not in the cache, and .* isn't asked, as it is to be"):
        from_pretrained("ann/other", cache=tmp_path, offline=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"not in the cache, and .* as HF_HUB_OFFLINE is set$"):
        from_pretrained("ann/other", cache=tmp_path)
    assert len(uploaded.asked) == before


@pytest.mark.parametrize(
    ("token", "status", "message"),
    [
        (None, None, r"doesn't let this user write there \(401\); expected a token that may"),
        ("hf_wrong", None, r"doesn't let this user write there \(401\)"),
        (TOKEN, 403, r"doesn't let this user write there \(403\)"),
        (TOKEN, 500, r"answered 500 \(so it is told\)$"),
    ],
)
def test_who_may_not_write(hub, model, token, status, message):
    hub.status = status
    with pytest.raises(InputError, match=f"^{NAME}: {hub.url} {message}") as caught:
        model.push_to_hub(NAME, token=token if token else False)
    assert "\n" not in str(caught.value)
    assert hub.repositories == {}


@pytest.mark.parametrize("status", [500, 503])
def test_a_hub_that_is_ill(hub, tmp_path, status):
    hub.status = status
    with pytest.raises(InputError, match=f"^{NAME}: not in the cache, and .* answered {status}$"):
        from_pretrained(NAME, cache=tmp_path)


def test_models_of_others(hub, tmp_path):
    hub.repositories[NAME] = {"main": {"pytorch_model.bin": b"", "README.md": b"hello"}}
    with pytest.raises(InputError, match=f"^{NAME}: no model of peclip-fast; expected config.json"):
        from_pretrained(NAME, cache=tmp_path)


def test_a_flipped_bit(uploaded, tmp_path):
    files = uploaded.repositories[NAME]["main"]
    weights = bytearray(files["model.safetensors"])
    weights[-9] ^= 4
    files["model.safetensors"] = bytes(weights)
    with pytest.raises(InputError, match=r"model\.safetensors: damaged"):
        from_pretrained(NAME, cache=tmp_path)


@pytest.mark.parametrize("name", ["faces", "ann/faces/x", "/ann/faces", "./faces", "ann/../b", ""])
def test_what_is_no_name(model, name):
    assert not is_name(name)
    with pytest.raises(InputError, match=re.escape(f"{name}: expected the name of a model")):
        model.push_to_hub(name)
