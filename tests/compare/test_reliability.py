"""The rows of the calibration table are those of the model's own predictions."""

from pathlib import Path

import pytest

from cxrflow.compare.reliability import calibrate, calibration_rows
from cxrflow.results.calibration import read_logits
from cxrflow.results.reliability import log_losses
from tests.compare.fake_study import collect_fake


def test_each_base_model_has_a_row_of_its_own_numbers(tmp_path: Path) -> None:
    results = collect_fake(tmp_path)
    rows = calibration_rows(results)
    assert [row["model"] for row in rows] == [model.id.path for model in results.base_models]
    model, row = results.base_models[0], rows[0]
    probabilities = calibrate(results, model).calibrate(read_logits(model.predictions))
    assert row["log_loss"] == pytest.approx(log_losses(probabilities, model.predictions.labels).mean())
    assert row["coverage"] == pytest.approx((probabilities.max(axis=1) >= row["threshold"]).mean())
