"""Probabilities that were calibrated on validation images, held against the test images."""

from pathlib import Path

import pytest

from cxrflow.checks.cautions_probabilities import calibrated_on_test
from tests.compare.fake_study import ONE_MODEL, FakeStudy, collect_fake


@pytest.mark.parametrize(
    ("skill", "least", "level", "words"),
    [
        (1.0, 160, "pass", "Yes, better than the network's own."),
        (0.9, 160, "pass", "No loss can be told."),
        (0.3, 160, "warn", "worse there than"),
        (0.3, 30, "unknown", "enough test patients"),
    ],
)
def test_calibration_must_hold_on_the_test_images(
    tmp_path: Path, skill: float, least: int, level: str, words: str
) -> None:
    study = FakeStudy(ONE_MODEL, least=least, share=0.0, skill=lambda model: skill, val_skill=lambda model: 0.97)
    verdict = calibrated_on_test.run(collect_fake(tmp_path, study))
    assert verdict.level == level, verdict.text
    assert words in verdict.text
    assert (verdict.value is None) == (level == "unknown")
