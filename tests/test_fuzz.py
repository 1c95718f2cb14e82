"""Whatever a file or a command line holds, it is read, or refused in one line, soon and in little memory.

IMBALANCE_FUZZ_INPUTS says how many inputs each parser is fed; IMBALANCE_FIGURES names a file for what was measured.
"""

import csv
import gzip
import hashlib
import io
import json
import os
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
import typer
from cifar_archives import members, write_archive
from fuzzing import Make, Read, Refused, feed
from mutations import VALUES, WORDS, spoiled, spoiled_tar, spoiled_text, spoiled_value, spoiled_zip, with_png_checksums
from PIL import Image
from small_data import COMMON, RARE
from small_images import every_kind

from imbalance_cli import checkpoints, runs
from imbalance_cli.checkpoints import Checkpoint
from imbalance_cli.cli import parsing
from imbalance_cli.cli.main import app
from imbalance_cli.config import DataSettings, Experiment, parse_assignment, resolve
from imbalance_cli.data import cifar
from imbalance_cli.data.batches import Normalisation
from imbalance_cli.data.decode import BadImage, ImageFile, decode_files, default_image_size, is_image
from imbalance_cli.data.image_cache import read_images
from imbalance_cli.data.image_set import Dataset, ImageSet, class_names
from imbalance_cli.data.listing import list_csv
from imbalance_cli.data.manifest import Manifest, apply_manifest, read_manifest, write_manifest
from imbalance_cli.data.subset import exact_ratio, make_subset, profile_counts
from imbalance_cli.evaluation import evaluate
from imbalance_cli.experiment_data import experiment_of
from imbalance_cli.models import build_model
from imbalance_cli.strict_yaml import dump_yaml

pytestmark = pytest.mark.slow

INPUTS = int(os.environ.get("IMBALANCE_FUZZ_INPUTS", "20000"))
PEAK_MIB = 1500

Fuzz = Callable[[str, Make, Read], None]


@pytest.fixture
def fuzz(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, figures: Callable[..., None]
) -> Fuzz:
    """Feed a parser INPUTS inputs, and keep the figures."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power fails here

    def run(parser: str, make: Make, read: Read) -> None:
        found = feed(parser, INPUTS, make, read, tmp_path)
        figures(**found)
        assert not caplog.messages, "a library logs what only we should say"
        assert found["peak_mib"] < PEAK_MIB
        assert INPUTS < 1000 or 0.001 < found["accepted"] / INPUTS < 0.999, "the inputs are all alike to this parser"

    return run


def _json(value: Any) -> bytes:
    """`value` as JSON, which is YAML too."""
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _silent(line: str) -> None:
    pass


def _images(each: int = 6, prefix: str = "") -> ImageSet:
    labels = torch.arange(2 * each) % 2
    pixels = torch.arange(2 * each * 3 * 64).to(torch.uint8).view(-1, 3, 8, 8)
    return ImageSet(pixels, labels, (COMMON, RARE), tuple(f"{prefix}{number}" for number in range(2 * each)))


DATASET = Dataset("pets", "identity of pets", _images(), _images(2, "t/"))
MANIFEST = make_subset(DATASET, ratio="0.5", test_ratio="1")[0]


# ---- text files


def test_subset_files(fuzz: Fuzz, tmp_path: Path) -> None:
    write_manifest(MANIFEST, path := tmp_path / "subset.yaml")
    text = path.read_text()
    sealed = {"format": "imbalance-subset-1", "counts": MANIFEST.counts, **asdict(MANIFEST)}

    def with_its_digest(fields: dict[str, Any]) -> bytes:
        try:
            manifest = Manifest(**{name: value for name, value in fields.items() if name not in ("format", "counts")})
            fields = {**fields, "sha256": manifest.sha256, "counts": manifest.counts}
        except Exception:
            pass  # then it says no digest
        return _json(fields)

    def make(random: Random) -> bytes:
        match random.randrange(5):
            case 0:
                return spoiled(_text(text), random, [_text(text)])
            case 1:
                return _text(spoiled_text(text, random))
            case 2:  # a class has another name, everywhere
                name = json.dumps(random.choice(WORDS))
                return with_its_digest(json.loads(json.dumps(sealed).replace(f'"{COMMON}"', name)))
            case 3 if isinstance(fields := spoiled_value(sealed, random), dict):
                return with_its_digest(fields)
            case _:
                return _json(spoiled_value(sealed | {"sha256": MANIFEST.sha256}, random))

    def read(given: bytes) -> None:
        path.write_bytes(given)
        apply_manifest(read_manifest(path), DATASET)

    fuzz("subset file", make, read)


def test_configs(fuzz: Fuzz, tmp_path: Path) -> None:
    configs = Path(__file__).parent.parent / "configs"
    texts = [path.read_text(encoding="utf-8") for path in sorted(configs.glob("*.yaml"))]
    values = [Experiment().model_dump(), Experiment(data=DataSettings(counts={"a": 2}, minority=["a"])).model_dump()]
    texts += map(dump_yaml, values)
    path = tmp_path / "config.yaml"

    def make(random: Random) -> bytes:
        match random.randrange(3):
            case 0:
                return spoiled(_text(random.choice(texts)), random, [*map(_text, texts)])
            case 1:
                return _text(spoiled_text(random.choice(texts), random))
            case _:
                return _json(spoiled_value(random.choice(values), random))

    def read(given: bytes) -> None:
        path.write_bytes(given)
        resolve(path)

    fuzz("config", make, read)


def test_csv_listings(fuzz: Fuzz, tmp_path: Path) -> None:
    names = [f"{folder}/{number}.png" for folder in "ab" for number in range(3)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"image")
    rows = [[name, name[0], "train" if number else "test"] for number, name in enumerate(names)]
    path = tmp_path / "list.csv"

    def written(rows: list[Any]) -> str:
        file = io.StringIO()
        csv.writer(file).writerows(row if isinstance(row, list) else [row] for row in rows)
        return file.getvalue()

    texts = [written([["path", "label", "split"], *rows]), "path,label\n" + written([row[:2] for row in rows])]

    def make(random: Random) -> bytes:
        match random.randrange(3):
            case 0:
                return spoiled(_text(random.choice(texts)), random, [*map(_text, texts)])
            case 1:
                return _text(spoiled_text(random.choice(texts), random))
            case _:
                table = spoiled_value([["path", "label", "split"], *rows], random)
                return _text(written(table if isinstance(table, list) else [table]))

    def read(given: bytes) -> None:
        path.write_bytes(given)
        list_csv(path, None)

    fuzz("CSV listing", make, read)


def test_run_environments(fuzz: Fuzz, tmp_path: Path) -> None:
    now = runs.environment({"device": "cpu", "precision": "float32", "threads": 1})
    sessions = [now | {"settings_from": {"epochs": "--epochs"}}, now | {"seconds": 3.5}]
    path = tmp_path / runs.ENVIRONMENT

    def make(random: Random) -> bytes:
        match random.randrange(3):
            case 0:
                return spoiled(_json(sessions), random)
            case 1:
                return _text(spoiled_text(json.dumps(sessions, indent=2), random))
            case _:
                return _json(spoiled_value(sessions, random))

    def read(given: bytes) -> None:
        path.write_bytes(given)
        list(runs.differences(runs.read_sessions(tmp_path)[-1], now))

    fuzz("run environment", make, read)


# ---- command lines


def test_command_lines(fuzz: Fuzz, monkeypatch: pytest.MonkeyPatch) -> None:
    command: Any = typer.main.get_command(app)
    for inner in command.commands.values():
        monkeypatch.setattr(inner, "callback", lambda **_: None)  # it is about what is read, not about what is done
    lines = [
        ["train", "configs/image_folder.yaml", "--loss", "focal", "--gamma", "2", "--set", "model.width=8"],
        ["train", "--classes", "cat", "dog", "--alpha", "0.25", "0.75", "--epochs=3", "--set", "loss={name: focal}"],
        ["make-subset", "shapes", "--counts", "circle=20", "star=5", "--output", "x.yaml", "--seed", "1"],
        ["plot-loss", "--gamma", "0", "1", "2,5", "--output", "x.png"],
        ["evaluate", "run", "--threshold", "0.3", "--batch-size", "64"],
        ["--set", "loss=focal", "loss.gamma=2"],
        ["--set", "data.counts={cat: 5, dog: 2}"],
        ["--alpha", "0.25", "none", "counts"],
        ["--counts", "circle=20", "star=5"],
        ["--classes", "cat", "2", "dog"],
        ["--ratio", "0.01", "1e-3"],
    ]
    known = [option for inner in command.commands.values() for parameter in inner.params for option in parameter.opts]

    def make(random: Random) -> bytes:
        line = list(random.choice(lines))
        for _ in range(random.randint(1, 3)):
            where = random.randrange(1, len(line) + 1)
            match random.randrange(4):
                case 0:
                    line[where:where] = [random.choice([*known, *WORDS])]
                case 1:
                    line[where:where] = random.choice(lines)[1:]
                case 2:
                    del line[where : where + 1]
                case _:
                    line[where : where + 1] = [spoiled_text(word, random) for word in line[where : where + 1]]
        return _text("\0".join(word.replace("\0", "") for word in line if word != "--help"))

    def read(given: bytes) -> None:
        name, *words = given.decode("utf-8", "surrogatepass").split("\0")
        match name:
            case "--set":
                resolve(None, map(parse_assignment, words))
            case "--alpha":
                parsing.numbers_or_words(words, name)
            case "--counts":
                parsing.class_counts(words)
            case "--classes":
                class_names(words, ("cat", "dog", "fox"))
            case "--ratio":
                for word in words:
                    profile_counts({"cat": 5000, "dog": 5000}, exact_ratio(word, None), profile="step")
            case _:
                with redirect_stderr(said := io.StringIO()):
                    code = command.main([name, *words], prog_name="imbalance", standalone_mode=False)
                assert code in (None, 0, 2), said.getvalue()
                if code == 2:
                    raise Refused(said.getvalue().removeprefix("error: ").removesuffix("\n"))

    for line in lines:  # each is accepted before it is spoiled
        read(_text("\0".join(line)))
    fuzz("command line", make, read)


# ---- checkpoints


def small_checkpoint() -> Checkpoint:
    """A trained model's checkpoint, as small as can be."""
    experiment = Experiment.model_validate({"model": {"name": "cnn", "width": 1}})
    model = build_model(experiment.model, 2, 8, seed=0)
    point = {"offsets": [0.0, 0.5], "tau": 1.0, "tau_chosen": "on validation"}
    return Checkpoint(
        weights=model.state_dict(),
        model=experiment.model,
        class_names=[COMMON, RARE],
        counts=[6, 3],
        image_size=8,
        normalisation=Normalisation((0.5, 0.5, 0.5), (0.2, 0.2, 0.2)),
        config=experiment.model_dump(),
        manifest=asdict(MANIFEST),
        operating_points={"argmax": point, "prior": point, "validation": {"offsets": None, "reason": "too few"}},
        calibration={"temperature": 1.5, "reference": [0.5, -0.5]},
        progress={"epoch": 1, "step": 0, "log": [{"epoch": 1, "train_loss": 0.5}]},
        optimizer={"momentum": [torch.zeros(3)]},
        random_state={"cpu": torch.zeros(8, dtype=torch.uint8)},
    )


def test_checkpoints(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoints.save(small_checkpoint(), path)
    whole = path.read_bytes()
    raw = torch.load(path, weights_only=True)
    archive = _torch_archive(raw)
    odd_tensors = [torch.empty(0), torch.tensor(float("nan")), torch.ones(2, dtype=torch.complex64), torch.zeros(3, 0)]
    odd_tensors += [torch.zeros(1).expand(2**40), torch.eye(2).to_sparse(), torch.ones(1, dtype=torch.int64)]
    values = [*VALUES, *odd_tensors]

    def make(random: Random) -> bytes:
        match random.randrange(6):
            case 0:
                return spoiled(whole, random)
            case 1 | 2 | 3:
                return checkpoints.sealed(spoiled(archive, random))
            case 4:
                return checkpoints.sealed(spoiled_zip(archive, random))
            case _:
                return checkpoints.sealed(_torch_archive(spoiled_value(raw, random, values)))

    def read(given: bytes) -> None:
        path.write_bytes(given)
        loaded = checkpoints.load(path)
        experiment_of(loaded)
        evaluate(loaded, DATASET.test, device="cpu")

    read(whole)  # it is accepted before it is spoiled
    fuzz("checkpoint", make, read)


def _torch_archive(value: object) -> bytes:
    torch.save(value, buffer := io.BytesIO())
    return buffer.getvalue()


# ---- images


def test_cifar_files(fuzz: Fuzz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(cifar.ARCHIVES["cifar10"], train={"data_batch_1.bin": 2}, test={"test_batch.bin": 1})
    monkeypatch.setitem(cifar.ARCHIVES, "cifar10", small)
    archive = write_archive(small, tmp_path, members(small))
    monkeypatch.setitem(cifar.ARCHIVES, "cifar10", archive)
    packed = (place := tmp_path / archive.file).read_bytes()
    cifar.load_cifar("cifar10", tmp_path)
    records = (kept := tmp_path / f"{archive.folder}.records").read_bytes()
    headers = gzip.decompress(packed)

    def make(random: Random) -> bytes:
        match random.randrange(4):
            case 0:
                return b"archive" + spoiled(packed, random, [packed])
            case 1:
                return b"archive" + gzip.compress(spoiled(headers, random, [headers]), compresslevel=1)
            case 2:
                return b"archive" + gzip.compress(spoiled_tar(headers, random), compresslevel=1)
            case _:
                content = spoiled(records, random)
                return b"records" + (_with_digests(content) if random.random() < 0.5 else content)

    def _with_digests(content: bytes) -> bytes:
        train, test = content[64:-3073], content[-3073:]
        return hashlib.sha256(train).digest() + hashlib.sha256(test).digest() + train + test

    def read(given: bytes) -> None:
        kind, content = given[:7], given[7:]
        if kind == b"records":
            place.write_bytes(packed)
            kept.write_bytes(content)
            monkeypatch.setitem(cifar.ARCHIVES, "cifar10", archive)
        else:
            place.write_bytes(content)
            kept.unlink(missing_ok=True)
            facts = {"size": len(content), "md5": hashlib.md5(content).hexdigest()}
            monkeypatch.setitem(cifar.ARCHIVES, "cifar10", replace(archive, **facts))
        cifar.load_cifar("cifar10", tmp_path)

    fuzz("CIFAR files", make, read)


def test_image_files(fuzz: Fuzz, tmp_path: Path) -> None:
    sources = every_kind()
    pixels = np.empty((3, 16, 16), np.uint8)
    file = ImageFile("image", 0, 0)
    path = tmp_path / file.name

    def make(random: Random) -> bytes:
        content = spoiled(random.choice(sources), random, sources)
        return with_png_checksums(content) if random.random() < 0.7 else content

    def read(given: bytes) -> None:
        path.write_bytes(given)
        is_image(path)
        default_image_size(tmp_path, [file], _silent)
        (content,) = decode_files(tmp_path, [file], [pixels])
        if isinstance(content, BadImage):
            raise Refused(str(content))

    fuzz("image", make, read)


def test_image_caches(fuzz: Fuzz, tmp_path: Path) -> None:
    for number in range(2):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    files = [ImageFile(f"{number}.png", (tmp_path / f"{number}.png").stat().st_size, 0) for number in range(2)]
    path = tmp_path / "cache.images"
    expected, _ = read_images(tmp_path, files, 8, path=path, notice=_silent)
    whole = path.read_bytes()
    header, body = whole.split(b"\n", 1)
    facts, pixels = json.loads(header), body[:-32]

    def sealed(content: bytes) -> bytes:
        return content + hashlib.sha256(content).digest()

    def make(random: Random) -> bytes:
        match random.randrange(3):
            case 0:
                return spoiled(whole, random)
            case 1:
                return sealed(spoiled(whole[:-32], random))
            case _:
                return sealed(_json(spoiled_value(facts, random)) + b"\n" + pixels)

    def read(given: bytes) -> None:
        path.write_bytes(given)
        notices: list[str] = []
        found, contents = read_images(tmp_path, files, 8, path=path, notice=notices.append)
        assert found.shape == expected.shape and len(contents) == len(files)
        if notices:
            raise Refused(notices[0])

    fuzz("image cache", make, read)
