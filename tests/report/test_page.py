import dataclasses
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

import cxrflow.checks
from check import check_study
from cxrflow.checks.registry import list_checks, list_verdicts
from cxrflow.checks.verdicts import write_estimate
from cxrflow.compare.choice import describe_chosen
from cxrflow.compare.collect import Results, collect_results
from cxrflow.compare.rows import describe_study
from cxrflow.config.layout import ModelId
from cxrflow.config.settings import Range, TuneSettings
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import write_json
from cxrflow.report.figures_tuning import draw_tuning
from cxrflow.report.manifest import FIGURES, SECTIONS, TABLES, Block, Section
from cxrflow.report.page import TEMPLATES, lay_out, render_page
from cxrflow.report.tabular import read_table_rows
from cxrflow.select.tuning import describe_trials
from report import write_report
from summarize import summarize_study
from tests.compare.fake_study import ONE_MODEL, FakeStudy, collect_fake, write_fake_study
from tests.report.conftest import summarize

VOID = {"meta", "img", "br", "line", "circle", "hr", "link", "input"}
EVIL = '<script>alert("x")</script> & "quoted" \' {{ 7 * 7 }}'


class Outline(HTMLParser):
    """What a page has: tags with attributes, ids, links, and whether tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag at {self.getpos()}"

    def values(self, name: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.tags if name in attributes]


def outline(html: str) -> Outline:
    parser = Outline()
    parser.feed(html)
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def least(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    """One model of one dataset, nothing annotated, written by the commands; and its page's path."""
    folder = tmp_path_factory.mktemp("least")
    study, paths = write_fake_study(folder, FakeStudy(config=ONE_MODEL, regions=False, pictures=(60, 40)))
    shared = {"results": folder, "config": study.settings, "models": paths}
    for name in list_verdicts():
        check_study(check=name, verdict=folder / f"checks/{name}.json", **shared)
    summarize_study(folder=folder / "summary", **shared)
    write_report(summary=folder / "summary", report=folder / "report.html", **shared)
    return collect_results(folder, study, paths), folder / "report.html"


@pytest.fixture(scope="module")
def odd_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Drawn images, titles that are markup, and no score that is defined."""
    folder = tmp_path_factory.mktemp("odd")
    datasets = {"covid": {"reader": "covid_radiography", "folder": EVIL, "title": EVIL, "citation": EVIL}}
    fake = FakeStudy(
        config={**ONE_MODEL, "datasets": datasets, "phantoms": {}}, edit_metrics=undefine, pictures=(60, 40)
    )
    results = collect_fake(folder, fake)
    return render_page(results, summarize(results))


def undefine(model: ModelId, metrics: dict[str, Any]) -> None:
    metrics["macro_f1"] = {"value": None, "low": None, "high": None, "n_patients": 0}


def test_nothing_is_loaded_from_anywhere(page: str):
    parsed = outline(page)
    assert all(value.startswith("data:") for value in parsed.values("src"))
    assert all(value.startswith("#") for value in parsed.values("href"))
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in parsed.tags}
    css = page[page.index("<style>") : page.index("</style>")]
    assert not re.search(r"url\(|@import|https?:", css)
    assert "default-src 'none'" in page


def test_every_link_has_its_target_and_every_id_is_once(page: str):
    parsed = outline(page)
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in parsed.values("href")} <= set(ids)
    assert set(parsed.values("aria-labelledby")) <= set(ids)


def test_every_picture_says_what_it_shows_and_has_its_size(page: str):
    pictures = [attributes for tag, attributes in outline(page).tags if tag == "img"]
    shown = [figure for figure in FIGURES.values() if not figure.of]  # this study has no variants
    assert len(pictures) == len(shown) + 3 * 2 + 12 * 3
    assert len({picture["alt"] for picture in pictures}) == len(pictures)
    assert all(picture["alt"] and picture["width"] and picture["height"] for picture in pictures)


def test_every_table_figure_claim_and_caution_is_there(page: str):
    ids = outline(page).values("id")
    assert {f"figure-{name}" for name, figure in FIGURES.items() if not figure.of} <= set(ids)
    # by class: under each model, not as one long table; checks: as articles
    assert {f"table-{name}" for name in TABLES if name not in ("per_class", "checks")} <= set(ids)
    assert page.count('<article class="check') == len(list_checks())
    assert page.count("<h2>What these numbers do and do not mean</h2>") == 1


def test_an_ablation_has_its_forest_and_says_what_its_numbers_carry(tmp_path: Path, page: str):
    config = {**ONE_MODEL, "seeds": [0, 1], "ablation": {"variants": ["no_preprocessing"]}}
    results = collect_fake(tmp_path, FakeStudy(config=config, pictures=(60, 40)))
    ablated = render_page(results, summarize(results))
    assert 'id="figure-forest"' in ablated
    assert 'id="figure-forest"' not in page
    assert 'id="figure-learning_curve"' not in ablated
    assert "Of 1 comparison, 1 cannot be told from no difference." in ablated


CHECK = """
from cxrflow.checks.verdicts import Verdict, check


@check("caution", "Is the moon full?", needs=("index",))
def full_moon(results):
    return Verdict("warn", "Yes, in 0.25 of all nights.", value=0.25, interval=(0.2, 0.3), remedy="Wait for a cloud.")
"""


def test_a_new_check_is_one_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its JSON, its row, its place on the first screen and in the section: nothing else is edited."""
    (tmp_path / "zz_moon.py").write_text(CHECK)
    monkeypatch.setattr(cxrflow.checks, "__path__", [*cxrflow.checks.__path__, str(tmp_path)])
    monkeypatch.setitem(sys.modules, "cxrflow.checks.zz_moon", None)  # forgotten at the end
    del sys.modules["cxrflow.checks.zz_moon"]
    results = collect_fake(tmp_path / "study", FakeStudy(config=ONE_MODEL, pictures=(60, 40)))
    folder = summarize(results)
    row = read_table_rows(folder, "checks", TABLES["checks"])[-1]
    assert (row["check"], row["level"], row["value_low"], row["value_high"]) == ("full_moon", "warn", 0.2, 0.3)
    assert "Is the moon full?" in (folder / "checks.md").read_text(encoding="utf-8")
    html = render_page(results, folder)
    assert "<b>Is the moon full?</b> Yes, in 0.25 of all nights." in html[: html.index('id="data"')]
    assert "<h3>Is the moon full?</h3>" in html[html.index('id="checks"') :]
    assert "Wait for a cloud." in html


def test_a_new_section_is_one_entry(results: Results, summary: Path, monkeypatch: pytest.MonkeyPatch):
    added = Section("moon", "The moon", (Block("prose", text="It was full."), Block("table", "models")))
    monkeypatch.setattr("cxrflow.report.page.SECTIONS", (*SECTIONS, added))
    html = render_page(results, summary)
    section = html[html.index('<section id="moon">') :]
    assert "<h2>The moon</h2>" in section
    assert "It was full." in section
    assert TABLES["models"].title in section
    assert html.count('<a href="#moon">The moon</a>') == 2  # beside the text, and above it on a phone


def test_every_kind_of_block_has_its_macro():
    template = (TEMPLATES / "report.html.j2").read_text(encoding="utf-8")
    for kind in {block.kind for section in SECTIONS for block in section.blocks}:
        assert f'"{kind}": show_{kind}' in template


def test_chosen_models_are_on_the_first_screen_with_interval_and_chance(page: str, results: Results):
    for name in results.datasets:
        best = describe_chosen(results, name)
        (chosen,) = [m for m in results.models if m.id.path == results.selection[name]["chosen"]]
        assert best["estimate"].value == pytest.approx(chosen.macro_f1)
        assert f"Macro F1 {write_estimate(best['estimate'])} on" in page[: page.index('id="data"')]
        assert f"chance {best['chance']:.2f}" in page


def test_study_is_described_in_one_sentence(results: Results, ablated: Results):
    assert describe_study(results) == "12 models: 3 backbones on 3 datasets; 9 from scratch and 3 by transfer."
    assert "8 as variants of the settings" in describe_study(ablated)


def test_best_of_several_seeds_is_their_mean(ablated: Results):
    best = describe_chosen(ablated, "covid")
    assert "mean of 2 seeds" in best["model"]
    assert best["n_rivals"] == 3


def test_what_a_user_wrote_is_text(odd_page: str):
    assert "<script" not in odd_page
    assert "&lt;script&gt;alert" in odd_page
    assert "{{ 7 * 7 }}" in odd_page
    outline(odd_page)


def test_synthetic_images_are_said_before_any_number(odd_page: str, page: str):
    assert odd_page.index('class="synthetic"') < odd_page.index('class="cards"')
    assert odd_page[: odd_page.index('id="data"')].count("No number on this page says") == 1
    assert 'class="synthetic"' not in page


def test_undefined_scores_are_no_best(odd_page: str):
    assert "No macro F1 is defined here." in odd_page


@pytest.mark.parametrize(
    "sentence",
    [
        "1 model: 1 backbone on 1 dataset; 1 from scratch.",
        "Every model was trained with one seed",
        "No transferred model has a twin",
        "This study trains no variants",
        "No lesions or lungs are annotated",
    ],
)
def test_what_is_not_there_reads_naturally(least: tuple[Results, Path], sentence: str):
    html = least[1].read_text(encoding="utf-8")
    outline(html)
    assert sentence in html
    assert "None" not in re.sub(r"base64,[^\"]*", "", html)


def test_commands_write_what_the_library_gives(least: tuple[Results, Path]):
    results, report = least
    assert report.read_text(encoding="utf-8") == render_page(results, results.root / "summary")


def test_first_column_that_repeats_becomes_a_heading(results: Results):
    table = TABLES["classes"]
    laid_out = lay_out(table, resolve_name(table.rows)(results))
    assert [group["title"] for group in laid_out["groups"]] == [
        "COVID-19 Radiography",
        "Paediatric pneumonia",
        "ChestX-ray8",
    ]
    assert laid_out["heads"][0]["text"] == "Class"
    plain = lay_out(TABLES["datasets"], resolve_name(TABLES["datasets"].rows)(results))
    assert [group["title"] for group in plain["groups"]] == [""]


def test_missing_picture_is_named(least: tuple[Results, Path], tmp_path: Path):
    results = least[0]
    model = dataclasses.replace(results.models[0])
    model.__dict__.update({**results.models[0].__dict__, "folder": tmp_path})
    moved = dataclasses.replace(results, models=[model])
    with pytest.raises(CxrflowError, match=r"confusion\.png does not exist"):
        render_page(moved, results.root / "summary")


def test_a_search_is_shown_with_every_trial_and_a_study_without_one_has_no_such_section(
    results: Results, summary: Path, page: str
):
    assert 'id="tuning"' not in page
    assert 'href="#tuning"' not in page
    tune = TuneSettings(
        dataset="covid", backbone="resnet34", rungs=(2, 4), space={"learning_rate": {"low": 1e-4, "high": 1e-2}}
    )
    study = replace(results.study, settings=replace(results.study.settings, tune={"found": tune, "unfinished": tune}))
    answers = [
        {"run": 0, "trial": 0, "generation": 0, "rung": 0, "epochs": 2, "state": "COMPLETE", "value": 0.61},
        {"run": 1, "trial": 1, "generation": 0, "rung": 0, "epochs": 2, "state": "FAIL"},
        {"run": 2, "trial": 0, "generation": 1, "rung": 1, "epochs": 4, "state": "COMPLETE", "value": 0.6789},
    ]
    answers = [{**answer, "parameters": {"learning_rate": 0.00123456}} for answer in answers]
    answers[1] |= {"value": None, "error": "nan <b>"}
    layout = results.layout
    draw_tuning(answers, {"learning_rate": Range(low=1e-4, high=1e-2)}, {}, layout.tuning_picture("found"))
    write_json(layout.tuned("found"), {**answers[2], "trials": describe_trials(answers)})
    html = render_page(replace(results, study=study), summary)
    section = html[html.index('<section id="tuning">') : html.index('<section id="efficiency">')]
    assert "2 trials (tpe), 1 of them to 4 epochs, 1 failed. Found: learning_rate 0.00123;" in section
    assert "in the search 0.679." in section
    assert "nan &lt;b&gt;" in section
    assert section.count("<img ") == 1
    assert "Table 8" in section
    assert TABLES["ablation"].title.startswith("Table 8.")
