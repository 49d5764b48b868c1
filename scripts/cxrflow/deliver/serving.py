"""The page of a delivered model: files dropped in a browser are read on the same computer.

Serves page.html, the model's card, and `POST /read`: the bytes of one file as the whole body, to its answer as JSON.
Nothing is stored, by construction: one file per request lies in memory until it is read (a form of many files would be
spooled to a temporary folder), and the page keeps its name, which is sent nowhere. Nothing is logged but where a fault
of the code is. Who may ask is door.py's.
"""

import asyncio
import base64
import importlib.resources
import os
import socket
import sys
import threading
import traceback
import webbrowser
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from cxrflow.deliver.door import guard, make_policy
from cxrflow.deliver.tool import Answer, Tool
from cxrflow.errors import CxrflowError
from cxrflow.files.formats import KINDS

ADDRESS = "127.0.0.1"  # never another: the page is for the person at this computer
PORT = 8437  # of no registered service
BODY_TYPE = "application/octet-stream"
MIB = 2**20
BROWSER_AFTER_S = 0.5
ENDING_S = 3  # for answers that are on their way at Ctrl-C


@dataclass(frozen=True)
class Limits:
    """What one page takes.

    Attributes:
        files: in its list.
        file_mib: per file, MiB.
        upload_s: for one file to arrive, seconds; on one computer it takes a moment.
        answer_s: for one file to be read, waiting included, seconds.
        idle_s: for the next request of a connection to come, seconds.
        at_once: files read at the same time.
        uploads: files on their way or waiting; all of them are in memory.
        connections: open at the same time.
    """

    files: int = 2000
    file_mib: float = 64.0
    upload_s: float = 30.0
    answer_s: float = 60.0
    idle_s: int = 5
    at_once: int = 2
    uploads: int = 8
    connections: int = 64


class Refusal(Exception):
    """A request that is not answered: its HTTP status, and why, for the person at the page."""

    def __init__(self, status: int, problem: str) -> None:
        """Take both."""
        super().__init__(problem)
        self.status = status


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 for clients that say what they want: uvicorn would wait for the first request for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Close the connection if no request has come within the keep-alive time."""
        super().connection_made(transport)
        self.loop.call_later(self.timeout_keep_alive, lambda: None if self.cycle else self.timeout_keep_alive_handler())


def serve_tool(tool: Tool, port: int | None, open_browser: bool, limits: Limits = Limits()) -> None:
    """Serve the page until Ctrl-C, and print where it is.

    port: of 127.0.0.1; without it PORT, or any that is free where that is busy.

    Raises:
        CxrflowError: the port that was asked for is busy or not allowed.
    """
    with listen(port) as listener:
        url = f"http://{ADDRESS}:{listener.getsockname()[1]}/"
        print(f"The page is at {url} (for this computer only; nothing is stored). Ctrl-C ends it.", flush=True)
        if open_browser and has_screen():
            threading.Timer(BROWSER_AFTER_S, webbrowser.open, [url]).start()
        make_server(tool, listener, limits).run([listener])


def make_server(tool: Tool, listener: socket.socket, limits: Limits) -> uvicorn.Server:
    """Return the server of the page that a socket leads to; it says nothing, not even which requests there were."""
    config = uvicorn.Config(
        make_app(tool, listener.getsockname()[1], limits),
        http=ImpatientProtocol,
        ws="none",
        limit_concurrency=limits.connections,
        timeout_keep_alive=limits.idle_s,
        timeout_graceful_shutdown=ENDING_S,
        log_level="critical",
        access_log=False,
        server_header=False,
    )
    return uvicorn.Server(config)


def has_screen() -> bool:
    """Return whether a browser would open a window; in a terminal without a screen it would take the terminal."""
    return sys.platform in ("win32", "darwin") or any(name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def listen(port: int | None) -> socket.socket:
    """Return a socket that listens at a port of 127.0.0.1: the one asked for, else PORT, else any that is free.

    Raises:
        CxrflowError: the port that was asked for is busy or not allowed.
    """
    for wanted in (PORT, 0) if port is None else (port,):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if os.name == "posix":  # elsewhere this would share the port with another program
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((ADDRESS, wanted))
            listener.listen()  # from now on the port is taken, and who comes early waits
        except (OSError, OverflowError) as error:
            listener.close()
            reason = error
        else:
            return listener
    raise CxrflowError(f"port {port} of this computer cannot be used ({reason}): give another, or leave out --port")


def make_app(tool: Tool, port: int, limits: Limits) -> ASGIApp:
    """Return the page as an ASGI application.

    port: where it is reached; requests that name another host are refused.
    """
    page = importlib.resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    readers = ThreadPoolExecutor(limits.at_once, thread_name_prefix="read")
    app = FastAPI(openapi_url=None)  # its documentation would load scripts from elsewhere
    uploads: set[Request] = set()

    @app.get("/")
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/card")
    async def show_card() -> JSONResponse:
        return JSONResponse({**describe_tool(tool), "limits": asdict(limits)})

    @app.post("/read")
    async def read_file(request: Request) -> JSONResponse:
        if len(uploads) >= limits.uploads:
            raise Refusal(503, f"{limits.uploads} files are being read already: try again in a moment")
        uploads.add(request)
        try:
            content = await receive_file(request, limits)
            pictures = "pictures" in request.query_params
            answer = await in_time(readers, lambda: tool.read("X-ray", content, pictures=pictures), limits.answer_s)
        finally:
            uploads.remove(request)
        return JSONResponse(answer_to_json(answer), 422 if answer.problem else 200)

    @app.exception_handler(Refusal)
    async def refuse(_request: Request, refusal: Refusal) -> JSONResponse:
        # What is left of an upload is not waited for.
        return JSONResponse({"problem": str(refusal)}, refusal.status, {"Connection": "close"})

    return guard(app, (f"{ADDRESS}:{port}", f"localhost:{port}"), make_policy(page))


async def receive_file(request: Request, limits: Limits) -> bytes:
    """Return the body of a request, of which never more than the limit is in memory.

    Raises:
        Refusal: it is no plain file, too large, or comes too slowly.
    """
    if request.headers.get("content-type") != BODY_TYPE or "content-encoding" in request.headers:
        raise Refusal(415, f"send the bytes of one file as they are, as {BODY_TYPE}")
    limit = int(limits.file_mib * MIB)
    too_large = Refusal(413, f"it is larger than {limits.file_mib:g} MiB, the most that this page takes")
    if int(request.headers.get("content-length", 0)) > limit:  # digits only: the server has checked
        raise too_large
    content = bytearray()
    try:
        async with asyncio.timeout(limits.upload_s):
            async for chunk in request.stream():
                if len(content) + len(chunk) > limit:
                    raise too_large
                content += chunk
    except TimeoutError:
        raise Refusal(408, f"it did not arrive within {limits.upload_s:g} s: try again") from None
    except ClientDisconnect:
        raise Refusal(400, "it was cut off on its way") from None
    return bytes(content)


async def in_time(readers: ThreadPoolExecutor, read: Callable[[], Answer], limit_s: float) -> Answer:
    """Return what a function returns in one of a few threads; while none of them is free, it waits.

    Raises:
        Refusal: it takes too long, there is no memory for it, or it fails, which is a fault of the code. What it says
            may quote the file and is not shown; where it failed is printed to standard error.
    """
    reading: Awaitable[Answer] = asyncio.get_running_loop().run_in_executor(readers, read)
    try:
        return await asyncio.wait_for(reading, limit_s)
    except TimeoutError:
        raise Refusal(503, f"reading it takes longer than {limit_s:g} s: try again, alone") from None
    except MemoryError:
        raise Refusal(503, "it needs more memory than there is") from None
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        print(f"fault: {type(error).__name__} in {place.filename}, line {place.lineno}", file=sys.stderr, flush=True)
        raise Refusal(500, "the program failed at this file; the window that it was started in says where") from None


def answer_to_json(answer: Answer) -> dict[str, Any]:
    """Return what the page shows of an answer; pictures as `data:` URLs."""
    if answer.probabilities is None:
        return {"problem": answer.problem}
    return {
        "predicted": answer.predicted,
        "probabilities": [float(each) for each in answer.probabilities],
        "warnings": list(answer.warnings),
        "picture": None if answer.film is None else to_data_url(answer.film),
        "aspect": None if answer.film is None else answer.film.shape[1] / answer.film.shape[0],
        "map": None if answer.heatmap is None else to_data_url(color_map(answer.heatmap)),
        "peak": None if answer.heatmap is None else describe_peak(answer.heatmap),
    }


def describe_peak(heat: NDArray[np.uint8]) -> str:
    """Return in words where a map, uint8 (H, W), is hottest: what those read who do not see it."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    down = ("upper", "middle", "lower")[3 * int(row) // heat.shape[0]]
    across = ("left", "centre", "right")[3 * int(column) // heat.shape[1]]
    return "centre" if (down, across) == ("middle", "centre") else f"{down} {across}"


def color_map(heat: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a map, uint8 (H, W), in the report's colours (inferno), the more opaque the hotter: BGRA (H, W, 4)."""
    colors = cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO)
    return np.asarray(np.dstack([colors, heat]), dtype=np.uint8)


def to_data_url(picture: NDArray[np.uint8]) -> str:
    """Return a picture, gray or BGRA, as a PNG in a URL."""
    _, png = cv2.imencode(".png", picture)
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()


def describe_tool(tool: Tool) -> dict[str, Any]:
    """Return what the page says about the model: its name, its classes, and facts as pairs of term and text."""
    card, known = tool.card, tool.metadata
    facts = {"Model": card.describe(), "Classes": ", ".join(card.class_names)}
    if known:
        facts |= {
            "Test score": describe_score(known["eval_metrics"]),
            "Learned from": known["data_source"],
            "Meant for": known["intended_use"],
        }
    if tool.grid:
        rows, columns = tool.grid
        facts["Map"] = (
            f"Grad-CAM of the most probable class, {rows} x {columns} cells: it says roughly where, and not that the"
            " answer is right. Networks that have learned nothing draw plausible maps as well."
        )
    facts["Checked"] = (
        "At this start, every file and the answers for drawn images." if known else "The file's seal, at this start."
    )
    return {"name": card.name, "classes": card.class_names, "facts": [*facts.items()]}


def describe_score(metrics: dict[str, Any]) -> str:
    """Return the macro F1 of metrics.json with its interval and what it rests on, in a sentence."""
    score = metrics["macro_f1"]
    text = KINDS["score"].show_interval(score["value"], score["low"], score["high"], score["n_patients"])
    return (
        f"Macro F1 {text} on {metrics['n_images']:,} test images of {metrics['n_patients']:,} patients, with a 95 %"
        " interval that covers no other hospital and no other device."
    )
