"""The published report's claims, each answered from this study's numbers. Add one to CLAIMS and it is on the page."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from cxrflow.checks.claims_scores import (
    answer_covid_above_pneumonia,
    answer_preprocessing,
    answer_transfer,
    answer_xray8_lowest,
)
from cxrflow.checks.claims_training import answer_epoch_time, answer_overfitting, answer_restarts
from cxrflow.checks.verdicts import Claim
from cxrflow.compare.collect import Results

CLAIMS: tuple[Callable[[Results], Claim], ...] = (
    answer_overfitting,
    answer_restarts,
    answer_xray8_lowest,
    answer_covid_above_pneumonia,
    answer_epoch_time,
    answer_preprocessing,
    answer_transfer,
)
DRAWN = " All X-rays of this study are drawn: this says nothing about patients."


def claim_rows(results: Results) -> list[dict[str, Any]]:
    """One row per claim: what the report says, the verdict, and the numbers behind it."""
    rows = [asdict(answer(results)) for answer in CLAIMS]
    if results.study.settings.phantoms:
        rows = [{**row, "answer": row["answer"] + DRAWN} for row in rows]
    return rows
