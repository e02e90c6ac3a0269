"""Tokenizers: CLIP's, and Hugging Face's from files or refused in one line; no network."""

from __future__ import annotations

import copy
import json
import sys

import pytest
import torch
from helpers.models.small_towers import KINDS, WordTokenizer, save_small

from peclip_fast import InputError, create_model
from peclip_fast.models.backbone import CONFIG_FILE
from peclip_fast.models.tokenizer import (
    END,
    START,
    CLIPTokenizer,
    HuggingFaceTokenizer,
    text_tokenizer,
)

CLASSES = ("happiness", "sadness")
TEXTS = ["a broad smile", "a tear"]


class Padding:
    """open_clip's HFTokenizer as far as it is used: ids of a text, padded to a length."""

    def __init__(self, pad, closing):
        self.tokenizer = type("HF", (), {"pad_token_id": pad})
        self.pad, self.closing = pad, closing

    def __call__(self, texts, context_length):
        rows = [[5 + len(word) for word in text.split()] + self.closing for text in texts]
        padded = [row + [self.pad] * (context_length - len(row)) for row in rows]
        return torch.tensor(padded)


def test_clips_own():
    for name in ("ViT-B-32", "EVA02-B-16", "demo", "reference checkpoint"):
        tokens = text_tokenizer(name)
        assert isinstance(tokens, CLIPTokenizer)
        assert tokens.encode("a tear")[0] == START
        assert tokens.encode("a tear")[-1] == END


def test_padding_is_taken_off_but_for_what_closes_a_text():
    siglip = HuggingFaceTokenizer(Padding(pad=1, closing=[1]))
    assert (siglip.encode("a tear"), siglip.pad) == ([6, 9, 1], 1)
    bert = HuggingFaceTokenizer(Padding(pad=0, closing=[3]))
    assert bert.encode("a tear") == [6, 9, 3, 0]


def test_texts_fill_the_context_and_longer_ones_are_refused(tmp_path):
    name = save_small("siglip", tmp_path)
    config = {"backbone": name, "classes": CLASSES, "tokenizer": WordTokenizer(), "prompt_depth": 2}
    model = create_model(texts=[" ".join(["a"] * 61), "a tear"], **config)
    assert model.class_tokens.shape == (2, 62)
    assert model.class_tokens[1, 2:].tolist() == [1] * 60
    with pytest.raises(InputError, match="63 tokens, expected at most 62 with 2 context tokens"):
        create_model(texts=[" ".join(["a"] * 62), "a tear"], **config)


@pytest.mark.parametrize("installed", [True, False])
def test_a_missing_tokenizer_is_one_line(monkeypatch, installed):
    """Without the package, or with a package that finds no file and no network."""
    if not installed:
        monkeypatch.setitem(sys.modules, "transformers", None)
    else:

        class Offline:
            @staticmethod
            def from_pretrained(*_, **__):
                raise OSError("We couldn't connect to\nthe hub, and it is in no cache")

        fake = type(sys)("transformers")
        fake.AutoTokenizer = Offline
        monkeypatch.setitem(sys.modules, "transformers", fake)
    with pytest.raises(InputError, match="tokenizer of timm/ViT-B-16-SigLIP can't be") as refusal:
        create_model(backbone="ViT-B-16-SigLIP", classes=CLASSES, texts=TEXTS)
    message = str(refusal.value)
    assert "\n" not in message
    assert "pip install 'peclip-fast[transformers]'" in message
    assert ("couldn't connect" in message) == installed


def test_files_of_a_folder_make_a_tokenizer(tmp_path):
    """transformers and tokenizers themselves, on a word list written here."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "broad": 4, "smile": 5, "tear": 6}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    raw.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    own = {"pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, **own)
    name = save_small("siglip", tmp_path)
    config = copy.deepcopy(KINDS["siglip"])
    config["text_cfg"] |= {
        "hf_tokenizer_name": "somebody/tokens",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    }
    (tmp_path / CONFIG_FILE).write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(InputError, match=f"the tokenizer in {tmp_path} can't be loaded"):
        text_tokenizer(name)
    fast.save_pretrained(tmp_path)
    model = create_model(backbone=name, classes=CLASSES, texts=TEXTS, prompt_depth=2)
    assert model.class_tokens.tolist() == [[3, 4, 5, 1] + [1] * 58, [3, 6, 1] + [1] * 59]
