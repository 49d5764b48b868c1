"""Studies made up once for all tests of what compares, judges and shows models."""

import pytest

from cxrflow.compare.collect import Results
from tests.compare.fake_study import FakeStudy, collect_fake

ABLATED = {
    "seeds": [0, 1],
    "datasets": {"covid": {"reader": "covid_radiography", "folder": "covid", "title": "COVID-19 Radiography"}},
    "backbones": ["mobilenet_v3_large", "resnet34"],
    "transfer": {"covid": {"init": "imagenet", "backbone": "resnet34"}},
    "ablation": {"variants": ["no_preprocessing", "no_class_weights"]},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow files, so that no process of pytest is left alone with one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Three datasets, three backbones from scratch and one by transfer each: twelve models."""
    return collect_fake(tmp_path_factory.mktemp("twelve"), FakeStudy(pictures=(60, 40)))


@pytest.fixture(scope="session")
def ablated(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """One dataset, two backbones, two seeds, two variants."""
    return collect_fake(tmp_path_factory.mktemp("ablated"), FakeStudy(config=ABLATED))
