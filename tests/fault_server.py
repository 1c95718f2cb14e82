"""A local HTTP server that serves one file, with the faults that real servers and networks have."""

import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Literal

CERTIFICATE = Path(__file__).with_name("fault_server.pem")


@dataclass(frozen=True)
class Faults:
    """What goes wrong; the defaults are a healthy server that can continue a file.

    status, failures: the first `failures` requests get only this status, None all of them. cuts: the bytes of
    body after which the first, second... connection drops. truncate: the file's bytes from here on are never
    sent. etags: of the first, second... answer, the last for all further ones. redirects: hops before the
    file. redirect_to: an address to be sent to instead. rate: bytes a second. stall: what never comes: the
    answer, or the rest of a body that was cut or leads elsewhere.
    """

    status: int = 200
    failures: int | None = 0
    cuts: Sequence[int] = ()
    truncate: int | None = None
    length: bool = True
    content_type: str = "application/x-gzip"
    ranges: Literal["honoured", "ignored", "wrong"] = "honoured"
    etags: Sequence[str] = ('"1"',)
    redirects: int = 0
    redirect_to: str = ""
    rate: int = 0
    stall: Literal["", "answer", "rest"] = ""
    tls: bool = False


class FaultServer:
    """Serves `content` at every path of `url` while the context is open; `requests` holds their headers."""

    def __init__(self, content: bytes, **faults: object) -> None:
        self.content = content
        self.faults = Faults(**faults)  # type: ignore[arg-type]
        self.requests: list[dict[str, str]] = []
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = False  # so that closing waits for them
        if self.faults.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if self.faults.tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> "FaultServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(server: FaultServer) -> type[BaseHTTPRequestHandler]:
    faults = server.faults

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            number = len(server.requests)
            server.requests.append(dict(self.headers))
            with suppress(ConnectionError):  # the client left
                self.answer(number)

        def answer(self, number: int) -> None:
            if faults.stall == "answer":
                server.closing.wait()
                return
            if faults.redirect_to or number < faults.redirects:
                self.send_response(302)
                self.send_header("Location", faults.redirect_to or f"{server.url}/hop/{number}")
                self.end_headers()
                self.hold()
                return
            if faults.failures is None or number < faults.failures:
                self.send_error(faults.status)
                return
            self.send_file(number)

        def send_file(self, number: int) -> None:
            etag = faults.etags[min(number, len(faults.etags) - 1)]
            size, start = len(server.content), 0
            asked = self.headers.get("Range")
            unchanged = self.headers.get("If-Range", etag) == etag
            if asked and unchanged and faults.ranges != "ignored":
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= (faults.truncate or size):
                    self.send_error(416)
                    return
                claimed = start + 1 if faults.ranges == "wrong" else start
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {claimed}-{size - 1}/{size}")
            else:
                self.send_response(200)
            self.send_header("Content-Type", faults.content_type)
            self.send_header("ETag", etag)
            if faults.length:
                self.send_header("Content-Length", str(size - start))
            self.end_headers()
            body = server.content[start : faults.truncate]
            if number < len(faults.cuts):
                self.send_body(body[: faults.cuts[number]])
                self.hold()
            else:
                self.send_body(body)

        def hold(self) -> None:
            if faults.stall == "rest":
                server.closing.wait()

        def send_body(self, body: bytes) -> None:
            step = faults.rate // 10 or len(body) or 1
            for start in range(0, len(body), step):
                self.wfile.write(body[start : start + step])
                if faults.rate and server.closing.wait(0.1):
                    return

    return Handler
