"""Checkpoints: one file with everything that evaluating or resuming needs, verified before it is read."""

import hashlib
import io
import math
import os
import stat
import sys
import warnings
import zipfile
from contextlib import suppress
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import Sequential

from imbalance_cli import __version__
from imbalance_cli.config import Experiment
from imbalance_cli.data.batches import Normalisation
from imbalance_cli.data.manifest import Manifest
from imbalance_cli.errors import CheckpointError, DamageError, is_out_of_memory
from imbalance_cli.files import write_file
from imbalance_cli.models import MODELS, build_model

FORMAT = 1

# A checkpoint is the zip file that torch.save makes, with the SHA-256 of its bytes as the comment at its end: any
# program that reads torch files reads it, and a flipped bit anywhere shows before anything is interpreted.
_MARK = b"imbalance sha256:"
_COMMENT = len(_MARK) + 64
_ZIP, _ZIP_END = b"PK\x03\x04", b"PK\x05\x06"
_HEAD = 512  # bytes that tell what kind of file another program's is
_DEEPEST = 50  # containers in containers


@dataclass(config=ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True))
class Checkpoint:
    """A model in training or trained, with plain data only; it builds only from well-typed values.

    weights, optimizer, random_state: as torch gives them, the last two for resuming; progress: where training
    stands and the log so far; config: the resolved experiment; manifest: the fields of the subset's Manifest;
    counts: training images per class, validation left out; operating_points: decision rules by name, each with
    its offsets per class; calibration: the temperature found on validation, or None and the reason, and the reference,
    logits per class, that an image gets which says nothing about its class; test_digest: that of the run's test
    images, None where a recipe draws them or it is not known.
    """

    weights: dict[str, Tensor]
    model: dict[str, Any]
    class_names: list[str]
    counts: list[int]
    image_size: Annotated[int, Field(ge=8, le=1024)]
    normalisation: Normalisation
    config: dict[str, Any]
    manifest: dict[str, Any]
    operating_points: dict[str, dict[str, Any]] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    random_state: dict[str, Tensor] = field(default_factory=dict)
    test_digest: str | None = None

    @property
    def minority(self) -> int:
        """The class with the fewest images in the subset, validation included; of equals the last."""
        counts = [len(items) for items in self.manifest["items"].values()]
        return max(range(len(counts)), key=lambda index: (-counts[index], index))

    def build(self) -> Sequential:
        """The model with these weights, in evaluation mode on the CPU."""
        model = self.untrained()
        model.load_state_dict(self.weights)
        return model.eval()

    def untrained(self) -> Sequential:
        """The model with weights of its own, on the CPU."""
        choice = dict(self.model)
        if "pretrained" in MODELS.get(choice["name"]).options:
            choice["pretrained"] = False  # the weights are here; nothing to fetch
        return build_model(choice, len(self.class_names), self.image_size, seed=0)


def save(checkpoint: Checkpoint, path: Path, *, previous: Path | None = None) -> None:
    """Write `checkpoint` to `path`, whole or not at all. Raises WriteError.

    previous: the name under which the save that was at `path` is kept. At every instant one of the two is whole.
    """
    buffer = io.BytesIO()
    torch.save({"imbalance_checkpoint": FORMAT, **_plain(checkpoint)}, buffer)
    write_file(path, sealed(buffer.getvalue()), previous=previous)


def load(path: Path) -> Checkpoint:
    """The checkpoint at `path`, a file or a run folder that holds one.

    Raises CheckpointError, and of these DamageError if it has not the checksum that it was written with.
    Nothing of it is interpreted before its checksum is verified, nothing in it can run code or take more memory than
    the file is long, and what comes back is complete: settings, subset and weights fit the model and each other.
    """
    path = _file(path)
    content = _read(path)
    _verify(content, path)
    try:
        _refuse_packed_entries(content, path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, on what a strange file holds; it is judged here
            raw = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if _unfolded(raw, {}) > len(content):
            raise CheckpointError(f"{path} is damaged: its containers are shared, and unfold to more than the file")
        _check_format(raw.pop("imbalance_checkpoint"), path)
        normalisation = Normalisation(**{name: tuple(values) for name, values in raw.pop("normalisation").items()})
        checkpoint = Checkpoint(**raw, normalisation=normalisation)
        _check_fields(checkpoint, path)
        _check_weights(checkpoint, path, len(content))
        return checkpoint
    except CheckpointError:
        raise
    except Exception as error:  # a file with a right checksum that `save` did not write; torch's advice would mislead
        if is_out_of_memory(error):
            raise
        raise CheckpointError(
            f"{path} is not a checkpoint that `imbalance train` wrote: {_suspect(content)}"
        ) from error


def sealed(archive: bytes) -> bytes:
    """`archive`, a zip file without a comment, with its SHA-256 as the comment."""
    comment = _MARK + hashlib.sha256(archive).hexdigest().encode()
    return archive[:-2] + len(comment).to_bytes(2, "little") + comment  # the last two bytes are its length, 0 so far


def _file(path: Path) -> Path:
    """The checkpoint file that `path`, a file or the folder of a run, stands for. Raises CheckpointError."""
    file = path / "checkpoint.pt" if os.path.isdir(path) else path
    if os.path.exists(file) or os.path.islink(file):
        return file
    place = f"{path} does not exist" if file == path else f"{path} is a folder that holds no {file.name}"
    raise CheckpointError(f"{place}; give a checkpoint or the folder of a run")


def _read(path: Path) -> bytes:
    """The file `path` as it was at one moment. Raises CheckpointError, for another program's file before reading it."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            raise CheckpointError(f"{path} is not a regular file; give a checkpoint or the folder of a run")
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            start = file.read(_HEAD)
            file.seek(max(0, before.st_size - _COMMENT))
            end = file.read()
            if start and not end.startswith(_MARK):
                raise DamageError(f"{path} {_what_else(start, end)}")
            file.seek(0)
            content = file.read()
            after = os.fstat(file.fileno())
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(content) != after.st_size:
        raise CheckpointError(f"{path} changed while it was read; try again when nothing writes it")
    return content


def _what_else(start: bytes, end: bytes) -> str:
    """What a file is that begins and ends so, without our checksum; nothing more of it is looked at."""
    if start.startswith(_ZIP) and _ZIP_END not in end:
        return "is truncated or damaged: its checksum is missing"
    if start.startswith(_ZIP):
        return (
            "is not a checkpoint that `imbalance train` wrote: it has no imbalance header and is refused unread; "
            "expected weights only (those of another tool can be put into a Checkpoint in Python, and "
            "imbalance_cli.checkpoints.save writes it)"
        )
    if start.startswith(b"\x80") or start[257:262] == b"ustar":
        return "is not a checkpoint that `imbalance train` wrote: a pickle or tar, a legacy format, is refused unread"
    return "is truncated or damaged, or not a checkpoint that `imbalance train` wrote: its checksum is missing"


def _verify(content: bytes, path: Path) -> None:
    if not content:
        raise DamageError(f"{path} is an empty file")
    archive = content[: -_COMMENT - 2] + b"\0\0"
    if content[-_COMMENT + len(_MARK) :] != hashlib.sha256(archive).hexdigest().encode():
        raise DamageError(f"{path} is damaged: its checksum differs")
    if content[-_COMMENT - 2 : -_COMMENT] != _COMMENT.to_bytes(2, "little"):
        raise DamageError(f"{path} is damaged: its checksum has another length")


def _refuse_packed_entries(content: bytes, path: Path) -> None:
    """Raise CheckpointError if reading the archive could take more memory than the file is long."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
    packed = [
        each for each in entries if each.compress_type != zipfile.ZIP_STORED or each.file_size > each.compress_size
    ]
    if packed:
        largest = max(packed, key=lambda entry: entry.file_size)
        raise CheckpointError(
            f"{path}: compressed entries are refused unread; {largest.filename} would grow from "
            f"{largest.compress_size:,} to {largest.file_size:,} bytes"
        )
    if sum(entry.file_size for entry in entries) > len(content):
        raise CheckpointError(f"{path} is damaged: its entries claim more bytes than the file has")


def _unfolded(value: Any, sizes: dict[int, int], depth: int = 0) -> int:
    """How many values are in `value`, a shared one counted wherever it is; of a cycle or a deep nest beyond measure.

    `save` shares no container, so each value takes at least a byte. sizes: what is known already, by id.
    """
    if not isinstance(value, (dict, list, tuple, set)):
        return 1
    if depth > _DEEPEST:
        return sys.maxsize
    if id(value) not in sizes:
        sizes[id(value)] = sys.maxsize  # found again before it is counted, it holds itself
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        sizes[id(value)] = 1 + sum(_unfolded(each, sizes, depth + 1) for each in inner)
    return sizes[id(value)]


def _check_format(found: Any, path: Path) -> None:
    if not isinstance(found, int):
        raise CheckpointError(f"{path} is damaged: its checkpoint format is no number")
    if found == FORMAT:
        return
    reads = f"{path} has checkpoint format {found}; imbalance {__version__} reads format {FORMAT}"
    if found > FORMAT:
        raise CheckpointError(f"{reads}; a later version wrote it: python -m pip install --upgrade imbalance-cli")
    raise CheckpointError(f"{reads}, the first that any version wrote; train again")


def _check_fields(checkpoint: Checkpoint, path: Path) -> None:
    """Complete the settings. Raise CheckpointError unless they and the subset are of this version and fit together."""
    try:
        # With its default, where a setting is newer than the checkpoint.
        checkpoint.config = Experiment.model_validate(checkpoint.config).model_dump()
        Experiment.model_validate(checkpoint.config | {"model": checkpoint.model})
        subset = Manifest(**checkpoint.manifest)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise CheckpointError(
            f"{path} is of another version of imbalance: {place}: {problem['msg'].lower()}"
        ) from error
    classes = len(checkpoint.class_names)
    if checkpoint.class_names != list(subset.items) or len(checkpoint.counts) != classes:
        raise CheckpointError(f"{path} is damaged: its {classes} classes are not those of its subset and counts")
    for name, point in checkpoint.operating_points.items():
        if not _is_rule(point, classes):
            raise CheckpointError(f"{path} is damaged: its operating point {name} has no number for each class")
    if checkpoint.calibration and not _is_calibration(checkpoint.calibration, classes):
        raise CheckpointError(f"{path} is damaged: its calibration has no temperature and number for each class")
    mean, std = checkpoint.normalisation.mean, checkpoint.normalisation.std
    if not (len(mean) == len(std) == 3 and all(map(math.isfinite, (*mean, *std))) and min(std) > 0):
        raise CheckpointError(f"{path} is damaged: it normalises images by mean {mean} and deviation {std}")


def _is_rule(point: dict[str, Any], classes: int) -> bool:
    """Whether an operating point has a number for each class, or none and the reason why."""
    offsets = point["offsets"]
    if offsets is None:
        return isinstance(point["reason"], str)
    numbers = [*offsets, point.get("tau", 1.0)]
    return len(offsets) == classes and all(isinstance(number, float) for number in numbers)


def _is_calibration(found: dict[str, Any], classes: int) -> bool:
    """Whether there is a temperature or None, and a reference with a number for each class."""
    numbers = [*found["reference"], 1.0 if found["temperature"] is None else found["temperature"]]
    are_finite = all(isinstance(number, float) and math.isfinite(number) for number in numbers)
    return len(numbers) == classes + 1 and are_finite and numbers[-1] > 0


def _check_weights(checkpoint: Checkpoint, path: Path, size: int) -> None:
    """Raise CheckpointError unless the weights are those of the model, each finite, and fit in `size` bytes."""
    with torch.device("meta"):  # shapes alone: a small file may name a model larger than the memory
        wanted, found = checkpoint.untrained().state_dict(), checkpoint.weights
    model = f"model {checkpoint.model['name']} for {len(checkpoint.class_names)} classes"
    for names, problem in ((wanted.keys() - found, "lacks"), (found.keys() - wanted, "holds, beside others,")):
        if names:
            listed = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
            raise CheckpointError(f"{path} does not fit its {model}: it {problem} {len(names)} weights ({listed})")
    for name, weight in wanted.items():
        given = found[name]
        given_kind, wanted_kind = _kind(given, given.device), _kind(weight, torch.device("cpu"))
        if given_kind != wanted_kind:
            raise CheckpointError(f"{path} does not fit its {model}: {name} is {given_kind}, not {wanted_kind}")
    if sum(weight.nbytes for weight in found.values()) > size:
        raise CheckpointError(f"{path} is damaged: its weights share their numbers, and unfold to more than the file")
    for name, given in found.items():
        if not given.isfinite().all():
            raise CheckpointError(f"{path} holds non-finite weights in layer {name}; train again, at a lower --lr")


def _kind(tensor: Tensor, device: torch.device) -> str:
    words = " ".join(str(kind).removeprefix("torch.") for kind in (tensor.dtype, tensor.layout, device))
    return f"{list(tensor.shape)} {words.removesuffix(' strided cpu')}"


def _suspect(content: bytes) -> str:
    """Why torch did not read an archive: what it names that is not plain data, as far as that can be told."""
    with suppress(Exception):
        if names := torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content)):
            return f"refused {', '.join(sorted(names)[:3])}; expected weights and plain data only"
    return "it is damaged, or holds something else"


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
