from collections.abc import Iterator
from pathlib import Path

import pytest

from cxrflow.compare.collect import Results
from cxrflow.report.page import render_page
from cxrflow.report.summary import write_summary
from tests.compare.fake_study import write_verdicts


@pytest.fixture(scope="package", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Fake studies are thousands of files, and none of them needs to survive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


def summarize(results: Results) -> Path:
    """Run every check and write the summary; return its folder."""
    write_verdicts(results)
    write_summary(results.root / "summary", results)
    return results.root / "summary"


@pytest.fixture(scope="package")
def summary(results: Results) -> Path:
    """The twelve models' summary folder."""
    return summarize(results)


@pytest.fixture(scope="package")
def page(results: Results, summary: Path) -> str:
    """The twelve models' page."""
    return render_page(results, summary)
