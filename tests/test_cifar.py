"""CIFAR is read from its official archives, without unpacking them and without trusting them."""

import gzip
import os
import subprocess
import sys
import tarfile

import pytest
import torch
from cifar_archives import files, members, small_archive, write_archive
from fault_server import FaultServer

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
    """The error for a cifar10 archive of these members, which must leave nothing behind."""

    def load(contents):
        small = small_archive("cifar10", tmp_path)
        monkeypatch.setitem(ARCHIVES, "cifar10", write_archive(small, tmp_path, contents(members(small))))
        return load_refused(tmp_path)

    return load


def load_refused(folder):
    before = sorted(os.listdir(folder))
    with pytest.raises(DataError) as failure:
        load_cifar("cifar10", folder)
    assert CURE in str(failure.value) and str(folder) in str(failure.value)
    assert "\n" not in str(failure.value)
    assert sorted(os.listdir(folder)) == before
    return str(failure.value)


def unpack(contents, folder):
    folder.mkdir(parents=True)
    for file, content in contents.items():
        (folder / file).write_bytes(content)


def special(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


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


@pytest.mark.parametrize("inside", [True, False])
def test_the_pickled_version_is_refused_unread(tmp_path, inside):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"cposix\nsystem\n(S'touch PWNED'\ntR.")
    assert "refused cifar-10-batches-py" in load_refused(folder if inside else tmp_path)


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


@pytest.mark.parametrize("evil", ["../../evil", "/evil", "cifar-10-batches-bin/../../evil"])
def test_members_outside_are_refused(refused, evil):
    error = refused(lambda genuine: [*genuine, (evil, b"evil")])
    assert evil in error and "outside" in error


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("link", ["cifar-10-batches-bin/link", BATCH])
def test_links_are_refused(refused, kind, link):
    error = refused(lambda genuine: [special(link, kind, "../../etc/passwd"), (f"{link}/evil", b""), *genuine])
    assert link in error and "is a link" in error


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE])
def test_special_files_are_refused(refused, kind):
    assert "is no plain file" in refused(lambda genuine: [special(BATCH, kind), *genuine])


def test_a_member_that_is_there_twice_is_refused(refused):
    error = refused(lambda genuine: [*genuine, (BATCH, bytes(20 * 3073))])
    assert BATCH in error and "twice" in error


def test_a_missing_member_is_named(refused):
    error = refused(lambda genuine: [member for member in genuine if member[0] != BATCH])
    assert BATCH in error and "missing" in error


@pytest.mark.parametrize("odd", ["\udcff\udcfe.bin", "x" * 300, "line\nbreak"])
def test_odd_names_are_refused_and_printed_escaped(refused, odd):
    error = refused(lambda genuine: [*genuine, (odd, b"")])
    assert ascii(odd) in error


def test_a_member_that_claims_a_terabyte_is_refused_before_it_is_read(tmp_path, monkeypatch):
    small = small_archive("cifar10", tmp_path)
    header = tarfile.TarInfo(BATCH)
    header.size = 10**12
    bomb = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(10**6))
    (tmp_path / small.file).write_bytes(bomb)
    monkeypatch.setitem(ARCHIVES, "cifar10", small)
    error = load_refused(tmp_path)
    assert BATCH in error and "1000000000000" in error and "expected 61460" in error


def test_a_large_member_that_nobody_asked_for_is_refused_unread(refused):
    error = refused(lambda genuine: [("cifar-10-batches-bin/readme.html", bytes(2**20 + 1)), *genuine])
    assert "readme.html" in error and "the limit is 1048576" in error


def test_a_small_member_that_nobody_asked_for_is_passed_over(tmp_path, monkeypatch):
    small = small_archive("cifar10", tmp_path)
    more = [("cifar-10-batches-bin/readme.html", b"<html>"), *members(small)]
    monkeypatch.setitem(ARCHIVES, "cifar10", write_archive(small, tmp_path, more))
    assert len(load_cifar("cifar10", tmp_path).train) == 100


@pytest.mark.parametrize("header", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_an_endless_member_name_does_not_fill_the_memory(tmp_path, monkeypatch, header):
    small = small_archive("cifar10", tmp_path)
    longname = tarfile.TarInfo("././@LongLink")
    longname.type, longname.size = header, 10**9
    (tmp_path / small.file).write_bytes(gzip.compress(longname.tobuf(tarfile.GNU_FORMAT) + bytes(40_000_000), 1))
    monkeypatch.setitem(ARCHIVES, "cifar10", small)
    assert "more than the limit" in load_refused(tmp_path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda raw: raw[: len(raw) // 2], "ends early"),
        (lambda raw: b"hi\n", "not a tar.gz"),
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
