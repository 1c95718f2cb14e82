"""Checkpoints: self-contained, plain torch files, and refused when anything about them is wrong."""

import collections
import hashlib
import io
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import complaint

from imbalance_cli import checkpoints
from imbalance_cli.errors import CheckpointError
from imbalance_cli.models import MODELS

Edit = Callable[[dict[str, Any]], object]


def test_a_checkpoint_is_self_contained(finished_run: Path) -> None:
    loaded = checkpoints.load(finished_run)
    assert loaded.class_names == ["common", "rare"]
    assert loaded.counts == [96, 19]
    assert loaded.config["loss"]["name"] == "cross_entropy"
    assert loaded.build()(torch.zeros(1, 3, 16, 16)).shape == (1, 2)
    assert loaded.optimizer and loaded.random_state and loaded.operating_points["argmax"]["offsets"] == [0, 0]


def test_it_is_an_ordinary_torch_file_of_plain_data(finished_run: Path) -> None:
    raw = torch.load(finished_run / "checkpoint.pt", weights_only=True)
    assert raw["imbalance_checkpoint"] == 1
    with zipfile.ZipFile(finished_run / "checkpoint.pt") as archive:
        assert archive.testzip() is None


def test_saving_again_gives_the_same_bytes(finished_run: Path, tmp_path: Path) -> None:
    checkpoints.save(checkpoints.load(finished_run), tmp_path / "again.pt")
    assert (tmp_path / "again.pt").read_bytes() == (finished_run / "checkpoint.pt").read_bytes()


# What is refused. `refused` and `complains` also check that the message is one line of ours that names the file.


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    assert "weights_only" not in message  # torch's advice on unsafe loading is not ours
    return message


def complains(path: Path) -> str:
    """The message of `imbalance evaluate`, which ends with exit code 4 and changes nothing."""
    before = path.read_bytes() if path.is_file() else None
    told = complaint("evaluate", path, exit_code=4)
    assert told == refused(path)
    assert before is None or path.read_bytes() == before
    return told


@pytest.mark.fault("K01", "K02", "K03")
def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    assert "does not exist; give a checkpoint or the folder of a run" in complains(tmp_path / "nowhere" / "x.pt")
    (tmp_path / "empty.pt").touch()
    assert "is an empty file" in complains(tmp_path / "empty.pt")
    assert "is a folder that holds no checkpoint.pt" in complains(tmp_path)
    os.mkfifo(tmp_path / "pipe.pt")
    assert "is not a regular file" in complains(tmp_path / "pipe.pt")


@pytest.mark.fault("K22")
def test_a_file_that_may_not_be_read_is_named(finished_run: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "x.pt"
        shutil.copy(finished_run / "checkpoint.pt", path)
        path.chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # root may read everything
        try:
            assert complaint("evaluate", path, exit_code=4) == f"cannot read {path}: permission denied"
        finally:
            os.seteuid(user)


@pytest.mark.fault("K04")
@pytest.mark.parametrize("cut", ["half", "all but the start", "one byte", "one byte more"])
def test_a_truncated_or_extended_file_is_refused(finished_run: Path, tmp_path: Path, cut: str) -> None:
    content = (finished_run / "checkpoint.pt").read_bytes()
    wrong = {
        "half": content[: len(content) // 2],
        "all but the start": content[:100],
        "one byte": content[:-1],
        "one byte more": content + b"\0",
    }[cut]
    (tmp_path / "x.pt").write_bytes(wrong)
    assert "is truncated or damaged" in complains(tmp_path / "x.pt")


def flip(path: Path, position: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))


@pytest.mark.fault("K06")
def test_one_flipped_bit_in_a_weight_is_noticed(finished_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    shutil.copy(finished_run / "checkpoint.pt", path)
    weight = checkpoints.load(path).weights["classifier.weight"].numpy().tobytes()
    flip(path, path.read_bytes().index(weight), 0)
    assert complains(path) == f"{path} is damaged: its checksum differs"


def test_flipped_bits_are_noticed_wherever_they_are(finished_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    shutil.copy(finished_run / "checkpoint.pt", path)
    size = path.stat().st_size
    for position in [*range(0, size, size // 300), *range(size - 110, size)]:
        flip(path, position, position % 8)
        assert "damaged" in refused(path)
        flip(path, position, position % 8)


@pytest.mark.slow
def test_every_flipped_bit_is_noticed(finished_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    shutil.copy(finished_run / "checkpoint.pt", path)
    for position in range(path.stat().st_size):
        for bit in range(8) if position % 16 == 0 else [position % 8]:
            flip(path, position, bit)
            refused(path)
            flip(path, position, bit)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch PWNED",)


def torch_file(value: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def legacy_tar() -> bytes:
    """The form of CVE-2025-32434: torch's oldest, a tar file of pickles."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = pickle.dumps(Malicious(), 2)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("sealed", [False, True], ids=["as it is", "with our checksum"])
@pytest.mark.parametrize(
    ("make", "words", "words_sealed"),
    [
        pytest.param(
            lambda: torch_file(Malicious()), "is refused unread", "refused posix.system", marks=pytest.mark.fault("K07")
        ),
        pytest.param(
            lambda: torch_file(Malicious(), _use_new_zipfile_serialization=False),
            "a legacy format, is refused unread",
            "not a checkpoint",
            marks=pytest.mark.fault("K08"),
        ),
        pytest.param(
            legacy_tar, "a legacy format, is refused unread", "not a checkpoint", marks=pytest.mark.fault("K08")
        ),
        (lambda: pickle.dumps(Malicious()), "a legacy format, is refused unread", "not a checkpoint"),
        pytest.param(
            lambda: torch_file(torch.nn.Linear(2, 2)),
            "refused unread; expected weights only",
            "refused torch.nn.modules.linear.Linear; expected weights and plain data only",
            marks=pytest.mark.fault("K12"),
        ),
        pytest.param(
            lambda: torch_file(torch.nn.Linear(2, 2).state_dict()),
            "has no imbalance header and is refused unread; expected weights only (those of another tool can be put",
            "not a checkpoint",
            marks=pytest.mark.fault("K13"),
        ),
        pytest.param(
            lambda: torch_file({"imbalance_checkpoint": 1, "best": np.float64(0.5)}),
            "is refused unread",
            "refused numpy",
            marks=pytest.mark.fault("K24"),
        ),
        (lambda: b"MZ" + bytes(1000), "or not a checkpoint", "not a checkpoint"),
    ],
    ids=["zip", "legacy pickle", "legacy tar", "pickle", "module", "state_dict", "numpy", "program"],
)
def test_files_of_others_are_refused_and_run_no_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], bytes],
    words: str,
    words_sealed: str,
    sealed: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pt"
    content = make()
    padding = b"" if content.startswith(b"PK") else b"\0\0"  # a zip file ends with the two bytes that sealing replaces
    path.write_bytes(checkpoints.sealed(content + padding) if sealed else content)
    told = complains(path)
    assert "not a checkpoint that `imbalance train` wrote" in told
    assert (words_sealed if sealed else words) in told
    assert not (tmp_path / "PWNED").exists()


# Well sealed, but not what `save` writes: each is made from the finished run's checkpoint.


def changed(run: Path, path: Path, edit: Edit) -> Path:
    """The run's checkpoint with its fields edited and its checksum right, at `path`."""
    raw = torch.load(run / "checkpoint.pt", weights_only=True)
    edit(raw)
    path.write_bytes(checkpoints.sealed(torch_file(raw)))
    return path


def repacked(run: Path, path: Path, edit: Callable[[bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """The run's checkpoint with the bytes of its pickle edited and its checksum right, at `path`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(run / "checkpoint.pt") as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, edit(old.read(name)) if name.endswith("/data.pkl") else old.read(name))
    path.write_bytes(checkpoints.sealed(buffer.getvalue()))
    return path


def test_these_ways_to_make_a_file_keep_a_good_one_good(finished_run: Path, tmp_path: Path) -> None:
    checkpoints.load(changed(finished_run, tmp_path / "x.pt", lambda raw: raw))
    checkpoints.load(repacked(finished_run, tmp_path / "x.pt", lambda content: content))


@pytest.mark.fault("K09")
def test_sizes_that_lie_and_structures_that_do_not_fit_are_refused(finished_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    start = b"\x80\x02}q\x00("
    repacked(finished_run, path, lambda content: content.replace(start, b"\x80\x02]q\x00(", 1))
    assert "damaged" in complains(path)  # items are set in a list instead of a dictionary

    def elements(content: bytes) -> bytes:
        size = content.index(b"cpuq") + 4 + 1  # ... 'cpu', its place in the memory, the number of elements
        assert content[size : size + 1] == b"K"
        return content[:size] + b"J\x00\xe1\xf5\x05" + content[size + 2 :]

    repacked(finished_run, path, elements)
    assert "damaged" in complains(path)


BOMB = """
import resource, sys
from pathlib import Path
from imbalance_cli import checkpoints
from imbalance_cli.errors import CheckpointError
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
try:
    checkpoints.load(Path(sys.argv[1]))
except CheckpointError as error:
    print(error)
assert peak() - before < 50, (before, peak())
"""


def test_compressed_entries_are_refused(finished_run: Path, tmp_path: Path) -> None:
    path = repacked(finished_run, tmp_path / "x.pt", bytes, compression=zipfile.ZIP_DEFLATED)
    assert "compressed entries are refused unread" in complains(path)


@pytest.mark.slow
@pytest.mark.fault("K10")
def test_a_compressed_bomb_is_refused_before_it_takes_memory(finished_run: Path, tmp_path: Path) -> None:
    bomb, buffer = tmp_path / "bomb.pt", io.BytesIO()
    with zipfile.ZipFile(finished_run / "checkpoint.pt") as old:
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
            for name in old.namelist():
                with new.open(name, "w") as entry:
                    for _ in range(100 if name.endswith("/data/0") else 0):
                        entry.write(bytes(4_000_000))
                    entry.write(b"" if name.endswith("/data/0") else old.read(name))
    bomb.write_bytes(checkpoints.sealed(buffer.getvalue()))
    assert bomb.stat().st_size < 4_000_000
    done = subprocess.run([sys.executable, "-c", BOMB, bomb], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{bomb}: compressed entries are refused unread" in done.stdout and "to 400,000,000 bytes" in done.stdout


@pytest.mark.fault("K16")
def test_another_format_says_which_version_reads_it(finished_run: Path, tmp_path: Path) -> None:
    old = changed(finished_run, tmp_path / "old.pt", lambda raw: raw.update(imbalance_checkpoint=0))
    assert "has checkpoint format 0; imbalance 0.1.0 reads format 1, the first that any version wrote" in complains(old)
    new = changed(finished_run, tmp_path / "new.pt", lambda raw: raw.update(imbalance_checkpoint=2))
    assert "reads format 1; a later version wrote it: python -m pip install --upgrade" in complains(new)


def many_classes(raw: dict[str, Any]) -> None:
    raw["weights"]["classifier.weight"] = torch.zeros(100, 16)
    raw["weights"]["classifier.bias"] = torch.zeros(100)


def ten_classes(raw: dict[str, Any]) -> None:
    many_classes(raw)
    raw["class_names"] = [f"class {number}" for number in range(10)]
    raw["counts"] = [5] * 10
    raw["manifest"]["items"] = {name: (f"{name}.png",) for name in raw["class_names"]}
    raw["operating_points"] = {"argmax": {"offsets": [0.0] * 10}}
    raw["calibration"] = {}


def without(*names: str) -> Edit:
    return lambda raw: [raw["weights"].pop(name) for name in names]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        pytest.param(
            ten_classes,
            "does not fit its model cnn for 10 classes: classifier.weight is [100, 16] float32, not [10, 16] float32",
            marks=pytest.mark.fault("K18"),
        ),
        (many_classes, "does not fit its model cnn for 2 classes: classifier.weight is [100, 16]"),
        pytest.param(
            without("classifier.weight", "classifier.bias"),
            "it lacks 2 weights (classifier.bias, classifier.weight)",
            marks=pytest.mark.fault("K20"),
        ),
        pytest.param(
            lambda raw: raw["weights"].update(head=torch.zeros(2)),
            "it holds, beside others, 1 weights (head)",
            marks=pytest.mark.fault("K20"),
        ),
        (lambda raw: raw["weights"].update({"classifier.bias": torch.zeros(2).double()}), "is [2] float64, not [2] fl"),
        (lambda raw: raw["weights"].update({"classifier.bias": torch.zeros(2).to_sparse()}), "float32 sparse_coo cpu"),
        pytest.param(
            lambda raw: raw["weights"]["classifier.bias"].fill_(float("nan")),
            "holds non-finite weights in layer classifier.bias",
            marks=pytest.mark.fault("K21"),
        ),
        (lambda raw: raw.pop("weights"), "is not a checkpoint that `imbalance train` wrote: it is damaged"),
        (lambda raw: raw.update(surprise=1), "it is damaged, or holds something else"),
        (lambda raw: raw.update(weights=3), "it is damaged, or holds something else"),
        (lambda raw: raw["class_names"].append("third"), "its 3 classes are not those of its subset and counts"),
        (lambda raw: raw["operating_points"]["argmax"].update(offsets=[0.0]), "its operating point argmax has no"),
        (lambda raw: raw["calibration"].update(reference=[0.0]), "its calibration has no temperature and number"),
        (lambda raw: raw["calibration"].update(temperature=-1.0), "its calibration has no temperature and number"),
        (lambda raw: raw["calibration"].update(temperature=float("nan")), "its calibration has no temperature and"),
        (lambda raw: raw["normalisation"].update(std=[0.0, 1.0, 1.0]), "it normalises images by mean"),
        (lambda raw: raw["config"].update(gravity=9.81), "is of another version of imbalance: gravity: extra inputs"),
        (
            lambda raw: raw["model"].update(name="gpt"),
            "is of another version of imbalance: model: value error, unknown",
        ),
        (lambda raw: raw["manifest"].update(seed="x"), "is of another version of imbalance: seed: "),
        (lambda raw: raw.update(image_size=10**9), "it is damaged, or holds something else"),
        # A view of one number as a trillion: comparing it would take a tebibyte.
        (
            lambda raw: raw.update(imbalance_checkpoint=torch.zeros(1).expand(2**40)),
            "its checkpoint format is no number",
        ),
        (lambda raw: raw["operating_points"]["argmax"].update(offsets=["a", "b"]), "its operating point argmax has no"),
        (lambda raw: raw["operating_points"]["prior"].update(tau="1"), "its operating point prior has no"),
        (lambda raw: raw["config"]["model"].update(width="x"), "is of another version of imbalance: model.width: "),
    ],
)
def test_what_does_not_fit_together_is_named(finished_run: Path, tmp_path: Path, edit: Edit, words: str) -> None:
    assert words in complains(changed(finished_run, tmp_path / "x.pt", edit))


def test_a_setting_that_is_newer_than_the_checkpoint_has_its_default(finished_run: Path, tmp_path: Path) -> None:
    older = changed(finished_run, tmp_path / "older.pt", lambda raw: raw["config"].pop("warmup"))
    assert checkpoints.load(older).config == checkpoints.load(finished_run).config


def test_a_dictionary_of_another_kind_is_refused(tmp_path: Path) -> None:
    for number, value in enumerate([[1], 1, None, collections.OrderedDict(imbalance_checkpoint=1)]):
        path = tmp_path / f"{number}.pt"
        path.write_bytes(checkpoints.sealed(torch_file(value)))
        assert "it is damaged, or holds something else" in complains(path)


@pytest.mark.fault("K23")
def test_a_file_that_changes_while_it_is_read_is_never_mixed(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (finished_run / "checkpoint.pt").read_bytes()
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            os.truncate(path, len(content) // 2)
            path.write_bytes(content)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        outcomes = set()
        for _ in range(300):
            try:
                weights = checkpoints.load(path).weights
                digest = hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in weights.values())).hexdigest()
                outcomes.add(digest)
            except CheckpointError as error:
                told = ("changed while it was read", "empty", "damaged", "no imbalance")
                assert any(word in str(error) for word in told), error
    finally:
        stop.set()
        writer.join()
    assert len(outcomes) <= 1

    path.write_bytes(content)
    monkeypatch.setattr(os, "fstat", _growing(path, os.fstat))
    assert "changed while it was read; try again when nothing writes it" in refused(path)


def _growing(path: Path, measure: Callable[[int], os.stat_result]) -> Callable[[int], os.stat_result]:
    """A measure of a file that somebody appends to whenever it is measured."""

    def measured(descriptor: int) -> os.stat_result:
        status = measure(descriptor)
        with path.open("ab") as file:
            file.write(b"\0")
        return status

    return measured


def wide(raw: dict[str, Any]) -> None:
    """A model of 2 GB, of which nothing is there."""
    raw.update(model={"name": "resnet32", "width": 1024, "dropout": 0.0, "classifier": "linear"}, weights={})


def one_number_many_times(raw: dict[str, Any]) -> None:
    """All weights of a larger model, of which a few bytes are there."""
    raw["model"]["width"] = 1024
    with torch.device("meta"):
        weights = MODELS.bind(raw["model"])(2, 16).state_dict()
    raw["weights"] = {
        name: torch.zeros((), dtype=weight.dtype).expand(weight.shape) for name, weight in weights.items()
    }


@pytest.mark.parametrize(("edit", "words"), [(wide, "it lacks"), (one_number_many_times, "its weights share")])
def test_a_small_file_that_claims_a_large_model_takes_no_memory(
    finished_run: Path, tmp_path: Path, edit: Edit, words: str
) -> None:
    path = changed(finished_run, tmp_path / "x.pt", edit)
    done = subprocess.run([sys.executable, "-c", BOMB, path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert words in done.stdout


def doubled(depth: int) -> list[Any]:
    """A list of `depth` lists that holds 2 ** depth values."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value, value]
    return value


def itself() -> list[Any]:
    value: list[Any] = []
    value += [value, value]
    return value


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [doubled(40), doubled(60), itself(), nested(60)], ids=["40", "60", "itself", "deep"])
def test_containers_that_unfold_without_end_are_refused_at_once(
    finished_run: Path, tmp_path: Path, value: object
) -> None:
    def edit(raw: dict[str, Any]) -> None:
        raw["config"]["loss"] = value

    assert "unfold to more than the file" in complains(changed(finished_run, tmp_path / "x.pt", edit))
