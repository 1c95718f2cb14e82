"""CIFAR is read from its official archives, without unpacking them and without trusting them."""

import gzip
import itertools
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import torch
from cifar_archives import files, members, small_archive, write_archive
from fault_server import FaultServer
from typer.testing import CliRunner

from imbalance_cli.cli import app
from imbalance_cli.data import cifar
from imbalance_cli.data.cifar import ARCHIVES, download, is_downloaded, load_cifar
from imbalance_cli.data.download import Notice
from imbalance_cli.errors import DataError, NetworkError, SettingError, WriteError

CURE = "`imbalance download cifar10`"
BATCH = "cifar-10-batches-bin/data_batch_1.bin"


@pytest.fixture(params=["cifar10", "cifar100"])
def name(request):
    return request.param


@pytest.fixture
def data(tmp_path, monkeypatch, name):
    """A folder with a small archive of `name`, known as the official one."""
    monkeypatch.setitem(ARCHIVES, name, small_archive(name, tmp_path))
    return tmp_path


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """The error for a cifar10 archive of these members, which must touch nothing inside or outside its folder."""
    folder = tmp_path / "outer" / "data"
    folder.mkdir(parents=True)
    (folder.parent / "precious").write_text("precious")

    def load(contents):
        small = small_archive("cifar10", folder)
        monkeypatch.setitem(ARCHIVES, "cifar10", write_archive(small, folder, contents(members(small))))
        return load_refused(folder, watched=folder.parent)

    return load


def load_refused(folder, watched=None):
    before = everything(watched or folder)
    with pytest.raises(DataError) as failure:
        load_cifar("cifar10", folder)
    assert failure.value.exit_code == 3
    assert CURE in str(failure.value) and str(folder) in str(failure.value)
    assert "\n" not in str(failure.value)
    assert everything(watched or folder) == before and not os.path.exists("/evil")
    return str(failure.value)


def everything(folder):
    """The tree below `folder`: kinds, link counts and content."""
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {
        path: (status.st_mode, status.st_nlink, path.read_bytes() if path.is_file() else b"")
        for path, status in found.items()
    }


def load_in_little_memory(folder):
    """What loading says in a process that may take 500 MB, and the seconds that it took."""
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, (500_000_000, 500_000_000))
from pathlib import Path
from imbalance_cli.data.cifar import load_cifar
load_cifar("cifar10", Path({str(folder)!r}))
"""
    started = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return result.stderr.splitlines()[-1], time.monotonic() - started


def unpack(contents, folder):
    folder.mkdir(parents=True)
    for file, content in contents.items():
        (folder / file).write_bytes(content)


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def header(name, size, kind=tarfile.REGTYPE):
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


# What is read


def test_the_official_archives_are_known():
    ten, hundred = ARCHIVES["cifar10"], ARCHIVES["cifar100"]
    assert (ten.size, ten.md5) == (170_052_171, "c32a1d4ab5d03f1284b67883e8d87530")
    assert hundred.md5 == "03b5dce01913d631647c71ecec9e9cb8"
    assert ten.sizes() == dict.fromkeys([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"], 30_730_000)
    assert hundred.sizes() == {"train.bin": 153_700_000, "test.bin": 30_740_000}
    assert len(hundred.class_names) == 100 and list(hundred.class_names) == sorted(hundred.class_names)


def test_every_image_label_and_name_is_read(data, name):
    archive = ARCHIVES[name]
    dataset = load_cifar(name, data)
    for split, sizes in ((dataset.train, archive.train), (dataset.test, archive.test)):
        raw = b"".join(files(archive)[file] for file in sizes)
        assert split.images.dtype == torch.uint8 and split.images.shape == (20 * len(sizes), 3, 32, 32)
        assert split.images.is_contiguous()
        for index in (0, 1, len(split) - 1):
            record = raw[index * archive.record_bytes :][: archive.record_bytes]
            assert bytes(split.images[index].flatten().tolist()) == record[archive.label_bytes :]
            assert split.labels[index] == record[archive.label_bytes - 1]
        assert split.items == tuple(str(index) for index in range(len(split)))
        assert split.class_names == archive.class_names
    assert dataset.name == name


def test_the_second_start_reads_the_same_from_the_records_kept_beside_the_archive(data, name, monkeypatch):
    first = load_cifar(name, data)
    monkeypatch.setattr(cifar, "_members", None)  # would fail if the archive were unpacked again
    second = load_cifar(name, data)
    assert torch.equal(first.train.images, second.train.images) and torch.equal(first.test.labels, second.test.labels)
    assert first.identity == second.identity


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), lambda raw: b""])
def test_damaged_records_are_made_again(data, name, damage):
    first = load_cifar(name, data)
    kept = next(data.glob("*.records"))
    intact = kept.read_bytes()
    kept.write_bytes(damage(intact))
    assert torch.equal(first.test.images, load_cifar(name, data).test.images)
    assert kept.read_bytes() == intact


def test_a_folder_that_cannot_be_written_is_enough(data, name, monkeypatch):
    def read_only(path):
        raise WriteError(f"cannot write {path}: read-only file system")

    monkeypatch.setattr(cifar, "whole_file", read_only)
    assert len(load_cifar(name, data).test) == 20


@pytest.mark.parametrize("inside", [True, False])
def test_an_unpacked_folder_holds_the_same_data(data, name, tmp_path_factory, inside):
    archive = ARCHIVES[name]
    elsewhere = tmp_path_factory.mktemp("unpacked")
    folder = elsewhere / archive.folder
    unpack(files(archive), folder)
    place = folder if inside else elsewhere
    assert is_downloaded(name, place)
    assert load_cifar(name, place).identity == load_cifar(name, data).identity
    assert sorted(os.listdir(folder)) == sorted(files(archive))


def test_other_pixels_or_labels_are_another_identity(tmp_path, monkeypatch):
    small = small_archive("cifar10", tmp_path)
    monkeypatch.setitem(ARCHIVES, "cifar10", small)
    identities = {load_cifar("cifar10", tmp_path).identity}
    for position in (0, 1, 20 * 3073 - 1):
        contents = files(small)
        batch = bytearray(contents["data_batch_1.bin"])
        batch[position] ^= 1
        unpack({**contents, "data_batch_1.bin": bytes(batch)}, tmp_path / f"changed-{position}")
        identities.add(load_cifar("cifar10", tmp_path / f"changed-{position}").identity)
    assert len(identities) == 4
    assert all(identity.startswith("sha256:") for identity in identities)


# Whether it is there


def test_what_is_downloaded_is_known_without_reading_it(data, name, tmp_path):
    assert is_downloaded(name, data)
    assert not is_downloaded(name, tmp_path / "elsewhere")
    with (data / ARCHIVES[name].file).open("ab") as file:
        file.write(b"x")
    assert not is_downloaded(name, data)


def test_missing_data_name_the_command_that_fetches_them(tmp_path):
    assert "no cifar10 in" in load_refused(tmp_path)


PICKLES = [
    pytest.param(b"cposix\nsystem\n(S'touch PWNED'\ntR.", marks=pytest.mark.fault("A12"), id="runs a command"),
    pytest.param(b"\x80\x02N" + b"r\x00\x00\x00\x10.", marks=pytest.mark.fault("A13"), id="fills memory"),
]


@pytest.mark.parametrize("pickle", PICKLES)
@pytest.mark.parametrize(
    ("file", "below"),
    [
        ("cifar-10-batches-py/data_batch_1", ""),
        ("cifar-10-batches-py/data_batch_1", "cifar-10-batches-py"),
        ("renamed/data_batch_1", "renamed"),
        ("cifar-10-python.tar.gz", ""),
    ],
)
def test_the_pickled_version_is_refused_unread(tmp_path, monkeypatch, pickle, file, below):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle)
    monkeypatch.setattr(Path, "open", None)  # would fail if anything were opened
    monkeypatch.setattr("builtins.open", None)
    with pytest.raises(DataError) as failure:
        load_cifar("cifar10", tmp_path / "data" / below)
    monkeypatch.undo()
    assert "refused, because its pickles could run any code" in str(failure.value)
    assert str(path) in str(failure.value) or str(path.parent) in str(failure.value)
    assert failure.value.exit_code == 3 and not list(tmp_path.rglob("PWNED"))


def test_a_folder_called_train_is_not_taken_for_pickles(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="no cifar100 in"):
        load_cifar("cifar100", tmp_path)


@pytest.mark.parametrize("pickle", PICKLES)
def test_the_command_refuses_pickles_and_bad_archives_in_one_line(tmp_path, monkeypatch, pickle):
    monkeypatch.chdir(tmp_path)
    unpack({"data_batch_1": pickle}, tmp_path / "cifar-10-batches-py")
    for damage, words in ((None, "pickles could run any code"), (b"hi\n", "not a tar.gz")):
        if damage:
            (tmp_path / ARCHIVES["cifar10"].file).write_bytes(damage)
        before = everything(tmp_path)
        result = CliRunner().invoke(app, ["make-subset", "cifar10", "--data-dir", str(tmp_path)])
        assert result.exit_code == 3 and result.stdout == ""
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and words in result.stderr
        assert everything(tmp_path) == before


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path):
    for function in (download, is_downloaded, load_cifar):
        with pytest.raises(SettingError, match="did you mean 'cifar10'"):
            function("cifar-10", tmp_path)


def test_neither_downloading_nor_looking_imports_torch(tmp_path):
    code = f"""
import sys
from pathlib import Path
from imbalance_cli.data.cifar import download, is_downloaded
from imbalance_cli.errors import NetworkError
assert not is_downloaded("cifar10", Path({str(tmp_path)!r}))
try: download("cifar10", Path({str(tmp_path)!r}), mirrors=["http://127.0.0.1:9"])
except NetworkError: pass
assert "torch" not in sys.modules
"""
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


# Fetching it


def test_a_download_can_be_loaded_and_is_not_fetched_twice(data, name, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    archive, notices = ARCHIVES[name], []
    target = tmp_path / "target"
    with FaultServer((data / archive.file).read_bytes()) as server:
        for mirror in (f"{server.url}/folder/", f"{server.url}/folder/{archive.file}"):
            path = download(name, target, mirrors=[mirror], report=notices.append)
            assert path == target / archive.file and is_downloaded(name, target)
    assert len(server.requests) == 1
    assert any(isinstance(event, Notice) and "already complete, verified" in event.text for event in notices)
    assert load_cifar(name, target).identity == load_cifar(name, data).identity


def test_the_error_names_the_address_of_the_archive(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(NetworkError, match="http://127.0.0.1:9/a/cifar-10-binary.tar.gz"):
        download("cifar10", tmp_path, mirrors=["http://127.0.0.1:9/a/"])


# What is wrong with an archive


@pytest.mark.parametrize(
    "evil",
    [
        pytest.param("../../evil", marks=pytest.mark.fault("A01")),
        pytest.param("/evil", marks=pytest.mark.fault("A02")),
        "cifar-10-batches-bin/../../evil",
    ],
)
def test_members_outside_are_refused(refused, evil):
    error = refused(lambda genuine: [*genuine, (evil, b"evil")])
    assert evil in error and "outside" in error


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(tarfile.SYMTYPE, marks=pytest.mark.fault("A03")),
        pytest.param(tarfile.LNKTYPE, marks=pytest.mark.fault("A04")),
    ],
)
@pytest.mark.parametrize("link", ["cifar-10-batches-bin/link", BATCH])
@pytest.mark.parametrize("target", ["../../etc/passwd", "../precious", "..", "/", "batches.meta.txt"])
def test_links_are_refused_wherever_they_lead(refused, kind, link, target):
    error = refused(lambda genuine: [special(link, kind, target), (f"{link}/evil", b"evil"), *genuine])
    assert f"member '{link}' is a link" in error


def long_chain():
    """Links that lead outside once resolved, by a path longer than the system resolves (CVE-2025-4517)."""
    folders = ["/".join(["d" * 247] * depth) for depth in range(17)]
    for above, below, letter in zip(folders, folders[1:], "abcdefghijklmnop", strict=False):
        yield special(below, tarfile.DIRTYPE)
        yield special(f"{above}/{letter}".lstrip("/"), tarfile.SYMTYPE, "d" * 247)
    way = "/".join("abcdefghijklmnop") + "/" + "l" * 254
    yield special(way, tarfile.SYMTYPE, "../" * 16)
    yield special("escape", tarfile.SYMTYPE, f"{way}/../../..")
    yield special("hard", tarfile.LNKTYPE, "escape/precious")
    yield "hard", b"evil"


def links_to_links():
    """A hard link to a symbolic link that is harmless where it stands (CVE-2025-4330 and its kin)."""
    yield special("a", tarfile.DIRTYPE)
    yield special("a/b", tarfile.DIRTYPE)
    yield special("a/b/link", tarfile.SYMTYPE, "../../..")
    yield special("moved", tarfile.LNKTYPE, "a/b/link")
    yield "moved/precious", b"evil"


def links_by_extended_headers():
    """The name and the target of a link from a pax header, which replaces those of the entry."""
    member, _ = special("harmless", tarfile.SYMTYPE, "harmless")
    member.pax_headers = {"path": "link", "linkpath": "../precious"}
    yield member, b""
    yield "link", b"evil"


def a_folder_that_becomes_a_link():
    yield special("cifar-10-batches-bin", tarfile.SYMTYPE, "..")
    yield "cifar-10-batches-bin/precious", b"evil"


@pytest.mark.fault("A05")
@pytest.mark.parametrize("trick", [long_chain, links_to_links, links_by_extended_headers, a_folder_that_becomes_a_link])
@pytest.mark.parametrize("first", [True, False])
def test_no_chain_of_links_leads_outside(refused, trick, first):
    links = [member for member in trick() if first or not isinstance(member[0], str)]
    error = refused(lambda genuine: [*links, *genuine] if first else [*genuine, *links])
    assert "is a link" in error


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE])
def test_special_files_are_refused(refused, kind):
    assert "is no plain file" in refused(lambda genuine: [special(BATCH, kind), *genuine])


@pytest.mark.fault("A09")
def test_a_member_that_is_there_twice_is_refused(refused):
    error = refused(lambda genuine: [*genuine, (BATCH, bytes(20 * 3073))])
    assert BATCH in error and "twice" in error


def test_a_missing_member_is_named(refused):
    error = refused(lambda genuine: [member for member in genuine if member[0] != BATCH])
    assert BATCH in error and "missing" in error


@pytest.mark.fault("A16")
@pytest.mark.parametrize("odd", ["\udcff\udcfe.bin", "x" * 300, "line\nbreak", "\x1b[2J", "x" * 40_000])
def test_odd_names_are_refused_and_printed_escaped(refused, odd):
    error = refused(lambda genuine: [*genuine, (odd, b"")])
    assert f"member {ascii(odd)[:50]}" in error and "has no plain name" in error


# Archives that would fill memory or time


TERABYTE = 10**12
BOMBS = {
    "a wanted member": ([header(BATCH, TERABYTE)], [BATCH, "1000000000000", "expected 30730000"]),
    "another member": ([header("x", TERABYTE)], ["'x'", "1000000000000", "the limit is 65536"]),
    "a folder": ([header("cifar-10-batches-bin", TERABYTE, tarfile.DIRTYPE)], ["data_batch_1.bin' is missing"]),
    "many members": ([header("x", 60_000) + bytes(60_416)] * 100, ["the limit of 65536 bytes"]),
    "a long name": ([header("././@LongLink", TERABYTE, tarfile.GNUTYPE_LONGNAME)], ["the limit of 65536 bytes"]),
    "a long extension": ([header("x", TERABYTE, tarfile.XHDTYPE)], ["the limit of 65536 bytes"]),
    "a slow extension": ([header("x", 1 << 24, tarfile.XHDTYPE) + b"1" * (1 << 24)], ["the limit of 65536 bytes"]),
}


@pytest.mark.skipif(sys.platform != "linux", reason="no limit on memory")
@pytest.mark.fault("A07")
@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_needs_neither_memory_nor_time_nor_disk(tmp_path, kind):
    start, words = BOMBS[kind]
    zeros = gzip.compress(bytes(1 << 26))
    with (tmp_path / ARCHIVES["cifar10"].file).open("wb") as file:
        file.writelines([gzip.compress(b"".join(start)), *itertools.repeat(zeros, 150)])  # 10 GB from 10 MB
    error, seconds = load_in_little_memory(tmp_path)
    assert "DataError" in error and all(word in error for word in words)
    assert seconds < 10
    assert os.listdir(tmp_path) == [ARCHIVES["cifar10"].file]


@pytest.mark.skipif(sys.platform != "linux", reason="no limit on memory")
@pytest.mark.fault("A07")
def test_a_bomb_behind_all_that_is_wanted_needs_no_more_than_a_genuine_archive(tmp_path):
    archive = ARCHIVES["cifar10"]
    with gzip.open(tmp_path / archive.file, "wb", 1) as file:
        for name, size in archive.sizes().items():
            file.write(header(f"{archive.folder}/{name}", size))
            file.write(bytes(size + -size % 512))
        file.write(header("././@LongLink", TERABYTE, tarfile.GNUTYPE_LONGNAME))
        file.write(bytes(1 << 26))
    error, seconds = load_in_little_memory(tmp_path)
    assert "unpacks to more than the limit of" in error
    assert seconds < 10


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_member_of_negative_size_ends_nothing_but_the_reading(tmp_path, monkeypatch, kind):
    small = small_archive("cifar10", tmp_path)
    monkeypatch.setitem(ARCHIVES, "cifar10", small)
    (tmp_path / small.file).write_bytes(gzip.compress(header("cifar-10-batches-bin", -512, kind) + bytes(50_000)))
    load_refused(tmp_path)


def test_a_large_member_that_nobody_asked_for_is_refused_unread(refused):
    error = refused(lambda genuine: [("cifar-10-batches-bin/readme.html", bytes(2**16 + 1)), *genuine])
    assert "readme.html" in error and "the limit is 65536" in error


def test_a_small_member_that_nobody_asked_for_is_passed_over(tmp_path, monkeypatch):
    small = small_archive("cifar10", tmp_path)
    more = [("cifar-10-batches-bin/readme.html", b"<html>"), *members(small)]
    monkeypatch.setitem(ARCHIVES, "cifar10", write_archive(small, tmp_path, more))
    assert len(load_cifar("cifar10", tmp_path).train) == 100


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda raw: raw[: len(raw) // 2], "ends early", marks=pytest.mark.fault("A10")),
        pytest.param(lambda raw: raw[:-1], "differs from its checksum", marks=pytest.mark.fault("A10")),
        pytest.param(lambda raw: b"hi\n", "not a tar.gz", marks=pytest.mark.fault("A11")),
        (lambda raw: b"", "not a tar.gz"),
        (lambda raw: gzip.compress(b"no tar in here"), "not a tar.gz"),
        (lambda raw: gzip.compress(gzip.decompress(raw)[:100_000]), "not a tar.gz"),
        (lambda raw: raw[:5000] + bytes(5000) + raw[10_000:], "damaged"),
        (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), "differs from its checksum"),
    ],
)
def test_a_damaged_archive_is_refused_with_what_is_wrong(tmp_path, monkeypatch, damage, words):
    small = small_archive("cifar10", tmp_path)
    monkeypatch.setitem(ARCHIVES, "cifar10", small)
    path = tmp_path / small.file
    path.write_bytes(damage(path.read_bytes()))
    assert words in load_refused(tmp_path)


def test_other_class_names_are_refused(refused):
    def renamed(genuine):
        return [
            (header, content.replace(b"cat", b"cow")) if b"airplane" in content else (header, content)
            for header, content in genuine
        ]

    assert "calls class 3 'cow', expected 'cat'" in refused(renamed)


def test_a_label_that_is_no_class_is_refused(tmp_path, monkeypatch):
    small = small_archive("cifar10", tmp_path)
    monkeypatch.setitem(ARCHIVES, "cifar10", small)
    contents = files(small)
    contents["data_batch_1.bin"] = bytes([10]) + contents["data_batch_1.bin"][1:]
    unpack(contents, tmp_path / "unpacked")
    assert "training image 0 has label 10, expected 0 to 9" in load_refused(tmp_path / "unpacked")


def test_an_unpacked_folder_with_a_file_missing_or_cut_is_refused(tmp_path, monkeypatch):
    small = small_archive("cifar10", tmp_path)
    monkeypatch.setitem(ARCHIVES, "cifar10", small)
    contents = files(small)
    unpack({file: contents[file] for file in ("data_batch_1.bin", "batches.meta.txt")}, tmp_path / "missing")
    unpack({file: content[:-1] for file, content in contents.items()}, tmp_path / "cut")
    assert "data_batch_2.bin is missing" in load_refused(tmp_path / "missing")
    assert "data_batch_1.bin has 61459 bytes, expected 61460" in load_refused(tmp_path / "cut")
    assert not is_downloaded("cifar10", tmp_path / "missing")
    assert not is_downloaded("cifar10", tmp_path / "cut")
