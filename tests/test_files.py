"""Writing: whole or not at all, and only where a file belongs."""

import os
from pathlib import Path

import pytest

from imbalance_cli.errors import CheckpointError, SettingError, WriteError
from imbalance_cli.files import read_file, refuse_existing, remove_unfinished, require_places, whole_file, write_file


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with whole_file(path) as file:
        file.write(b"1")
        assert not path.exists()
    assert path.read_bytes() == b"1"
    assert os.listdir(tmp_path) == ["x"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("before")
    with pytest.raises(RuntimeError), whole_file(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["x"]


def test_what_was_there_is_kept_under_the_name_of_the_previous(tmp_path: Path) -> None:
    path, previous = tmp_path / "x", tmp_path / "y"
    for content in ("1", "2", "3"):
        write_file(path, content, previous=previous)
    assert (path.read_text(), previous.read_text()) == ("3", "2")


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("before")
    (tmp_path / "link").symlink_to("real")
    write_file(tmp_path / "link", "after")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "after"


def test_a_link_to_nowhere_is_no_place_to_write(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/nonexistent/x")
    with pytest.raises(WriteError, match="cannot write .*link: no such file or directory"):
        write_file(tmp_path / "link", "")
    assert (tmp_path / "link").is_symlink()


def test_a_pipe_or_device_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WriteError, match="cannot write .*pipe: a device or pipe is no file"):
        write_file(tmp_path / "pipe", "")
    assert (tmp_path / "pipe").is_fifo()
    with pytest.raises(WriteError, match="is a directory"):
        write_file(tmp_path, "")


def test_a_name_that_is_too_long_is_an_error_of_the_place(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 300)
    refuse_existing(path, overwrite=False)
    with pytest.raises(WriteError, match="file name too long"):
        write_file(path, "")


def test_existing_files_are_replaced_on_request_only(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(CheckpointError, match="x exists; choose another name, or replace it with --overwrite"):
        refuse_existing(tmp_path / "x", None, overwrite=False)
    refuse_existing(tmp_path / "x", overwrite=True)
    with pytest.raises(SettingError, match="is asked for twice"):
        refuse_existing(tmp_path / "y", tmp_path / "y", overwrite=True)


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    path, left, other = tmp_path / "x.images", tmp_path / ".x.images.abc.part", tmp_path / ".y.images.abc.part"
    left.write_bytes(b"half")
    other.write_bytes(b"half")
    with whole_file(path) as file:
        remove_unfinished(path)
        assert not left.exists()
        file.write(b"whole")
        file.flush()
        remove_unfinished(path)
    assert path.read_bytes() == b"whole"
    assert other.exists()


def test_only_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_file(tmp_path / "pipe")
    with pytest.raises(OSError, match="null"):
        read_file(tmp_path / "a\0b")


def test_places_that_cannot_be_written_are_found_before_any_is(tmp_path: Path) -> None:
    require_places(tmp_path / "a", None)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(WriteError, match="missing/b: no such file or directory"):
        require_places(tmp_path / "a", tmp_path / "missing" / "b")
    with pytest.raises(WriteError, match="is a directory"):
        require_places(tmp_path)
