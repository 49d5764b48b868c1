"""The page's server, asked over real connections as browsers, programs and strangers ask."""

import base64
import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import os
import re
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import serve as serve_script
from cxrflow.deliver import serving
from cxrflow.deliver.door import HEADERS
from cxrflow.deliver.serving import Limits, listen, make_server
from cxrflow.errors import CxrflowError
from tests.deliver.fake_tool import CLASS_NAMES, WARNING, FakeTool

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(file_mib=0.5, upload_s=0.6, answer_s=5.0, idle_s=1, uploads=3)
BYTES = {"Content-Type": "application/octet-stream"}


def make_png(gray: int, width_px: int = 40, height_px: int = 40) -> bytes:
    noise = np.random.default_rng(gray).integers(-9, 10, (height_px, width_px))
    return cv2.imencode(".png", np.clip(gray + noise, 0, 255).astype(np.uint8))[1].tobytes()  # type: ignore[no-any-return]


class Page:
    """A page that is being served."""

    def __init__(self, tool: FakeTool, port: int) -> None:
        self.tool, self.port = tool, port
        self.origin = f"http://127.0.0.1:{port}"

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def upload(self, content: Any, path: str = "/read", **headers: str) -> tuple[int, dict[str, Any]]:
        status, _, body = self.ask("POST", path, content, {"Origin": self.origin, **BYTES, **headers})
        return status, json.loads(body)

    def talk(self, *parts: bytes, pause_s: float = 0.0) -> bytes:
        """Send bytes as they are and return all that comes back until the end."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            try:
                for part in parts:
                    connection.sendall(part)
                    time.sleep(pause_s)
            except ConnectionError:
                pass  # it has had enough; its answer is there still
            return read_all(connection)

    def head(self, *lines: str, method: str = "POST", path: str = "/read") -> bytes:
        own = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", f"Origin: {self.origin}"]
        return "\r\n".join([*own, "Content-Type: application/octet-stream", *lines, "", ""]).encode()


def read_all(connection: socket.socket) -> bytes:
    received = b""
    try:
        while part := connection.recv(1 << 16):
            received += part
    except ConnectionError:
        pass
    return received


@contextmanager
def serve(tool: FakeTool, limits: Limits = LIMITS, port: int = 0) -> Iterator[Page]:
    with listen(port) as listener:
        server = make_server(tool, listener, limits)  # type: ignore[arg-type]
        thread = threading.Thread(target=server.run, args=([listener],))
        found = listener.getsockname()[1]
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield Page(tool, found)
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with serve(FakeTool()) as page:
        yield page


def test_a_film_is_answered_with_its_map(page: Page) -> None:
    status, answer = page.upload(make_png(50))
    assert status == 200
    assert answer["predicted"] == "dark"
    assert sum(answer["probabilities"]) == pytest.approx(1)
    assert (answer["warnings"], answer["picture"], answer["map"]) == ([], None, None)
    _, answer = page.upload(make_png(220, 540, 720), "/read?pictures")
    assert (answer["predicted"], answer["warnings"]) == (CLASS_NAMES[2], [WARNING])
    pictures = [base64.b64decode(answer[name].partition("base64,")[2]) for name in ("picture", "map")]
    shapes = [cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED).shape for png in pictures]
    assert shapes == [(720, 540), (64, 64, 4)]
    assert answer["aspect"] == 0.75
    assert answer["peak"] == "middle left"


def test_an_abstention_is_no_class(page: Page) -> None:
    _, answer = page.upload(make_png(90))
    assert answer["predicted"] is None
    assert len(answer["probabilities"]) == len(CLASS_NAMES)


def test_the_page_runs_its_own_script_and_nothing_else(page: Page) -> None:
    status, headers, body = page.ask("GET", "/")
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    (script,) = re.findall(rb"<script>(.*?)</script>", body, re.DOTALL)
    assert status == 200
    assert policy["script-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert not re.findall(rb"<script[^>]|\son\w+=|\sstyle=|javascript:|innerHTML|https?://", body)


@pytest.mark.parametrize("path", ["/", "/card", "/missing"])
def test_no_answer_is_kept_framed_or_read_by_another_page(page: Page, path: str) -> None:
    _, headers, _ = page.ask("GET", path, headers={"Origin": page.origin})
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert not [name for name in headers if name.lower().startswith("access-control") or name.lower() == "server"]


STRANGERS = {
    "a name that was pointed here (DNS rebinding)": {
        "Host": "evil.example:{port}",
        "Origin": "http://evil.example:{port}",
        "Sec-Fetch-Site": "same-origin",
    },
    "the right name with another port": {"Host": "127.0.0.1:1"},
    "a name that begins like ours": {"Host": "127.0.0.1:{port}.evil.example"},
    "another origin": {"Origin": "http://evil.example"},
    "another port of this computer": {"Origin": "http://127.0.0.1:1"},
    "a sandboxed frame": {"Origin": "null"},
    "a program that names no origin": {"Origin": ""},
    "our other name": {"Origin": "http://localhost:{port}"},
    "another site, by what the browser says": {"Sec-Fetch-Site": "cross-site"},
    "another port, by what the browser says": {"Sec-Fetch-Site": "same-site"},
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_strangers_are_refused(page: Page, stranger: str) -> None:
    headers = {name: value.format(port=page.port) for name, value in STRANGERS[stranger].items()}
    before = page.tool.n_reads
    status, answer = page.upload(make_png(50), **headers)
    assert (status, list(answer), page.tool.n_reads) == (403, ["problem"], before)


def test_a_host_is_named_once(page: Page) -> None:
    assert page.talk(b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403 ")
    twice = page.head("Host: evil.example", "Connection: close", method="GET", path="/")
    assert page.talk(twice).startswith(b"HTTP/1.1 400 ")


def test_the_page_opens_by_a_link_and_under_both_its_names(page: Page) -> None:
    assert page.ask("GET", "/", headers={"Sec-Fetch-Site": "cross-site"})[0] == 200
    assert page.ask("GET", "/", headers={"Host": f"localhost:{page.port}"})[0] == 200
    assert page.ask("GET", "/card", headers={"Sec-Fetch-Site": "cross-site"})[0] == 403


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "text/plain", "application/x-www-form-urlencoded"])
def test_what_a_form_of_another_page_can_send_is_refused(page: Page, kind: str) -> None:
    before = page.tool.n_reads
    assert page.upload(b"--x\r\n", **{"Content-Type": kind})[0] == 415
    assert page.tool.n_reads == before


def test_no_other_page_is_allowed_to_ask(page: Page) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    status, headers, _ = page.ask("OPTIONS", "/read", headers=asked)
    assert status == 403
    assert not [name for name in headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "path", ["/docs", "/openapi.json", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/page.html"]
)
def test_there_is_nothing_else_to_get(page: Page, path: str) -> None:
    assert page.ask("GET", path)[0] == 404


def test_a_file_that_is_too_large_by_its_length_is_refused_before_it_comes(page: Page) -> None:
    answer = page.talk(page.head(f"Content-Length: {10**11}", "Expect: 100-continue"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"larger than 0.5 MiB" in answer


def test_a_file_that_does_not_say_how_large_it_is_is_refused_on_its_way(page: Page) -> None:
    chunk, before = b"10000\r\n" + bytes(0x10000) + b"\r\n", page.tool.n_reads
    sent = 0
    with socket.create_connection(("127.0.0.1", page.port), timeout=20) as connection:
        connection.sendall(page.head("Transfer-Encoding: chunked"))
        with contextlib.suppress(ConnectionError):
            while sent < 2**30:
                connection.sendall(chunk)
                sent += len(chunk)
        assert read_all(connection).startswith(b"HTTP/1.1 413 ")
    assert sent < 2**26  # the limit, and what the system holds on the way
    assert page.tool.n_reads == before


def test_a_compressed_body_is_refused(page: Page) -> None:
    assert page.upload(zlib.compress(bytes(10**6)), **{"Content-Encoding": "gzip"})[0] == 415


def make_bomb(side_px: int) -> bytes:
    """Make a PNG of some hundred kB that unpacks to side_px x side_px."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side_px // 8 + 1) * side_px), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"<html>not an image</html>", "not an image"),
        (make_png(50)[:-30], "cut off|damaged|truncated"),
        (make_bomb(30_000), "megapixels"),
        (b"PK\x03\x04" + bytes(100), "not an image"),
    ],
)
def test_what_is_no_image_says_why(page: Page, content: bytes, problem: str) -> None:
    status, answer = page.upload(content)
    assert status == 422
    assert re.search(problem, answer["problem"]), answer


def test_a_file_that_is_cut_off_is_never_read(page: Page) -> None:
    before = page.tool.n_reads
    with socket.create_connection(("127.0.0.1", page.port), timeout=20) as connection:
        connection.sendall(page.head("Content-Length: 1000") + make_png(50)[:100])
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)
    assert page.upload(make_png(50))[0] == 200
    assert page.tool.n_reads == before + 1


def test_a_slow_client_is_let_go(page: Page) -> None:
    assert page.talk(page.head("Content-Length: 1000"), b"x").startswith(b"HTTP/1.1 408 ")
    assert page.talk(b"GET / HTTP/1.1\r\n") == b""


def test_two_files_are_read_at_once_and_a_crowd_is_sent_away() -> None:
    both, go_on = threading.Barrier(3), threading.Event()

    class Slow(FakeTool):
        def read(self, name: str, content: bytes, *, pictures: bool = False) -> Any:
            if not go_on.is_set():
                both.wait(10)
                go_on.wait(10)
            return super().read(name, content, pictures=pictures)

    with serve(Slow(), Limits(uploads=2)) as page, concurrent.futures.ThreadPoolExecutor(2) as clients:
        two = [clients.submit(page.upload, make_png(gray)) for gray in (50, 220)]
        both.wait(10)  # both are being read
        status = page.upload(make_png(50))[0]
        go_on.set()
        answers = [each.result()[1]["predicted"] for each in two]
    assert (status, answers) == (503, ["dark", CLASS_NAMES[2]])


def test_connections_are_limited() -> None:
    with serve(FakeTool(), Limits(connections=3, idle_s=5)) as page:
        crowd = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(3)]
        try:
            status = page.ask("GET", "/")[0]
        finally:
            for each in crowd:
                each.close()
    assert status == 503


@pytest.mark.parametrize(("error", "status"), [(ValueError("DOE^JANE"), 500), (MemoryError("DOE^JANE"), 503)])
def test_a_fault_tells_where_it_is_and_nothing_of_the_file(
    error: Exception, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    class Faulty(FakeTool):
        def read(self, name: str, content: bytes, *, pictures: bool = False) -> Any:
            raise error

    with serve(Faulty()) as page:
        found, answer = page.upload(make_png(50))
    said = capfd.readouterr()
    assert found == status
    assert "JANE" not in said.out + said.err + str(answer)
    assert ("test_serving.py, line" in said.err) == (status == 500)


def test_reading_that_takes_too_long_is_given_up() -> None:
    go_on = threading.Event()

    class Stuck(FakeTool):
        def read(self, name: str, content: bytes, *, pictures: bool = False) -> Any:
            go_on.wait(20)

    with serve(Stuck(), Limits(answer_s=0.1)) as page:
        status, answer = page.upload(make_png(50))
        go_on.set()
    assert status == 503
    assert "0.1 s" in answer["problem"]


WRITES: list[str] = []


def note_writes(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        WRITES.append(str(arguments[0]))


def test_nothing_is_written(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    sys.addaudithook(note_writes)  # stays: it only notes
    WRITES.clear()
    page.upload(make_png(50, 500, 400), "/read?pictures")
    page.upload(b"no image")
    page.talk(page.head("Content-Length: 1000") + b"x")
    page.ask("POST", "/read", b"--x\r\n" * 1000, {"Origin": page.origin, "Content-Type": "multipart/form-data"})
    assert [*WRITES, *tmp_path.iterdir()] == []


def test_a_busy_port_is_left_for_a_free_one_unless_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with listen(0) as first:
        monkeypatch.setattr(serving, "PORT", first.getsockname()[1])
        with listen(None) as second:
            assert second.getsockname() == ("127.0.0.1", second.getsockname()[1])
            assert second.getsockname() != first.getsockname()
        with pytest.raises(CxrflowError, match=r"cannot be used .* leave out --port"):
            listen(first.getsockname()[1])
        with pytest.raises(CxrflowError, match="cannot be used"):
            listen(10**6)


def test_a_missing_package_is_named(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "cxrflow.deliver.serving")
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(CxrflowError, match="needs the package fastapi: python -m pip install"):
        serve_script.serve(model=exported)


STYLES = [ROOT / "scripts/cxrflow" / name for name in ("deliver/page.html", "report/templates/style.css")]


def read_colors(path: Path) -> list[dict[str, str]]:
    """Return the colours of a page by name, in its light scheme and in its dark one."""
    blocks = re.findall(r":root \{(.*?)\}", path.read_text(encoding="utf-8"), re.DOTALL)[:2]
    return [dict(re.findall(r"--([\w-]+): ([^;]+);", block)) for block in blocks]


def luminance(color: str) -> float:
    """Return the relative luminance of `#rrggbb` (WCAG 2.2)."""
    values = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_page_has_the_colours_of_the_report() -> None:
    page, report = map(read_colors, STYLES)
    assert len(page) == 2
    assert page == report


@pytest.mark.parametrize("scheme", [0, 1])
def test_every_text_stands_out_from_what_is_behind_it(scheme: int) -> None:
    colors = read_colors(STYLES[0])[scheme]
    behind = {"ink": ("page", "soft", "warn-soft"), "muted": ("page", "soft"), "accent": ("page", "soft")}
    behind |= {"warn": ("page", "soft", "warn-soft"), "good": ("page", "soft"), "bad": ("page", "soft")}
    for text, grounds in behind.items():
        for ground in grounds:
            light, dark = sorted((luminance(colors[text]), luminance(colors[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)
