"""Checkpoints: one file with everything that evaluating or resuming needs, verified before it is read."""

import hashlib
import io
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Sequential

from imbalance_cli.data.batches import Normalisation
from imbalance_cli.errors import CheckpointError
from imbalance_cli.files import write_file
from imbalance_cli.models import MODELS, build_model

FORMAT = 1

# A checkpoint is the zip file that torch.save makes, with the SHA-256 of its bytes as the comment at its end: any
# program that reads torch files reads it, and a flipped bit anywhere shows before anything is interpreted.
_MARK = b"imbalance sha256:"
_COMMENT = len(_MARK) + 64


@dataclass
class Checkpoint:
    """A model in training or trained, with plain data only.

    weights, optimizer, random_state: as torch gives them, the last two for resuming; progress: where training
    stands and the log so far; config: the resolved experiment; manifest: the fields of the subset's Manifest;
    counts: training images per class, validation left out; operating_points: decision rules by name, each with
    its offsets per class.
    """

    weights: dict[str, Tensor]
    model: dict[str, Any]
    class_names: list[str]
    counts: list[int]
    image_size: int
    normalisation: Normalisation
    config: dict[str, Any]
    manifest: dict[str, Any]
    operating_points: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    random_state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def minority(self) -> int:
        """The class with the fewest images in the subset, validation included; of equals the last."""
        counts = [len(items) for items in self.manifest["items"].values()]
        return max(range(len(counts)), key=lambda index: (-counts[index], index))

    def build(self) -> Sequential:
        """The model with these weights, in evaluation mode on the CPU."""
        choice = dict(self.model)
        if "pretrained" in MODELS.get(choice["name"]).options:
            choice["pretrained"] = False  # its weights are here; nothing to fetch
        model = build_model(choice, len(self.class_names), self.image_size, seed=0)
        model.load_state_dict(self.weights)
        return model.eval()


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write `checkpoint` to `path`, whole or not at all. Raises WriteError."""
    buffer = io.BytesIO()
    torch.save({"imbalance_checkpoint": FORMAT, **_plain(checkpoint)}, buffer)
    write_file(path, sealed(buffer.getvalue()))


def load(path: Path) -> Checkpoint:
    """The checkpoint at `path`, a file or a run folder that holds one. Raises CheckpointError.

    Nothing of it is interpreted before its checksum is verified, and nothing in it can run code.
    """
    given, path = path, path / "checkpoint.pt" if os.path.isdir(path) else path
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        place = f"{given} does not exist" if given == path else f"{given} holds no {path.name}"
        raise CheckpointError(f"{place}; give a checkpoint or the folder of a run") from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    _verify(content, path)
    try:
        raw = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if raw.pop("imbalance_checkpoint") != FORMAT:
            raise CheckpointError(f"{path} has another format than {FORMAT}, which this version reads")
        normalisation = Normalisation(*map(tuple, raw.pop("normalisation").values()))
        return Checkpoint(**raw, normalisation=normalisation)
    except CheckpointError:
        raise
    except Exception as error:  # a file with a right checksum that `save` did not write; torch's advice would mislead
        raise CheckpointError(f"{path} is not a checkpoint that `imbalance train` wrote") from error


def sealed(archive: bytes) -> bytes:
    """`archive`, a zip file without a comment, with its SHA-256 as the comment."""
    comment = _MARK + hashlib.sha256(archive).hexdigest().encode()
    return archive[:-2] + len(comment).to_bytes(2, "little") + comment  # the last two bytes are its length, 0 so far


def _verify(content: bytes, path: Path) -> None:
    if not content:
        raise CheckpointError(f"{path} is an empty file")
    comment = content[-_COMMENT:]
    if not comment.startswith(_MARK):
        raise CheckpointError(
            f"{path} is truncated, damaged or not a checkpoint that `imbalance train` wrote: its checksum is missing"
        )
    archive = content[: -_COMMENT - 2] + b"\0\0"
    if comment[len(_MARK) :] != hashlib.sha256(archive).hexdigest().encode():
        raise CheckpointError(f"{path} is damaged: its checksum differs")
    if content[-_COMMENT - 2 : -_COMMENT] != _COMMENT.to_bytes(2, "little"):
        raise CheckpointError(f"{path} is damaged: its checksum has another length")


def _plain(checkpoint: Checkpoint) -> dict[str, Any]:
    plain = {name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__}
    return _canonical(plain | {"normalisation": asdict(checkpoint.normalisation)})  # type: ignore[no-any-return]


def _canonical(value: Any) -> Any:
    """`value` built anew, equal texts being one object and nothing else shared.

    Pickle writes an object that it has seen before as a reference. So without this, equal checkpoints of a run
    and of the same run resumed would differ in their bytes.
    """
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {_canonical(key): _canonical(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_canonical(inner) for inner in value)
    return value
