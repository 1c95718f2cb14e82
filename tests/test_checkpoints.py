"""Checkpoints: self-contained, plain torch files, and refused when anything about them is wrong."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from imbalance_cli import checkpoints
from imbalance_cli.errors import CheckpointError


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


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    assert "weights_only" not in message  # torch's advice on unsafe loading is not ours
    return message


def test_every_flipped_bit_is_noticed(finished_run: Path, tmp_path: Path) -> None:
    content = bytearray((finished_run / "checkpoint.pt").read_bytes())
    for position in [*range(0, len(content), len(content) // 300), *range(len(content) - 100, len(content))]:
        content[position] ^= 4
        (tmp_path / "x.pt").write_bytes(content)
        refused(tmp_path / "x.pt")
        content[position] ^= 4


def test_truncated_or_extended_files_are_refused(finished_run: Path, tmp_path: Path) -> None:
    content = (finished_run / "checkpoint.pt").read_bytes()
    for wrong in (content[:-1], content[: len(content) // 2], content[:100], content + b"\0"):
        (tmp_path / "x.pt").write_bytes(wrong)
        assert "damaged" in refused(tmp_path / "x.pt")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "nowhere" / "x.pt")
    (tmp_path / "empty.pt").touch()
    assert "is an empty file" in refused(tmp_path / "empty.pt")
    assert "holds no checkpoint.pt" in refused(tmp_path)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch PWNED",)


@pytest.mark.parametrize("kind", ["pickle", "torch", "torch with our checksum", "state_dict", "module"])
def test_files_of_others_are_refused_and_run_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pt"
    match kind:
        case "pickle":
            path.write_bytes(pickle.dumps(Malicious()))
        case "torch":
            torch.save(Malicious(), path)
        case "torch with our checksum":
            buffer = io.BytesIO()
            torch.save(Malicious(), buffer)
            path.write_bytes(checkpoints.sealed(buffer.getvalue()))
        case "state_dict":
            torch.save(torch.nn.Linear(2, 2).state_dict(), path)
        case "module":
            torch.save(torch.nn.Linear(2, 2), path)
    assert "not a checkpoint that `imbalance train` wrote" in refused(path)
    assert not (tmp_path / "PWNED").exists()
