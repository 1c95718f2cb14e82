"""Downloads end whole and verified, or not at all, whatever the server and the network do."""

import errno
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from fault_server import CERTIFICATE, FaultServer

from imbalance_cli.data import download
from imbalance_cli.data.download import Notice, Progress, fetch
from imbalance_cli.errors import NetworkError, SettingError, WriteError

WAITS = download.BACKOFF * (2**download.RETRIES - 1)  # seconds between attempts, of which the tests wait a hundredth
CONTENT = random.Random(0).randbytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
OTHER = random.Random(1).randbytes(300_000)


@pytest.fixture(autouse=True)
def direct_and_impatient(monkeypatch):
    """No proxy of this machine in between, and no long waits before a retry."""
    for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(download, "BACKOFF", 0.01)


class Target:
    """The file to fetch, and what was said while fetching it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "data" / "file.tar.gz"
        self.part = folder / "data" / "file.tar.gz.part"
        self.notices: list[str] = []
        self.progress: list[Progress] = []

    def report(self, event: Notice | Progress) -> None:
        match event:
            case Notice(text):
                self.notices.append(text)
            case Progress():
                self.progress.append(event)

    def fetch(self, *urls: str, timeout: float = 5.0) -> None:
        fetch(urls, self.path, size=len(CONTENT), md5=MD5, timeout=timeout, report=self.report)

    def refused(self, *urls: str, timeout: float = 5.0) -> str:
        """The error of a fetch that must fail with nothing left that could be taken for the file."""
        with pytest.raises(NetworkError) as failure:
            self.fetch(*urls, timeout=timeout)
        assert failure.value.exit_code == 5
        assert "\n" not in str(failure.value)
        assert set(os.listdir(self.path.parent)) <= {self.part.name}
        return str(failure.value)

    def has_part(self, content: bytes) -> None:
        self.part.parent.mkdir(exist_ok=True)
        self.part.write_bytes(content)

    def said(self, words: str) -> bool:
        return any(words in notice for notice in self.notices)

    def arrived(self) -> bool:
        """The file is there, right, and alone."""
        return self.path.read_bytes() == CONTENT and os.listdir(self.path.parent) == [self.path.name]


@pytest.fixture
def target(tmp_path):
    return Target(tmp_path)


def test_a_download_arrives_whole_and_tells_how_far_it_is(target):
    with FaultServer(CONTENT) as server:
        target.fetch(server.url)
    assert target.arrived()
    assert target.progress[0] == Progress(0, len(CONTENT))
    assert target.progress[-1] == Progress(len(CONTENT), len(CONTENT))
    assert not target.notices


# Where there is no server or no network


@pytest.mark.fault("N01")
def test_a_refused_connection_names_the_place_and_how_to_go_on(target):
    error = target.refused("http://127.0.0.1:9/file.tar.gz")
    assert "127.0.0.1:9 refused" in error and "http://127.0.0.1:9/file.tar.gz" in error
    assert "the same command tries again" in error and "--mirror" in error


@pytest.mark.fault("N02")
def test_an_unknown_host_is_named(target, monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "cannot resolve the host name no-such-host.invalid" in target.refused("http://no-such-host.invalid/x")


def test_a_silent_server_is_left_after_the_timeout(target):
    with FaultServer(CONTENT, stall="answer") as server:
        assert "no answer within 0.05 s" in target.refused(server.url, timeout=0.05)
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/file",
        "file:///etc/passwd",
        "host/file",
        "http://",
        "http://host:port/",
        "http://h/a b",
        "http://me:pw@host/",
    ],
)
def test_an_address_that_cannot_work_is_refused_before_anything_else(target, url):
    with pytest.raises(SettingError, match=re.escape(repr(url))):
        target.fetch(url)
    assert not target.path.parent.exists()


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_is_a_number_of_seconds(target, timeout):
    with pytest.raises(SettingError, match="--timeout"):
        target.fetch("http://127.0.0.1:9", timeout=timeout)


# Where the server answers something else


@pytest.mark.fault("N03")
def test_a_missing_file_is_not_asked_for_twice(target):
    with FaultServer(CONTENT, status=404, failures=None) as server:
        error = target.refused(f"{server.url}/file.tar.gz")
    assert "HTTP 404" in error and f"{server.url}/file.tar.gz" in error
    assert len(server.requests) == 1


@pytest.mark.fault("N04")
def test_a_passing_server_error_is_tried_again(target):
    with FaultServer(CONTENT, status=500, failures=2) as server:
        target.fetch(server.url)
    assert target.arrived()
    assert target.said("retry 1/3") and target.said("retry 2/3")
    assert len(server.requests) == 3


@pytest.mark.fault("N05")
def test_a_lasting_server_error_ends_after_four_attempts(target):
    with FaultServer(CONTENT, status=500, failures=None) as server:
        error = target.refused(server.url)
    assert "HTTP 500" in error and "4 attempts" in error
    assert len(server.requests) == 4 and WAITS < 60


@pytest.mark.fault("N11")
def test_a_login_page_is_not_taken_for_the_file(target):
    with FaultServer(b"<html>Log in!</html>", content_type="text/html; charset=utf-8") as server:
        assert "got text/html" in target.refused(server.url)


def test_a_file_of_another_size_is_refused_at_once(target):
    with FaultServer(CONTENT + b"more") as server:
        error = target.refused(server.url)
    assert "300004" in error and "expected a file of 300000" in error


def test_another_file_of_the_same_size_is_refused(target):
    with FaultServer(OTHER) as server:
        assert "the checksum differs" in target.refused(server.url)
    assert not target.part.exists()


@pytest.mark.fault("N07")
def test_a_file_without_length_that_ends_early_is_refused(target):
    with FaultServer(CONTENT, truncate=150_000, length=False) as server:
        error = target.refused(server.url)
    assert "HTTP 416" in error and "the size differs; expected a file of 300000 bytes" in error


def test_a_file_that_ends_before_its_length_is_refused(target):
    with FaultServer(CONTENT, truncate=150_000) as server:
        error = target.refused(server.url)
    assert "the size differs; expected a file of 300000 bytes" in error


@pytest.mark.fault("N07")
def test_a_file_without_length_or_ranges_that_ends_early_is_refused(target):
    with FaultServer(CONTENT, truncate=150_000, length=False, ranges="ignored") as server:
        assert "got 150000 of the expected 300000 bytes in 4 attempts" in target.refused(server.url)


def test_mirrors_are_tried_in_order(target):
    with FaultServer(CONTENT, status=404, failures=None) as broken, FaultServer(CONTENT) as healthy:
        target.fetch(broken.url, healthy.url)
    assert target.arrived()
    assert target.said(f"{broken.url}: HTTP 404 Not Found; trying {healthy.url}")


def test_when_every_mirror_fails_each_is_named(target):
    with FaultServer(CONTENT, status=404, failures=None) as one, FaultServer(OTHER) as two:
        error = target.refused(one.url, two.url)
    assert f"{one.url}: HTTP 404" in error and f"{two.url}: the checksum differs" in error


# Slow and broken connections


@pytest.mark.fault("N09")
def test_a_slow_server_is_waited_for_while_bytes_come(target):
    with FaultServer(CONTENT, rate=300_000) as server:
        target.fetch(server.url, timeout=0.8)  # and all of it takes longer
    assert target.arrived()
    assert len(target.progress) > 4
    assert not target.notices


def test_a_connection_that_falls_silent_is_left_and_continued(target):
    with FaultServer(CONTENT, cuts=[100_000], stall="rest") as server:
        target.fetch(server.url, timeout=0.1)
    assert target.arrived()
    assert target.said("no answer within 0.1 s at 100000 of 300000 bytes; retry 1/3")
    assert target.said("continuing at 100000")


def test_a_dropped_connection_is_continued(target):
    with FaultServer(CONTENT, cuts=[100_000, 50_000]) as server:
        target.fetch(server.url)
    assert target.arrived()
    assert target.said("continuing at 100000") and target.said("continuing at 150000")
    assert [request.get("Range") for request in server.requests] == [None, "bytes=100000-", "bytes=150000-"]
    assert server.requests[1]["If-Range"] == '"1"'


def test_a_connection_that_drops_often_ends_well_while_bytes_come(target):
    with FaultServer(CONTENT, cuts=[40_000] * 7) as server:
        target.fetch(server.url)
    assert target.arrived()


@pytest.mark.fault("N16")
def test_a_file_that_changes_between_two_connections_starts_again(target):
    with FaultServer(CONTENT, cuts=[100_000], etags=['"1"', '"2"']) as server:
        target.fetch(server.url)
    assert target.arrived()
    assert target.said("changed on the server; starting again")


def test_a_file_that_changes_in_secret_between_two_connections_is_fetched_again(target, monkeypatch):
    with FaultServer(OTHER, cuts=[100_000], etags=[""]) as server:
        monkeypatch.setattr(time, "sleep", lambda seconds: setattr(server, "content", CONTENT))
        target.fetch(server.url)
    assert target.arrived()
    assert target.said("differs from its checksum; downloading again")


# A partial file from an earlier run


@pytest.mark.fault("N12")
def test_a_partial_file_is_continued(target):
    target.has_part(CONTENT[:100_000])
    with FaultServer(CONTENT) as server:
        target.fetch(server.url)
    assert target.arrived()
    assert target.said("continuing at 100000")
    assert [request["Range"] for request in server.requests] == ["bytes=100000-"]


def test_a_partial_file_of_something_else_is_replaced(target):
    target.has_part(OTHER[:100_000])
    with FaultServer(CONTENT) as server:
        target.fetch(server.url)
    assert target.arrived()
    assert target.said("differs from its checksum; downloading again")


@pytest.mark.fault("N13")
def test_a_server_without_ranges_sends_the_whole_file(target):
    target.has_part(CONTENT[:100_000])
    with FaultServer(CONTENT, ranges="ignored") as server:
        target.fetch(server.url)
    assert target.arrived()
    assert target.said("server restarted the file")


@pytest.mark.fault("N14")
def test_another_range_than_asked_for_is_refused(target):
    target.has_part(CONTENT[:100_000])
    with FaultServer(CONTENT, ranges="wrong") as server:
        error = target.refused(server.url)
        assert "Content-Range 'bytes 100001-299999/300000'" in error and "discarded the 100000 bytes so far" in error
        target.fetch(server.url)  # without a part there is no range to be wrong
    assert target.arrived()


def test_a_server_that_refuses_every_range_is_asked_for_the_whole_file_by_the_next_run(target):
    target.has_part(OTHER[:100_000])
    with FaultServer(CONTENT[:100_000]) as server:
        assert "HTTP 416" in target.refused(server.url)
    assert not target.part.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no links and pipes for everyone")
@pytest.mark.parametrize("make", [lambda part: part.symlink_to("../precious"), os.mkfifo, os.mkdir])
def test_a_link_pipe_or_folder_in_place_of_the_partial_file_is_not_written_to(target, tmp_path, make):
    (tmp_path / "precious").write_bytes(bytes(400_000))
    target.part.parent.mkdir()
    make(target.part)
    with pytest.raises(WriteError, match="it is no plain file; remove it"):
        target.fetch("http://127.0.0.1:9")
    assert (tmp_path / "precious").read_bytes() == bytes(400_000)


@pytest.mark.fault("N15")
def test_a_partial_file_that_is_too_long_starts_again(target):
    target.has_part(bytes(400_000))
    with FaultServer(CONTENT) as server:
        target.fetch(server.url)
    assert target.arrived()
    assert target.said("starting again")


def test_a_partial_file_that_is_complete_needs_no_request(target):
    target.has_part(CONTENT)
    target.fetch("http://127.0.0.1:9")
    assert target.arrived()


# A file that is already there


@pytest.mark.fault("N26")
def test_an_intact_file_means_no_request(target):
    with FaultServer(CONTENT) as server:
        target.fetch(server.url)
        before = target.path.stat().st_mtime_ns
        target.fetch(server.url)
    assert len(server.requests) == 1
    assert target.said("already complete, verified")
    assert target.arrived() and target.path.stat().st_mtime_ns == before


@pytest.mark.fault("N27")
def test_one_flipped_bit_means_a_new_download(target):
    target.path.parent.mkdir()
    target.path.write_bytes(bytes([CONTENT[0] ^ 1]) + CONTENT[1:])
    with FaultServer(CONTENT) as server:
        target.fetch(server.url)
    assert target.arrived()
    assert target.said("differs from its checksum; downloading again")


@pytest.mark.fault("N28")
def test_an_intact_file_needs_no_network_at_all(target, monkeypatch):
    def no_network(*args, **kwargs):
        raise AssertionError("an attempt to reach the network")

    target.path.parent.mkdir()
    target.path.write_bytes(CONTENT)
    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    target.fetch("http://no-such-host.invalid/file.tar.gz")
    assert target.arrived()
    assert target.said("already complete, verified")


# Redirects and https


@pytest.mark.fault("N17")
def test_redirects_are_followed(target):
    with FaultServer(CONTENT, redirects=3) as server:
        target.fetch(server.url)
    assert target.arrived()


@pytest.mark.fault("N18")
def test_a_redirect_loop_ends(target):
    with FaultServer(CONTENT, redirects=10**6) as server:
        assert "too many redirects" in target.refused(server.url)
    assert len(server.requests) < 20


@pytest.mark.parametrize(
    "elsewhere", ["file:///etc/passwd", "ftp://127.0.0.1:9/x", "http://127.0.0.1:99999/", "http://me:pw@127.0.0.1/"]
)
def test_a_redirect_to_what_is_no_web_address_is_refused(target, elsewhere):
    with FaultServer(CONTENT, redirect_to=elsewhere) as server:
        assert f"refused the redirect to {elsewhere!r}" in target.refused(server.url)
    assert len(server.requests) == 1


@pytest.mark.parametrize("nonsense", ["http://[", "http://" + "x" * 60_000 + "/", "http://\u00ff.invalid/"])
def test_a_redirect_to_nonsense_is_refused_in_one_line(target, nonsense):
    with FaultServer(CONTENT, redirect_to=nonsense) as server:
        target.refused(server.url)
    assert len(server.requests) == 1


def test_a_failure_behind_a_redirect_names_the_place_that_failed(target):
    with FaultServer(CONTENT, redirect_to="http://127.0.0.1:9/elsewhere") as server:
        assert "http://127.0.0.1:9/elsewhere: 127.0.0.1:9 refused the connection" in target.refused(server.url)


def test_the_body_of_a_redirect_is_not_waited_for(target):
    with FaultServer(CONTENT, redirects=1, stall="rest") as server:
        target.fetch(server.url, timeout=5.0)
    assert target.arrived() and not target.notices


def test_https_works_with_a_trusted_certificate(target, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with FaultServer(CONTENT, tls=True) as server:
        target.fetch(server.url)
    assert target.arrived()


@pytest.mark.fault("N21")
def test_an_untrusted_certificate_is_refused(target):
    with FaultServer(CONTENT, tls=True) as server:
        assert "the certificate cannot be trusted" in target.refused(server.url)
    assert not server.requests  # nor was it asked without https, or unverified


@pytest.mark.fault("N19")
def test_https_is_never_left_for_http(target, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with FaultServer(CONTENT) as plain, FaultServer(CONTENT, tls=True, redirect_to=plain.url) as server:
        assert "refused to leave https" in target.refused(server.url)
    assert not plain.requests


# The disk


@pytest.mark.fault("N22")
def test_too_little_room_is_said_beforehand(target, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=150_000))
    with FaultServer(CONTENT) as server, pytest.raises(WriteError) as failure:
        target.fetch(server.url)
    assert failure.value.exit_code == 6
    assert f"{target.path.parent} needs 0.3 MiB" in str(failure.value) and "free 0.1 MiB" in str(failure.value)
    assert not server.requests and not os.listdir(target.path.parent)


@pytest.mark.fault("N22")
@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_disk_that_fills_up_keeps_what_has_come(target):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000));"
    with FaultServer(CONTENT) as server:
        result = _fetch_in_another_process(target, server.url, before=limit)
        _, error = result.communicate(timeout=20)
        assert f"WriteError: cannot write {target.part}: " in error
        assert f"; {target.part.parent} needs 0.1 MiB for {target.path.name}, free " in error
        assert f"200000 bytes so far are kept in {target.part.name}" in error
        assert os.listdir(target.part.parent) == [target.part.name]
        target.fetch(server.url)
    assert target.arrived()
    assert target.said("continuing at 200000")


def test_a_disk_that_fails_at_the_last_moment_is_a_write_error(target, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(download, "sync_folder", fail)
    with FaultServer(CONTENT) as server, pytest.raises(WriteError, match="cannot write .*: input/output error"):
        target.fetch(server.url)


def test_a_file_in_place_of_the_folder_is_a_write_error(target):
    target.path.parent.write_text("in the way")
    with pytest.raises(WriteError, match="cannot write"):
        target.fetch("http://127.0.0.1:9")


# Several processes


def _fetch_in_another_process(target: Target, url: str, before: str = "") -> "subprocess.Popen[str]":
    code = f"""{before}
import hashlib
from pathlib import Path
from imbalance_cli.data.download import Notice, fetch
def report(event):
    if isinstance(event, Notice): print(event.text, flush=True)
fetch([{url!r}], Path({str(target.path)!r}), size={len(CONTENT)}, md5={MD5!r}, report=report)
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _wait_for(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.mark.fault("N24")
@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_two_downloads_at_once_fetch_each_byte_once(target):
    with FaultServer(CONTENT, rate=600_000) as server:
        first = threading.Thread(target=Target(target.path.parents[1]).fetch, args=(server.url,))
        first.start()
        _wait_for(lambda: server.requests)
        target.fetch(server.url)
        first.join()
    assert target.arrived()
    assert target.said("waiting for another download") and target.said("already complete")
    assert len(server.requests) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_a_download_that_waited_for_a_file_since_replaced_waits_for_its_successor(target):
    import fcntl

    target.has_part(b"")
    with FaultServer(CONTENT) as server, target.part.open("ab") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        waiting = threading.Thread(target=target.fetch, args=(server.url,))
        waiting.start()
        _wait_for(lambda: len(target.notices) == 1)
        target.part.unlink()
        with target.part.open("ab") as second:
            fcntl.flock(second, fcntl.LOCK_EX)
            first.close()
            _wait_for(lambda: len(target.notices) == 2)
            assert not server.requests
        waiting.join()
    assert target.arrived()
    assert all("waiting for another download" in notice for notice in target.notices)


@pytest.mark.fault("N25")
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_download_blocks_nobody_and_is_continued(target):
    with FaultServer(CONTENT, rate=300_000) as server:
        process = _fetch_in_another_process(target, server.url)
        _wait_for(lambda: target.part.exists() and target.part.stat().st_size > 50_000)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        target.fetch(server.url)
    assert target.arrived()
    assert target.said("continuing at") and not target.said("waiting")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.fault("N25")
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_download_killed_when_all_has_come_needs_no_request(target, call):
    killed = f"import os, signal; os.{call} = lambda *args: os.kill(os.getpid(), signal.SIGKILL)"
    with FaultServer(CONTENT) as server:
        _fetch_in_another_process(target, server.url, before=killed).communicate(timeout=20)
        assert os.listdir(target.path.parent) == [target.part.name]
        target.fetch(server.url)
    assert target.arrived()
    assert len(server.requests) == 1
