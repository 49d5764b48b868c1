from collections.abc import Iterator
from pathlib import Path

import pytest

from cxrflow.report.collect import Results
from cxrflow.report.page import render_page
from cxrflow.report.summarizing import write_summary
from tests.report.fake_study import FakeStudy, collect_fake

ABLATED = {
    "seeds": [0, 1],
    "datasets": {"covid": {"reader": "covid_radiography", "folder": "covid", "title": "COVID-19 Radiography"}},
    "backbones": ["mobilenet_v3_large", "resnet34"],
    "transfer": {"covid": {"init": "imagenet", "backbone": "resnet34"}},
    "ablation": {"variants": ["no_preprocessing", "no_class_weights"]},
}


@pytest.fixture(scope="package", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Fake studies are thousands of files, and none of them needs to survive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="package")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Three datasets, three backbones from scratch and one by transfer each: twelve models."""
    return collect_fake(tmp_path_factory.mktemp("twelve"), FakeStudy(pictures=(60, 40)))


@pytest.fixture(scope="package")
def summary(results: Results) -> Path:
    """The twelve models' summary folder."""
    write_summary(results.root / "summary", results)
    return results.root / "summary"


@pytest.fixture(scope="package")
def page(results: Results, summary: Path) -> str:
    """The twelve models' page."""
    return render_page(results, summary)


@pytest.fixture(scope="package")
def ablated(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """One dataset, two backbones, two seeds, two variants."""
    return collect_fake(tmp_path_factory.mktemp("ablated"), FakeStudy(config=ABLATED))
