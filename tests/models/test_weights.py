import functools
import hashlib
import http.server
import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cxrflow.errors import CxrflowError
from cxrflow.models.checkpoints import load_tensors
from cxrflow.models.weights import check_weights, copy_weights, fetch_weights
from tests.models.toy import build_tiny, equal_weights

NETWORK = build_tiny().state_dict()


def weights_bytes() -> bytes:
    buffer = io.BytesIO()
    torch.save(NETWORK, buffer)
    return buffer.getvalue()


CONTENT = weights_bytes()
NAME = f"tiny-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; names that start with `cut` promise more bytes than they give."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if not self.path.startswith("/cut"):
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / NAME).write_bytes(CONTENT)
    (folder / "tiny-00000000.pth").write_bytes(CONTENT)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_right_content_is_kept_and_can_be_loaded(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights" / NAME
    fetch_weights(f"{server}/{NAME}", path)
    assert equal_weights(load_tensors(path), NETWORK)
    assert f"{len(CONTENT) / 2**20:.1f} MiB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("served", "name", "message"),
    [
        ("tiny-00000000.pth", "tiny-00000000.pth", "should be 00000000: nothing was kept"),
        ("cut", NAME, f"broke after 1000 of {len(CONTENT)} bytes"),
        ("other.pth", NAME, "the server says 404"),
    ],
    ids=["wrong", "cut", "absent"],
)
def test_of_wrong_or_half_content_nothing_is_left(
    server: str, tmp_path: Path, served: str, name: str, message: str
) -> None:
    with pytest.raises(CxrflowError, match=message):
        fetch_weights(f"{server}/{served}", tmp_path / "weights" / name)
    assert not [*tmp_path.glob("weights/*")]


def test_a_right_file_is_accepted_without_network(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    fetch_weights("http://nowhere.invalid/x.pth", tmp_path / NAME)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [CONTENT]


def test_a_study_keeps_its_copy_when_the_shared_folder_goes(tmp_path: Path) -> None:
    shared, mine = tmp_path / "shared" / NAME, tmp_path / "study" / NAME
    shared.parent.mkdir()
    shared.write_bytes(CONTENT)
    copy_weights(shared, mine)
    shared.unlink()
    check_weights(mine)


def test_a_damaged_file_is_fetched_anew(server: str, tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(CxrflowError, match="is damaged"):
        check_weights(path)
    fetch_weights(f"{server}/{NAME}", path)
    check_weights(path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.pth", "ftx://x/y", "not a url"])
def test_without_network_the_remedy_is_told(url: str, tmp_path: Path) -> None:
    with pytest.raises(CxrflowError, match=r"cannot be reached|is not an address"):
        fetch_weights(url, tmp_path / NAME)


def test_a_server_that_says_nothing_times_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.pth"
        with pytest.raises(CxrflowError, match=r"cannot be reached \(.*timed out\).*copy it to"):
            fetch_weights(url, tmp_path / NAME, timeout_s=0.2)


def test_a_name_without_checksum_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CxrflowError, match="carries no SHA-256"):
        fetch_weights("http://127.0.0.1:1/x.pth", tmp_path / "resnet34.pth")
