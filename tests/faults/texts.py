"""The files of text that people give: each reader, as the commands call it, with what it takes.

What a reader accepts is used as the commands would: its first clips are opened, which none of them
can stand, as there is no such file.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import open_clip
from faults.campaign import Tally, WrongError, judged, little_memory
from faults.mutations import Mutate, in_json, in_text, in_yaml, mutated, whole_json
from helpers.llm_server import ANSWER, Llm
from helpers.models.tiny_backbone import TINY

from peclip_fast.commands.shared.main import main
from peclip_fast.config.data import DataConfig
from peclip_fast.config.parser import configure
from peclip_fast.config.texts import read_texts
from peclip_fast.data.cues.clip_names import clip_name
from peclip_fast.data.decoding.clip_source import open_record
from peclip_fast.data.records import DatasetSplits
from peclip_fast.data.splits import open_splits
from peclip_fast.engine.report import training_facts
from peclip_fast.engine.run_folder import RunFolder
from peclip_fast.errors import InputError
from peclip_fast.experiment.comparison import compare_runs, read_predictions
from peclip_fast.models.backbone import load_backbone, save_backbone
from peclip_fast.plots.curves import read_history
from peclip_fast.prepare.descriptions.answers import Answers
from peclip_fast.prepare.descriptions.endpoint import Endpoint, NoReplyError

ASSETS = Path(__file__).parents[1] / "assets"
CLASSES = ["happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"]
USED = 5  # clips of what was accepted that are opened


@dataclass
class TextReader:
    """A campaign of one reader.

    Args:
        name: of the campaign.
        title: what is read, for the table.
        corpus: good inputs.
        place: where the file is; the mutated ones are written there.
        read: reads it.
        mutate: damages an input.
        refuses: the exceptions that are an answer.
    """

    name: str
    title: str
    corpus: tuple[bytes, ...]
    place: Path
    read: Callable[[], object]
    mutate: Mutate = in_text
    refuses: tuple[type[Exception], ...] = (InputError,)
    share: int = 500

    def __post_init__(self) -> None:
        self.place.parent.mkdir(parents=True, exist_ok=True)
        for good in self.corpus:
            self.place.write_bytes(good)
            verdict = judged(self.read, ())
            assert not verdict.kind, verdict.said  # or all would be refused for another reason

    def run(self, numbers: Iterable[int], tally: Tally) -> None:
        for number in numbers:
            data = mutated(self.corpus, self.mutate, tally.key(number))
            self.place.write_bytes(data)
            with little_memory():
                verdict = judged(self.read, self.refuses)
            tally.add(number, verdict, data)


def used(splits: DatasetSplits) -> None:
    """What comes after reading a dataset: each clip has a name, and opening it is refused."""
    for record in [*splits.train[:USED], *splits.test[:USED]]:
        clip_name(record)
        try:
            open_record(record).close()
        except InputError as error:
            if str(error).splitlines() != [str(error)]:
                raise WrongError("InputError of several lines, of a clip") from None


def clips_of(**options: object) -> Callable[[], object]:
    """Opens the clips of a configuration and uses them."""
    return lambda: used(open_splits(DataConfig(**options)))  # type: ignore[arg-type]


def readers(folder: Path) -> Iterator[TextReader]:
    """All of them; their files are below ``folder``."""
    yield from _lists(folder)
    yield from _datasets(folder)
    yield from _options(folder)
    yield from _descriptions(folder)
    yield from _of_runs(folder)


def command(*argv: str) -> None:
    """Run a command; InputError with what it says where it ends with code 2."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(argv)
    if code:
        if code != 2:
            raise WrongError(f"ends with code {code}")
        raise InputError(said.getvalue().removesuffix("\n"))


def _lists(folder: Path) -> Iterator[TextReader]:
    root = folder / "lists"
    (root / "clips" / "00001").mkdir(parents=True)
    place = root / "list.txt"
    real = [
        b"\r\n".join((ASSETS / "lists" / name).read_bytes().splitlines()[:12])
        for name in ("DFEW_set_1_test.txt", "AFEW_val.txt")
    ]
    corpus = (*real, b"clips/00001 4 0\nclips/my clip 5 6\n", "片段/一 3 1\r\n".encode())
    read = clips_of(dataset="list", train_list=place, root=root, classes=CLASSES)
    yield TextReader("lists", "lists of clips", corpus, place, read)
    place = root / "clips.csv"
    corpus = (
        b"path,label\na/1.mp4,happy\na/2.mp4,sad\nb/3,happy\n",
        b"path,label,start,end\na.mp4,0,0,1.5\na.mp4,1,1.5,\nb.avi,2,,\n",
        '"a, b.mp4",colère\r\n"c ""d"".mp4",joie\r\n'.encode("utf-8-sig"),
    )
    read = clips_of(dataset="csv", train_list=place)
    yield TextReader("csv", "CSV files of clips", corpus, place, read)


def _datasets(folder: Path) -> Iterator[TextReader]:
    root = folder / "dfew"
    (root / "Clip" / "clip_224x224" / "00001").mkdir(parents=True)
    labels = [root / f"EmoLabel_DataSplit/{s}(single_labeled)/set_1.csv" for s in ("train", "test")]
    corpus: tuple[bytes, ...]
    corpus = (b"video_name,label\r\n" + b"".join(b"%d,%d\r\n" % (k, k) for k in range(1, 8)),)
    corpus += (b"00001.mp4,1\n00012,7\n",)
    _write(labels[1], corpus[0])
    read = clips_of(dataset="dfew", root=root)
    yield TextReader("dfew", "DFEW's CSV files", corpus, labels[0], read)

    root = folder / "ferv39k"
    (root / "2_ClipsforFaceCrop" / "Action").mkdir(parents=True)
    labels = [root / f"4_setups/All_scenes/{split}_All.csv" for split in ("train", "test")]
    corpus = (b"Action/Happy/0015 Happy\nCrime/Sad/0001 Sad\nSchool/Neutral/0134 Neutral\n",)
    _write(labels[1], corpus[0])
    read = clips_of(dataset="ferv39k", root=root)
    yield TextReader("ferv39k", "FERV39k's lists", corpus, labels[0], read)

    plain = b"00003.mp4\thappiness\n00112.mp4 anger\n09123.mp4 contempt\n"
    captions = (
        "00003.mp4\tanger\tA man frowns.\t一个男人皱眉\n00004.mp4\tfear\tShe turns.\t她转身\n"
    )
    compound = b"00003.mp4 anger_disgust\n00004.mp4 fear_surprise\n00005.mp4 anger_fear_sadness\n"
    for name, title, corpus in (
        ("mafw", "MAFW's lists", (plain,)),
        ("mafw-captions", "MAFW's lists with captions", (captions.encode("gb18030"),)),
        ("mafw-compound", "MAFW's compound lists", (compound,)),
    ):
        root, kind = folder / name, "compound" if "compound" in name else "single"
        (root / "data" / "clips").mkdir(parents=True)
        captioned = "with_caption" if "captions" in name else "no_caption"
        lists = root / "Train & Test Set" / kind / captioned / "set_1"
        _write(lists / "test.txt", corpus[0])
        read = clips_of(dataset=name.removesuffix("-captions"), root=root)
        yield TextReader(name, title, corpus, lists / "train.txt", read)


def _options(folder: Path) -> Iterator[TextReader]:
    place = folder / "options" / "config.yaml"
    corpus = (
        b"model:\n  backbone: demo\n  prompt_depth: 2\n  reduction: 16\n"
        b"data:\n  dataset: folder\n  root: /data/x\n  frames: 2\n  num_workers: 0\n"
        b"  mix: {mixup: 0.2, fmix: 0.1}\n"
        b"train:\n  epochs: 2\n  warmup_epochs: 1\n  lr: {adapters: 2.0e-3}\n  device: cpu\n",
        b"data: {classes: [a, b], shots: null, augment: {hflip: 0.0}}\n",
        configure({"data.dataset": "demo"}).to_yaml().encode(),
    )
    place.parent.mkdir()
    read: Callable[[], object] = lambda: configure(str(place))  # noqa: E731
    yield TextReader("yaml", "YAML configurations", corpus, place, read, in_yaml)
    place_of_texts = folder / "options" / "texts.txt"
    corpus = (b"# of two\nanger: a face with lowered brows\n\njoy: ein Gesicht\r\n",)
    read = lambda: read_texts(place_of_texts)  # noqa: E731
    yield TextReader("texts", "texts of the classes", corpus, place_of_texts, read)
    backbone = folder / "backbone"
    save_backbone(open_clip.CLIP(**TINY), TINY, backbone)
    described = backbone / "open_clip_config.json"
    corpus = (described.read_bytes(),)
    read = lambda: load_backbone(str(backbone))  # noqa: E731
    title = "backbones, open_clip_config.json"
    yield TextReader("open-clip", title, corpus, described, read, whole_json, share=100)


def _descriptions(folder: Path) -> Iterator[TextReader]:
    root = folder / "descriptions"
    rows = [(f"clips/{k}.mp4", "happy") for k in range(4)]
    _write(root / "train.csv", "".join(f"{path},{label}\n" for path, label in rows).encode())
    data = {"dataset": "csv", "train_list": root / "train.csv"}

    place = root / "texts.jsonl"
    texts = [{"clip": path, "text": f"A brow rises: {path} 😀"} for path, _ in rows]
    corpus = ("".join(json.dumps(row) + "\n" for row in texts).encode(),)
    corpus += ("".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in texts).encode(),)
    read = clips_of(**data, descriptions=place)
    yield TextReader("descriptions", "JSON lines of descriptions", corpus, place, read, in_json)

    place = root / "cues" / "cues.csv"
    corpus = (
        b"clip,file,frames,faces\n"
        + "".join(f"{path},{path}.npz,4,4\n" for path, _ in rows).encode(),
    )
    read = clips_of(**data, cues=place.parent)
    yield TextReader("cues", "indices of cue stores", corpus, place, read)

    answers = root / "fine.answers.jsonl"
    asked = {"clip": "clips/0.mp4", "llm": "m", "question": "0f", "ask": 1, "text": "A brow."}
    asked |= {"usage": {"prompt_tokens": 3}, "finish": "stop"}
    corpus = ("".join(json.dumps(asked | {"ask": k}) + "\n" for k in (1, 2, 3)).encode(),)
    read = lambda: Answers(answers).close()  # noqa: E731
    yield TextReader("answers", "kept answers of an LLM", corpus, answers, read, in_json)

    prompt = root / "prompt.txt"
    corpus = (b"These are {frames} frames. What {{moves}}?\n",)
    options = [
        *("--data.dataset", "csv", "--data.train_list", str(root / "train.csv"), "--dry_run"),
        *("--llm", "m", "--endpoint", "http://x", "--output", str(root / "d.jsonl")),
    ]
    read = lambda: command("describe", "dfew", *options, "--prompt", str(prompt))  # noqa: E731
    yield TextReader("prompts", "prompts for an LLM", corpus, prompt, read, share=50)
    yield Replies(root / "reply.json")


class Replies(TextReader):
    """What an LLM's endpoint sends."""

    def __init__(self, place: Path) -> None:
        self.server = Llm()
        self.endpoint = Endpoint(self.server.url, "m", None, 20.0, retries=0)
        parts = {"content": [{"type": "text", "text": "A mouth."}]}
        other = {"choices": [{"message": parts}], "usage": None}
        corpus = tuple(json.dumps(reply).encode() for reply in (ANSWER, other))
        title = "answers of an LLM's endpoint"
        refuses = (InputError, NoReplyError)
        super().__init__("replies", title, corpus, place, self.ask, whole_json, refuses)

    def ask(self) -> None:
        self.server.failures = [self.place.read_bytes()]
        reply = self.endpoint.ask("What moves?", [])
        json.dumps(reply).encode()
        reply.text.encode()


def _of_runs(folder: Path) -> Iterator[TextReader]:
    """What is read of a run that has ended."""
    first, second = folder / "runs" / "first", folder / "runs" / "second"
    corpus = (b"path,label,prediction,anger,joy\na.mp4,anger,joy,0.4,0.6\nb.mp4,joy,joy,0.1,0.9\n",)
    _write(second / "predictions.csv", corpus[0])

    def compare() -> None:
        compare_runs(read_predictions(first), read_predictions(second), [first, second])

    title = "predictions of runs that are compared"
    yield TextReader("predictions", title, corpus, first / "predictions.csv", compare)
    metrics = first / "metrics.csv"
    corpus = (b"epoch,step,loss,lr_adapters,test_uar\n1,5,0.7,0.001,0.5\n2,10,0.6,0.0,\n",)
    read = lambda: read_history(metrics)  # noqa: E731
    yield TextReader("metrics", "histories of runs", corpus, metrics, read)
    run = RunFolder(first)
    facts = {"uar": 0.5, "training_clips": 15, "skipped_training_clips": [], "recall": {"a": 0.5}}
    corpus = (json.dumps(facts, indent=1).encode(),)
    read = lambda: training_facts(run)  # noqa: E731
    yield TextReader("reports", "reports of runs", corpus, run.report, read, whole_json)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
