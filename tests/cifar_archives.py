"""Small CIFAR archives in the genuine format, for tests of downloading, reading and the commands."""

import hashlib
import io
import random
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from imbalance_cli.data.cifar import ARCHIVES, Archive

Member = tuple[str | tarfile.TarInfo, bytes]


def small_archive(name: str, folder: Path, records: int = 20) -> Archive:
    """Write an archive with `records` in each file of images, to be put into ARCHIVES as `name`."""
    official = ARCHIVES[name]
    archive = replace(
        official, train=dict.fromkeys(official.train, records), test=dict.fromkeys(official.test, records)
    )
    return write_archive(archive, folder, members(archive))


def files(archive: Archive) -> dict[str, bytes]:
    """What the archive unpacks to, classes in turn and pixels at random."""
    generator = random.Random(0)
    contents = {archive.names_file: "\n".join([*archive.class_names, ""]).encode()}
    for file, records in {**archive.train, **archive.test}.items():
        contents[file] = b"".join(
            bytes([0] * (archive.label_bytes - 1) + [number % len(archive.class_names)]) + generator.randbytes(3072)
            for number in range(records)
        )
    return contents


def members(archive: Archive) -> list[Member]:
    """The folder and its files, as the official archives hold them."""
    folder = tarfile.TarInfo(archive.folder)
    folder.type = tarfile.DIRTYPE
    return [
        (folder, b""),
        *((f"{archive.folder}/{file}", content) for file, content in files(archive).items()),
    ]


def write_archive(archive: Archive, folder: Path, members: Iterable[Member]) -> Archive:
    """Write `members` to the archive's file in `folder`; the archive with that file's size and MD5."""
    path = folder / archive.file
    with tarfile.open(path, "w:gz") as tar:
        for header, content in members:
            if isinstance(header, str):
                header = tarfile.TarInfo(header)
            header.size = header.size or len(content)
            tar.addfile(header, io.BytesIO(content))
    return replace(archive, size=path.stat().st_size, md5=hashlib.md5(path.read_bytes()).hexdigest())
