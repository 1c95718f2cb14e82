"""Fetching one file: continuing a partial one, retrying, trying mirrors, verifying."""

import hashlib
import os
import re
import shutil
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse, responses
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from imbalance_cli import __version__
from imbalance_cli.errors import DataError, NetworkError, SettingError, WriteError
from imbalance_cli.files import cannot_write, make_folder, sync_folder

if sys.platform != "win32":
    import fcntl

RETRIES = 3  # in a row without a new byte
BACKOFF = 1.0  # seconds before the first retry; doubled for each further one
CHUNK = 1 << 18
FAILURES = (OSError, HTTPException, ValueError)  # ValueError: a redirect to what cannot be an address


@dataclass(frozen=True)
class Notice:
    """One line that the user wants to read while waiting."""

    text: str


@dataclass(frozen=True)
class Progress:
    """`done` of `total` bytes are there."""

    done: int
    total: int


Report = Callable[[Notice | Progress], None]


def silent(event: Notice | Progress) -> None:
    """The report of a caller who wants none."""


def fetch(
    urls: Sequence[str], target: Path, *, size: int, md5: str, timeout: float = 30.0, report: Report = silent
) -> None:
    """Make `target` the file of `size` bytes with checksum `md5`, from the first of `urls` that serves it.

    What has come is kept in `target`.part until it is whole and verified, and a later call continues there.
    An intact `target` means no request. `timeout` is in seconds without a byte; there is no limit in total.
    Raises SettingError for an unusable address or timeout; NetworkError; WriteError; DataError if what is
    there cannot be read.
    """
    if not 0 < timeout <= 3600:
        raise SettingError(f"--timeout {timeout:g}: expected seconds, above 0 and up to 3600")
    for url in urls:
        if not _is_address(url):
            raise SettingError(f"cannot download from {url!r}: expected an address like https://host/folder")
    if _already_there(target, size, md5, report):
        return
    make_folder(target.parent)
    part = target.with_name(f"{target.name}.part")
    with _only_download(part, report):
        if _already_there(target, size, md5, report):  # thanks to the download that was waited for
            return
        if os.path.exists(target):
            report(Notice(f"{target} differs from its checksum; downloading again"))
            try:
                target.unlink()
            except OSError as error:
                raise cannot_write(target, error) from error
        if _length(part) > size:
            report(Notice(f"{part} is longer than the file; starting again"))
            _empty(part)
        _check_room(part, size)
        _fetch_from_any(urls, part, size, md5, timeout, report)
        try:
            with part.open("r+b") as file:
                os.fsync(file.fileno())
            os.replace(part, target)
            sync_folder(target.parent)
        except OSError as error:
            raise cannot_write(target, error) from error


def md5_of(path: Path) -> str:
    """The MD5 of a file, in hexadecimal. Raises DataError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in url
    except ValueError:  # a port that is no number
        return False
    return bool(usable) and url.isascii() and url.isprintable() and " " not in url


def _already_there(target: Path, size: int, md5: str, report: Report) -> bool:
    if _length(target) != size or md5_of(target) != md5:
        return False
    report(Notice(f"{target} is already complete, verified"))
    return True


@contextmanager
def _only_download(part: Path, report: Report) -> Iterator[None]:
    """Hold a lock on `part` itself, so that a killed process leaves none behind; wait for who holds it."""
    if sys.platform == "win32":
        yield
        return
    while True:
        try:
            if os.path.islink(part) or (os.path.exists(part) and not os.path.isfile(part)):
                raise WriteError(f"cannot write {part}: it is no plain file; remove it")
            handle = part.open("ab")
        except OSError as error:
            raise cannot_write(part, error) from error
        with handle:
            _lock(handle, part, report)
            try:
                current = os.path.samestat(os.fstat(handle.fileno()), part.stat())
            except FileNotFoundError:
                current = False
            if not current:  # whoever held the lock has finished this file or removed it
                continue
            try:
                yield
            finally:
                with suppress(OSError):
                    if part.stat().st_size == 0:
                        part.unlink()
            return


def _lock(handle: IO[bytes], part: Path, report: Report) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        report(Notice(f"waiting for another download of {part.stem}"))
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        pass  # some network file systems have no locks; the checksum still guards the result


def _check_room(part: Path, size: int) -> None:
    if shutil.disk_usage(part.parent).free < size - _length(part):
        raise WriteError(_room(part, size))


def _room(part: Path, size: int) -> str:
    have = _length(part)
    kept = f"; {have} bytes so far are kept in {part.name}" if have else ""
    free = shutil.disk_usage(part.parent).free
    return f"{part.parent} needs {_mebibytes(size - have)} for {part.stem}, free {_mebibytes(free)}{kept}"


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def _fetch_from_any(urls: Sequence[str], part: Path, size: int, md5: str, timeout: float, report: Report) -> None:
    failures: list[str] = []
    for url in urls:
        if failures:
            report(Notice(f"{failures[-1]}; trying {url}"))
        try:
            _fetch_verified(url, part, size, md5, timeout, report)
            return
        except NetworkError as error:
            failures.append(str(error))
    cure = "the same command tries again and continues, --mirror URL takes another source"
    raise NetworkError(f"{'; '.join(failures)}; {cure}")


def _fetch_verified(url: str, part: Path, size: int, md5: str, timeout: float, report: Report) -> None:
    """Complete `part` from `url`; should one that came in several pieces fail its checksum, fetch it afresh, once."""
    in_pieces = _complete(url, part, size, timeout, report)
    found = md5_of(part)
    if found != md5 and in_pieces:
        report(Notice(f"{part} differs from its checksum; downloading again"))
        _empty(part)
        _complete(url, part, size, timeout, report)
        found = md5_of(part)
    if found != md5:
        _empty(part)
        raise NetworkError(f"{url}: the checksum differs: MD5 {found}, expected {md5}")


def _complete(url: str, part: Path, size: int, timeout: float, report: Report) -> bool:
    """Append to `part` what it lacks of the `size` bytes at `url`, over as many connections as it takes.

    Returns whether the file came in several pieces, which may be those of different files.
    """
    etag, furthest, failures = "", _length(part), 0
    in_pieces = furthest > 0
    while (have := _length(part)) < size:
        try:
            with _open(url, have, etag, timeout) as response:
                start = _start_of_body(response, have, size, etag, report)
                in_pieces = start > 0
                etag = response.headers.get("ETag", "")
                _receive(response, part, start, size, timeout, report)
            trouble = "the connection ended early"
        except _Interrupted as interruption:
            trouble = str(interruption)
        except _CannotContinue as refusal:
            _empty(part)  # or every further attempt would end here
            expected = f"expected a file of {size} bytes; discarded the {have} bytes so far"
            raise NetworkError(f"{url}: {refusal}; {expected}") from refusal
        have = _length(part)
        if have == size:
            break
        failures = 1 if have > furthest else failures + 1
        furthest = max(furthest, have)
        if failures > RETRIES:
            got = f"got {have} of the expected {size} bytes in {failures} attempts"
            raise NetworkError(f"{url}: {trouble}; {got}")
        wait = BACKOFF * 2 ** (failures - 1)
        report(Notice(f"{trouble} at {have} of {size} bytes; retry {failures}/{RETRIES} in {wait:g} s"))
        time.sleep(wait)
    return in_pieces


class _Interrupted(Exception):
    """A failure after which another attempt may succeed."""


class _CannotContinue(Exception):
    """The server does not continue the partial file."""


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, unless they leave https or the network; `url` is where the last one led."""

    def __init__(self, url: str) -> None:
        self.url = url

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        fp.close()  # or urllib would read the body of this answer, however long
        if not _is_address(newurl):
            raise NetworkError(f"{self.url}: refused the redirect to {newurl!r}")
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise NetworkError(f"{self.url}: refused to leave https for {newurl!r}")
        self.url = newurl
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, have: int, etag: str, timeout: float) -> HTTPResponse:
    headers = {"User-Agent": f"imbalance-cli/{__version__}"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if etag and not etag.startswith("W/"):  # a weak tag does not promise equal bytes
            headers["If-Range"] = etag
    redirects = _Redirects(url)
    try:
        response: HTTPResponse = build_opener(redirects).open(Request(url, headers=headers), timeout=timeout)
    except FAILURES as error:
        raise _explain(error, redirects.url, timeout) from error
    return response


def _start_of_body(response: HTTPResponse, have: int, size: int, etag: str, report: Report) -> int:
    """The byte of the file at which the body begins: `have`, or 0 where the server sends all of it."""
    url, headers = response.url, response.headers
    if headers.get_content_type() == "text/html":
        raise NetworkError(f"{url}: got text/html, perhaps a login page; expected a file of {size} bytes")
    if response.status == 206:
        given = headers.get("Content-Range", "")
        if not re.fullmatch(rf"bytes {have}-\d+/({size}|\*)", given):
            raise _CannotContinue(f"asked for bytes {have} to {size - 1}, got Content-Range {given!r}")
        report(Notice(f"continuing at {have}"))
        return have
    length = headers.get("Content-Length", str(size))
    if response.status != 200 or length != str(size):
        raise NetworkError(f"{url}: HTTP {response.status} with {length!r} bytes; expected a file of {size}")
    if have:
        changed = etag and headers.get("ETag", "") != etag
        reason = "the file changed on the server; starting again" if changed else "server restarted the file"
        report(Notice(reason))
    return 0


def _receive(response: HTTPResponse, part: Path, start: int, size: int, timeout: float, report: Report) -> None:
    """Write the body of `response` to `part` from byte `start` on, never beyond `size` bytes."""
    if start == 0:
        _empty(part)
    report(Progress(start, size))
    while start < size:
        try:
            chunk = response.read1(min(CHUNK, size - start))
        except FAILURES as error:
            raise _explain(error, response.url, timeout) from error
        if not chunk:
            return
        try:
            with part.open("ab") as file:
                file.write(chunk)
        except OSError as error:
            raise WriteError(f"{cannot_write(part, error)}; {_room(part, size)}") from error
        start += len(chunk)
        report(Progress(start, size))


def _empty(part: Path) -> None:
    try:
        part.write_bytes(b"")
    except OSError as error:
        raise cannot_write(part, error) from error


def _explain(error: Exception, url: str, timeout: float) -> Exception:
    """What to raise for a failure of the network at `url`: NetworkError, if another attempt would end the same."""
    parts = urlsplit(url)
    match error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error:
        case HTTPError() as answer:
            return _explain_answer(answer, url)
        case socket.gaierror():
            return NetworkError(f"{url}: cannot resolve the host name {parts.hostname}")
        case ConnectionRefusedError():
            port = parts.port or {"http": 80, "https": 443}[parts.scheme]
            return NetworkError(f"{url}: {parts.hostname}:{port} refused the connection")
        case ssl.SSLCertVerificationError() as cause:
            return NetworkError(f"{url}: the certificate cannot be trusted: {cause.verify_message}")
        case TimeoutError():
            return _Interrupted(f"no answer within {timeout:g} s")
        case ssl.SSLError(reason=str(reason)):
            return _Interrupted(f"https failed: {reason.lower().replace('_', ' ')}")
        case ConnectionError() | ssl.SSLError() | HTTPException():
            return _Interrupted("the connection was dropped")
        case OSError(strerror=str(reason)):
            return NetworkError(f"{url}: {reason[:1].lower()}{reason[1:]}")
        case cause:
            return NetworkError(f"{url}: {cause}")


def _explain_answer(error: HTTPError, url: str) -> Exception:
    error.close()
    answer = f"HTTP {error.code} {responses.get(error.code, '')}".rstrip()
    if error.code in (408, 429) or error.code >= 500:
        return _Interrupted(answer)
    if error.code == 416:
        return _CannotContinue(f"{answer}: the size differs")
    if str(error.reason).startswith(HTTPRedirectHandler.inf_msg):
        answer = "too many redirects"
    elif error.code < 400 and "Location" in error.headers:
        answer = f"refused the redirect to {error.headers['Location']!r}"
    return NetworkError(f"{url}: {answer}")


def _length(path: Path) -> int:
    """Bytes in the file at `path`; 0 if it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
