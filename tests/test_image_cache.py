"""Decoded images are kept in a file that is used when it is whole and of these files, and never else."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from imbalance_cli.data import image_cache
from imbalance_cli.data.decode import BadImage, Content, ImageFile, decode_files


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for value in range(4):
        Image.new("RGB", (16, 16), (value, 0, 0)).save(folder / f"{value}.png")
    return folder


def listed(folder: Path) -> list[ImageFile]:
    facts = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    return [ImageFile(name, stat.st_size, stat.st_ctime_ns) for name, stat in facts]


def read(folder: Path, files: list[ImageFile] | None = None, size: int = 16) -> tuple[list[int], list[str]]:
    """The red value of each image, and what was said."""
    said: list[str] = []
    cache = folder.parent / "cache" / "a.images"
    pixels, contents = image_cache.read_images(folder, files or listed(folder), size, path=cache, notice=said.append)
    assert len(pixels) == sum(isinstance(content, Content) for content in contents)
    return pixels[:, 0, 0, 0].tolist(), said


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were really decoded."""
    names: list[str] = []

    def watched(
        root: Path, files: list[ImageFile], into: list[NDArray[np.uint8]], notice: Callable[[str], None]
    ) -> list[Content | BadImage]:
        names.extend(file.name for file in files)
        return decode_files(root, files, into, notice)

    monkeypatch.setattr(image_cache, "decode_files", watched)
    return names


def test_unchanged_files_are_decoded_once(photos: Path, decoded: list[str]) -> None:
    first = read(photos)
    assert len(decoded) == 4
    assert read(photos) == first == ([0, 1, 2, 3], [])
    assert len(decoded) == 4


def test_changed_and_new_files_are_decoded_again_and_vanished_ones_dropped(photos: Path, decoded: list[str]) -> None:
    read(photos)
    decoded.clear()
    (photos / "0.png").unlink()
    Image.new("RGB", (16, 16), (99, 0, 0)).save(photos / "2.png")
    Image.new("RGB", (16, 16), (7, 0, 0)).save(photos / "1b.png")
    assert read(photos)[0] == [1, 7, 99, 3]
    assert decoded == ["1b.png", "2.png"]
    decoded.clear()
    assert read(photos)[0] == [1, 7, 99, 3]
    assert decoded == []


def test_the_cache_follows_the_order_asked_for(photos: Path, decoded: list[str]) -> None:
    read(photos)
    assert read(photos, files=listed(photos)[::-1])[0] == [3, 2, 1, 0]
    assert len(decoded) == 4


def test_bad_files_are_tried_again_and_the_good_ones_are_not(photos: Path, decoded: list[str]) -> None:
    (photos / "1.png").write_text("hi")
    assert read(photos)[0] == [0, 2, 3]
    decoded.clear()
    assert read(photos)[0] == [0, 2, 3]
    assert decoded == ["1.png"]


@pytest.mark.parametrize("place", [0, 5, 200, -40, -1])
def test_a_damaged_cache_is_noticed_and_rebuilt(photos: Path, place: int) -> None:
    read(photos)
    (cache,) = (photos.parent / "cache").iterdir()
    data = bytearray(cache.read_bytes())
    data[place] ^= 1
    cache.write_bytes(data)
    values, said = read(photos)
    assert values == [0, 1, 2, 3]
    assert "damaged" in said[0]
    assert read(photos) == ([0, 1, 2, 3], [])


@pytest.mark.parametrize("length", [0, 10, 300])
def test_a_truncated_cache_is_noticed_and_rebuilt(photos: Path, length: int) -> None:
    read(photos)
    (cache,) = (photos.parent / "cache").iterdir()
    cache.write_bytes(cache.read_bytes()[:length])
    values, said = read(photos)
    assert values == [0, 1, 2, 3] and "damaged" in said[0]


def test_a_cache_of_another_size_is_not_used(photos: Path) -> None:
    read(photos)
    assert read(photos, size=24) == ([0, 1, 2, 3], [])


def test_a_cache_that_cannot_be_written_is_said_and_no_error(photos: Path) -> None:
    (photos.parent / "cache").write_text("a file where the folder should be")
    values, said = read(photos)
    assert values == [0, 1, 2, 3]
    assert any("cannot write" in line and "decoded again" in line for line in said)


def test_the_cache_keeps_names_that_are_not_utf_8(photos: Path, decoded: list[str]) -> None:
    name = os.fsdecode(b"\xff.png")
    try:
        Image.new("RGB", (16, 16), (9, 0, 0)).save(photos / "x.png")
        (photos / "x.png").rename(photos / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert read(photos)[0] == read(photos)[0] == [0, 1, 2, 3, 9]
    assert len(decoded) == 5


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts | {"format": "imbalance images 0"},
        lambda facts: {},
        lambda facts: [],
        lambda facts: facts | {"files": facts["files"][1:]},
        lambda facts: facts | {"files": [[1]]},
        lambda facts: facts | {"image_size": 8},
    ],
)
def test_a_whole_file_of_another_format_is_not_used(photos: Path, change: Callable[[Any], Any]) -> None:
    read(photos)
    (cache,) = (photos.parent / "cache").iterdir()
    header, pixels = cache.read_bytes()[:-32].split(b"\n", 1)
    content = json.dumps(change(json.loads(header))).encode() + b"\n" + pixels
    cache.write_bytes(content + hashlib.sha256(content).digest())
    assert read(photos)[0] == [0, 1, 2, 3]
    assert read(photos) == ([0, 1, 2, 3], [])


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_leaves_the_cache_as_it_was(photos: Path, monkeypatch: pytest.MonkeyPatch, reason: int) -> None:
    read(photos)
    (cache,) = (photos.parent / "cache").iterdir()
    before = cache.read_bytes()

    def failing(descriptor: int) -> None:
        raise OSError(reason, os.strerror(reason))

    Image.new("RGB", (16, 16), (9, 0, 0)).save(photos / "9.png")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        values, said = read(photos)
    assert values == [0, 1, 2, 3, 9] and "cannot write" in said[0]
    assert [path.read_bytes() for path in (photos.parent / "cache").iterdir()] == [before]


def test_two_processes_may_build_the_same_cache_at_once(photos: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from imbalance_cli.data import image_cache\n"
        "from imbalance_cli.data.decode import ImageFile\n"
        "root, cache = map(Path, sys.argv[1:])\n"
        "facts = [(path.name, path.stat()) for path in sorted(root.iterdir())]\n"
        "files = [ImageFile(name, stat.st_size, stat.st_ctime_ns) for name, stat in facts]\n"
        "for turn in range(50):\n"
        "    some = files[:2 + turn % 3]\n"
        "    pixels, _ = image_cache.read_images(root, some, 16, path=cache, notice=sys.exit)\n"
        "    assert pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 3][: len(some)]"
    )
    cache = photos.parent / "cache" / "a.images"
    command = [sys.executable, "-c", code, str(photos), str(cache)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[1] for process in processes] == ["", ""]
    assert [path.name for path in cache.parent.iterdir()] == ["a.images"]
    assert read(photos)[0] == [0, 1, 2, 3]


def test_long_decoding_says_how_far_it_is(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imbalance_cli.data.decode._SECONDS_BETWEEN_NOTICES", 0)
    assert "decoded 4 of 4 images" in read(photos)[1]


def test_writing_the_cache_removes_what_a_killed_process_left_of_it(photos: Path) -> None:
    read(photos)
    (cache,) = (photos.parent).rglob("*.images")
    left = cache.with_name(f".{cache.name}.abc.part")
    left.write_bytes(b"half")
    cache.unlink()
    read(photos)
    assert not left.exists()
