"""The page in a real browser: what a person sees, and that nothing is asked of any other place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deliver.chromium import PROGRAM, Chromium, open_chromium
from tests.deliver.fake_tool import CLASS_NAMES, WARNING, FakeTool
from tests.deliver.test_serving import Page, make_png, serve

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")]
FILMS = {"b2.png": 50, "b10.png": 220, "a.png": 90}
READ = "items.length > 0 && !busy"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with serve(FakeTool()) as page:
        yield page


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with open_chromium(tmp_path_factory.mktemp("chromium") / "profile") as browser:
        yield browser


@pytest.fixture
def opened(page: Page, browser: Chromium) -> Chromium:
    browser.events.clear()
    browser.look(1280, 900)
    browser.open(page.origin)
    return browser


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in FILMS]
    for path in paths:
        path.write_bytes(make_png(FILMS[path.name]))
    return [*paths, Path(__file__)]


def read_rows(browser: Chromium) -> list[list[str]]:
    rows: list[list[str]] = browser.evaluate(
        "[...document.querySelectorAll('#rows tr')].map((row) => [...row.children].map((cell) => cell.innerText))"
    )
    return rows


def test_files_are_read_into_a_worklist(opened: Chromium, films: list[Path]) -> None:
    opened.choose("#files", *films)
    opened.wait_for(READ)
    rows = read_rows(opened)
    assert [row[0] for row in rows] == ["a.png", "b2.png", "b10.png", "test_page.py"]
    assert rows[0][1:] == ["no answer", "51 %", "", "abstains"]
    assert [row[1] for row in rows[1:]] == ["dark", CLASS_NAMES[2], ""]
    assert rows[2][3:] == [WARNING, "answered"]
    assert rows[3][4] == "not read"
    assert opened.evaluate("$('count').innerText") == "4 of 4 read, 1 of them failed"


def test_nothing_is_asked_of_another_place(opened: Chromium, page: Page, films: list[Path]) -> None:
    opened.choose("#files", *films)
    opened.wait_for(READ)
    urls = {event["request"]["url"] for name, event in opened.events if name == "Network.requestWillBeSent"}
    assert {url for url in urls if not url.startswith(("data:image/png;base64,", f"{page.origin}/"))} == set()
    faults = [event for name, event in opened.events if name in ("Runtime.exceptionThrown", "Audits.issueAdded")]
    assert faults == []
