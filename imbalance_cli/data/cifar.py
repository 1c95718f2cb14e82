"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): the official binary archives, read without unpacking them."""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from os.path import getsize, isdir, isfile  # unlike Path's, false where a folder may not be read
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from imbalance_cli.data.download import Report, fetch, md5_of, silent
from imbalance_cli.errors import DataError, SettingError, WriteError, did_you_mean
from imbalance_cli.files import remove_unfinished, whole_file

if TYPE_CHECKING:  # `download` does without torch
    from imbalance_cli.data.image_set import Dataset, ImageSet

PIXEL_BYTES = 3 * 32 * 32
# Bytes that a text file beside the images may have, and all headers together. Python before 3.11.10 takes quadratic
# time for some headers (CVE-2024-6232): seconds for this many bytes, hours for a mebibyte.
SMALL = 1 << 16
DIGEST_BYTES = 32
UNREADABLE = (gzip.BadGzipFile, tarfile.TarError, zlib.error, ValueError, OverflowError, RecursionError)

CIFAR10_CLASSES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
CIFAR100_CLASSES = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel
    can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
    dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
    lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree
    pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea
    seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table
    tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman
    worm
    """.split()
)


@dataclass(frozen=True)
class Archive:
    """An official archive and what is in it.

    train, test: records per file. A record is `label_bytes` of labels, the class last, then the pixels: red,
    green, blue, each row by row. names_file lists the class names; pickled_folder is what the "python"
    version of the same data unpacks to.
    """

    url: str
    size: int  # bytes
    md5: str
    folder: str
    train: Mapping[str, int]
    test: Mapping[str, int]
    label_bytes: int
    names_file: str
    class_names: tuple[str, ...]
    pickled_folder: str

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def record_bytes(self) -> int:
        return self.label_bytes + PIXEL_BYTES

    def sizes(self) -> dict[str, int]:
        """Bytes of each file with images."""
        return {file: records * self.record_bytes for file, records in {**self.train, **self.test}.items()}


ARCHIVES = {
    "cifar10": Archive(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        size=170_052_171,
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        folder="cifar-10-batches-bin",
        train={f"data_batch_{number}.bin": 10_000 for number in range(1, 6)},
        test={"test_batch.bin": 10_000},
        label_bytes=1,
        names_file="batches.meta.txt",
        class_names=CIFAR10_CLASSES,
        pickled_folder="cifar-10-batches-py",
    ),
    "cifar100": Archive(
        url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        size=168_513_733,
        md5="03b5dce01913d631647c71ecec9e9cb8",
        folder="cifar-100-binary",
        train={"train.bin": 50_000},
        test={"test.bin": 10_000},
        label_bytes=2,  # the superclass, then the class
        names_file="fine_label_names.txt",
        class_names=CIFAR100_CLASSES,
        pickled_folder="cifar-100-python",
    ),
}


def download(
    name: str, data_dir: Path, *, mirrors: Sequence[str] = (), timeout: float = 30.0, report: Report = silent
) -> Path:
    """Fetch the archive of `name` into `data_dir` and return its path; without a request if it is there.

    `mirrors` are folders, or whole addresses, to fetch from instead of the official site, tried in order.
    Raises what `download.fetch` raises, and SettingError for an unknown name.
    """
    archive = archive_of(name)
    urls = [url if url.endswith(archive.file) else f"{url.rstrip('/')}/{archive.file}" for url in mirrors]
    target = data_dir / archive.file
    fetch(urls or [archive.url], target, size=archive.size, md5=archive.md5, timeout=timeout, report=report)
    return target


def is_downloaded(name: str, data_dir: Path) -> bool:
    """Whether `data_dir` holds the archive of `name`, or it unpacked; by names and sizes only."""
    archive = archive_of(name)
    return any(_is_complete(archive, place) for place in _places(archive, data_dir))


def load_cifar(name: str, data_dir: Path) -> "Dataset":
    """Both splits of `name` from the archive in `data_dir`, or from a folder that it was unpacked to.

    `data_dir` may also be that folder. Raises DataError if the data are missing or damaged, and SettingError
    for an unknown name.
    """
    archive = archive_of(name)
    place = _find(name, archive, data_dir)
    try:
        records = _read_folder(archive, place) if isdir(place) else _read_archive(archive, place)
        train = _image_set(archive, records.train, "training")
        test = _image_set(archive, records.test, "test")
    except _Damaged as damage:
        cure = f"`imbalance download {name}` fetches the official archive"
        raise DataError(f"{place}: {damage}; {cure}") from damage
    except OSError as error:
        raise DataError(f"cannot read {error.filename or place}: {error.strerror or error}") from error
    from imbalance_cli.data.image_set import Dataset  # only here: a bad archive is refused without waiting for torch

    return Dataset(name, f"sha256:{records.digests[0].hex()}", train, test)


def archive_of(name: str) -> Archive:
    """The archive called `name`. Raises SettingError with the nearest name."""
    if name not in ARCHIVES:
        raise SettingError(f"no downloadable dataset {name!r}{did_you_mean(name, ARCHIVES)}")
    return ARCHIVES[name]


def _places(archive: Archive, data_dir: Path) -> list[Path]:
    """The archive, and the folders with at least one of its files, that are there."""
    folders = [data_dir / archive.folder, data_dir]
    unpacked = [folder for folder in folders if any(isfile(folder / file) for file in archive.sizes())]
    packed = data_dir / archive.file
    return [packed, *unpacked] if isfile(packed) else unpacked


def _is_complete(archive: Archive, place: Path) -> bool:
    if isfile(place):
        return getsize(place) == archive.size
    sizes = archive.sizes().items()
    return all(isfile(place / file) and getsize(place / file) == size for file, size in sizes)


def _find(name: str, archive: Archive, data_dir: Path) -> Path:
    """The place to read from: a complete one, else one whose reading will say what is wrong with it."""
    places = _places(archive, data_dir)
    for place in places:
        if _is_complete(archive, place):
            return place
    if places:
        return places[0]
    cure = f"`imbalance download {name}` fetches it"
    if pickled := _pickled(archive, data_dir):
        raise DataError(f"{pickled}: refused, because its pickles could run any code; {cure} in binary")
    raise DataError(f"no {name} in {data_dir}; {cure}, --data-dir says where it is")


def _pickled(archive: Archive, data_dir: Path) -> Path | None:
    """The "python" version of the data in `data_dir`, known by its names alone."""
    if isdir(folder := data_dir / archive.pickled_folder):
        return folder
    names = [archive.file.replace("binary", "python"), *(PurePosixPath(file).stem for file in archive.train)]
    return next((data_dir / name for name in names if isfile(data_dir / name)), None)


class _Damaged(Exception):
    """What is wrong with an archive or folder; `load_cifar` adds where and how to cure it."""


@dataclass(frozen=True)
class _Records:
    """Both splits as they are in the archive, record after record."""

    train: bytearray
    test: bytearray

    @cached_property
    def digests(self) -> tuple[bytes, bytes]:
        return hashlib.sha256(self.train).digest(), hashlib.sha256(self.test).digest()


def _image_set(archive: Archive, records: bytearray, split: str) -> "ImageSet":
    import torch

    from imbalance_cli.data.image_set import ImageSet

    table = torch.frombuffer(records, dtype=torch.uint8).view(-1, archive.record_bytes)
    labels = table[:, archive.label_bytes - 1].long()
    classes = len(archive.class_names)
    wrong = (labels >= classes).nonzero().flatten().tolist()
    if wrong:
        found = f"{split} image {wrong[0]} has label {labels[wrong[0]]}"
        raise _Damaged(f"{found}, expected 0 to {classes - 1}")
    images = table[:, archive.label_bytes :].contiguous().view(-1, 3, 32, 32)
    return ImageSet(images, labels, archive.class_names, tuple(map(str, range(len(labels)))))


def _read_folder(archive: Archive, folder: Path) -> _Records:
    contents = {}
    for file, size in [*archive.sizes().items(), (archive.names_file, None)]:
        path = folder / file
        if not isfile(path):
            raise _Damaged(f"{file} is missing")
        _check_size(file, getsize(path), size)
        contents[file] = path.read_bytes()
    return _assemble(archive, contents)


def _read_archive(archive: Archive, path: Path) -> _Records:
    """The records in the archive at `path`, kept beside it after the first time: unpacking takes seconds."""
    cache = path.with_name(f"{archive.folder}.records")
    records = _read_cache(archive, cache)
    if records is None:
        records = _assemble(archive, _members(archive, path))
        found = md5_of(path)
        if found != archive.md5:
            raise _Damaged(f"differs from its checksum: MD5 {found}, expected {archive.md5}")
        # a folder that others share may be read-only: then every start unpacks
        with suppress(WriteError):
            _write_cache(records, cache)
    return records


def _read_cache(archive: Archive, path: Path) -> _Records | None:
    """What `_write_cache` kept at `path`; None if it is not there, or not as it was written."""
    train, test = (sum(split.values()) * archive.record_bytes for split in (archive.train, archive.test))
    try:
        with path.open("rb") as file:
            header = file.read(2 * DIGEST_BYTES)
            records = _Records(bytearray(train), bytearray(test))
            file.readinto(records.train)
            file.readinto(records.test)
    except OSError:
        return None
    return records if b"".join(records.digests) == header else None


def _write_cache(records: _Records, path: Path) -> None:
    remove_unfinished(path)
    with whole_file(path) as file:
        for part in (*records.digests, records.train, records.test):
            file.write(part)


def _assemble(archive: Archive, contents: dict[str, bytes]) -> _Records:
    found = contents[archive.names_file].decode("ascii", "replace").split()
    for number, (name, expected) in enumerate(zip_longest(found, archive.class_names)):
        if name != expected:
            raise _Damaged(f"{archive.names_file} calls class {number} {name!r}, expected {expected!r}")
    train = bytearray().join(contents.pop(file) for file in archive.train)
    return _Records(train, bytearray().join(contents.pop(file) for file in archive.test))


def _members(archive: Archive, path: Path) -> dict[str, bytes]:
    """The wanted files of the archive at `path`, by exact name and size; nothing is written anywhere."""
    folder = f"{archive.folder}/"
    sizes: dict[str, int | None] = {folder + file: size for file, size in archive.sizes().items()}
    sizes[folder + archive.names_file] = None
    bounded = _Bounded(path)
    contents: dict[str, bytes] = {}
    try:
        with bounded, tarfile.open(fileobj=bounded, mode="r|") as tar:
            for member in tar:
                _check_member(member, sizes)
                if member.name in contents:
                    raise _Damaged(f"member {ascii(member.name)} is there twice")
                if member.name in sizes:
                    bounded.limit += member.size
                    contents[member.name] = cast(IO[bytes], tar.extractfile(member)).read()
    except EOFError:
        raise _Damaged("the archive ends early") from None
    except UNREADABLE as error:
        raise _Damaged(f"not a tar.gz archive, or a damaged one: {ascii(str(error))}") from error
    if missing := [name for name in sizes if name not in contents]:
        raise _Damaged(f"member {missing[0]!r} is missing")
    return {name.removeprefix(folder): content for name, content in contents.items()}


class _Bounded(gzip.GzipFile):
    """A compressed file that gives little more than was agreed to, so that none can fill memory or time."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.limit = SMALL  # for headers and all that is not wanted

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > self.limit:
            raise _Damaged(f"unpacks to more than the limit of {self.limit} bytes")
        return super().read(size)


def _check_member(member: tarfile.TarInfo, sizes: Mapping[str, int | None]) -> None:
    """Refuse what the official archives do not have; `sizes` are the wanted members, None for a text file."""
    name, path = f"member {ascii(member.name)}", PurePosixPath(member.name)
    if member.issym() or member.islnk():
        raise _Damaged(f"{name} is a link")
    if path.is_absolute() or ".." in path.parts:
        raise _Damaged(f"{name} lies outside the archive's folder")
    if len(member.name) > 255 or not member.name.isascii() or not member.name.isprintable():
        raise _Damaged(f"{name} has no plain name")
    if member.isdir() and member.name not in sizes:
        return
    if not member.isreg() or member.issparse():
        raise _Damaged(f"{name} is no plain file")
    _check_size(name, member.size, sizes.get(member.name))


def _check_size(name: str, found: int, expected: int | None) -> None:
    if expected is not None and found != expected:
        raise _Damaged(f"{name} has {found} bytes, expected {expected}")
    if expected is None and not 0 <= found <= SMALL:
        raise _Damaged(f"{name} has {found} bytes, the limit is {SMALL}")
