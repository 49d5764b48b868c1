"""The page in a real browser: what a person sees, and that nothing is asked of any other place."""

import csv
import io
import json
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
    assert opened.evaluate("$('count').innerText") == "4 of 4 done, 1 not read"


def test_nothing_is_asked_of_another_place(opened: Chromium, page: Page, films: list[Path]) -> None:
    opened.choose("#files", *films)
    opened.wait_for(READ)
    urls = {event["request"]["url"] for name, event in opened.events if name == "Network.requestWillBeSent"}
    assert {url for url in urls if not url.startswith(("data:image/png;base64,", f"{page.origin}/"))} == set()
    faults = [event for name, event in opened.events if name in ("Runtime.exceptionThrown", "Audits.issueAdded")]
    assert faults == []


def test_the_keyboard_is_enough(opened: Chromium, films: list[Path]) -> None:
    opened.choose("#files", *films)
    opened.wait_for(READ)
    opened.evaluate("$('clear').focus()")
    focus = "document.activeElement.innerText || document.activeElement.id"
    walked = [opened.press("Tab", 9) or opened.evaluate(focus) for _ in range(6)]
    assert walked == ["File", "Answer", "Probability", "Warnings", "State", "a.png"]
    opened.press("ArrowDown", 40)
    assert opened.evaluate(focus) == opened.evaluate("$('file').innerText") == "b2.png"
    opened.press("End", 35)
    assert opened.evaluate(focus) == opened.evaluate("$('file').innerText") == "test_page.py"
    assert opened.evaluate("$('verdict').innerText") == "Not read"
    opened.press("Home", 36)
    opened.wait_for("!$('seen').hidden")
    opened.evaluate("$('opacity').focus()")
    opened.press("ArrowRight", 39)
    assert opened.evaluate("[$('percent').innerText, $('map').style.opacity]") == ["65 %", "0.65"]
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert opened.evaluate(outline) != "none"


def test_the_list_is_sorted_by_each_column(opened: Chromium, films: list[Path]) -> None:
    opened.choose("#files", *films)
    opened.wait_for(READ)

    def sort_by(key: str) -> list[str]:
        opened.evaluate(f"document.querySelector('[data-key={key}] button').click()")
        return [row[0] for row in read_rows(opened)]

    assert sort_by("probability") == ["b10.png", "b2.png", "a.png", "test_page.py"]
    assert opened.evaluate("document.querySelector('[data-key=probability]').ariaSort") == "descending"
    assert sort_by("probability") == ["test_page.py", "a.png", "b2.png", "b10.png"]
    assert sort_by("name") == ["a.png", "b2.png", "b10.png", "test_page.py"]
    assert sort_by("state")[-1] == "test_page.py"
    assert sort_by("warnings")[0] == "test_page.py"


HOSTILE = [
    "=cmd|' /C calc'!A0",
    "@SUM(1,1).png",
    "<img src=x onerror=alert(1)>.png",
    "../../etc/passwd",
    "a\u202egnp.exe",
]


def test_names_are_text_everywhere(opened: Chromium) -> None:
    opened.evaluate(f"addFiles({json.dumps(HOSTILE)}.map((name) => ({{file: new File(['no image'], 'x'), name}})))")
    opened.wait_for(READ)
    shown = {row[0] for row in read_rows(opened)}
    assert shown == {*HOSTILE[:4], "a\\u{202e}gnp.exe"}
    assert opened.evaluate("document.querySelectorAll('#rows img').length") == 0
    rows = save_csv(opened)
    assert {row["file"] for row in rows} == {"'" + HOSTILE[0], "'" + HOSTILE[1], *HOSTILE[2:4], "a\\u{202e}gnp.exe"}


def save_csv(browser: Chromium) -> list[dict[str, str]]:
    text = browser.evaluate(
        "new Promise((yes) => { URL.createObjectURL = (blob) => { blob.text().then(yes); return '#saved'; };"
        " $('save').click(); })"
    )
    return [*csv.DictReader(io.StringIO(text, newline=""))]


def test_the_table_is_saved(opened: Chromium, films: list[Path]) -> None:
    opened.choose("#files", *films)
    opened.wait_for(READ)
    rows = save_csv(opened)
    assert [*rows[0]] == ["file", "predicted", *(f"p({name})" for name in CLASS_NAMES), "warnings", "problem"]
    assert [row["predicted"] for row in rows] == ["", "dark", CLASS_NAMES[2], ""]
    assert sum(float(rows[1][f"p({name})"]) for name in CLASS_NAMES) == pytest.approx(1)
    assert rows[2]["warnings"] == WARNING
    assert rows[3]["problem"].startswith("it is not an image")


def test_ten_thousand_files_are_too_many_and_a_huge_one_is_not_sent(opened: Chromium, page: Page) -> None:
    before = page.tool.n_reads
    opened.evaluate(
        "halted = true; goOn = () => {};"
        "addFiles(Array.from({length: 10000}, (_, i) => ({file: {size: 1e9}, name: `${i}.png`})))"
    )
    assert opened.evaluate("items.length") == 2000
    assert "8,000 were left out" in opened.evaluate("$('alert').innerText")
    assert "954 MiB, and this page takes 0.5 MiB" in read_rows(opened)[0][3]
    assert page.tool.n_reads == before


def test_a_program_that_has_ended_stops_the_list_and_it_goes_on(browser: Chromium, films: list[Path]) -> None:
    with serve(FakeTool()) as page:
        browser.open(page.origin)
    browser.choose("#files", *films)
    browser.wait_for("halted && !busy")
    assert "does not answer" in browser.evaluate("$('alert').innerText")
    assert {row[4] for row in read_rows(browser)} == {"waiting"}
    with serve(FakeTool(), port=page.port):
        browser.evaluate("$('halt').click()")
        browser.wait_for("countDone() === 4")
    assert browser.evaluate("$('alert').hidden")


def test_everything_has_a_name_for_those_who_do_not_see_it(opened: Chromium, films: list[Path]) -> None:
    opened.choose("#files", *films)
    opened.wait_for(READ + " && !$('seen').hidden")
    nodes = [node for node in opened.send("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    named = [(node["role"]["value"], node["name"]["value"]) for node in nodes if "name" in node]
    roles = {"button", "slider", "progressbar", "image", "table", "columnheader", "rowheader", "region"}
    assert [role for role, name in named if role in roles and not name.strip()] == []
    assert ("slider", "Map over the picture") in named
    assert ("image", "X-ray of a.png") in named
    assert any(name.endswith(": most at the middle left of the picture") for _, name in named)
    assert {role for role, _ in named} >= {"banner", "main", "contentinfo", "heading", "rowheader"}
    assert opened.evaluate("$('said').innerText").startswith("4 of 4 done")


@pytest.mark.parametrize("width_px", [320, 390, 1280])
def test_nothing_is_wider_than_the_window(opened: Chromium, films: list[Path], width_px: int) -> None:
    opened.look(width_px, 844)
    opened.choose("#files", *films)
    opened.wait_for(READ)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width_px
    small = "[...document.querySelectorAll('button, input[type=range]')].filter((each) => each.offsetParent)"
    heights = opened.evaluate(f"{small}.map((each) => each.getBoundingClientRect().height)")
    assert min(heights) >= 24  # WCAG 2.2, 2.5.8


def test_a_folder_is_dropped(opened: Chromium, tmp_path: Path) -> None:
    for name in ("ward/1/a.png", "ward/2/b.png", "ward/.hidden", "ward/Thumbs.db"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(make_png(50))
    dropped = {"items": [], "files": [str(tmp_path / "ward")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        opened.send("Input.dispatchDragEvent", type=kind, x=600, y=300, data=dropped)
    opened.wait_for(READ)
    assert [row[0] for row in read_rows(opened)] == ["ward/1/a.png", "ward/2/b.png"]
    assert opened.evaluate("$('told').innerText") == "Passed over: 2 hidden files of the system."
