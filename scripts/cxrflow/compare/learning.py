"""Learning curves: macro F1 by the number of train images, and what twice as many would bring. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrflow.compare.collect import ModelResult, Results, group_seeds
from cxrflow.compare.rows import estimate_columns
from cxrflow.compare.scores import LEAST_SEEDS, score_models
from cxrflow.config.backbones import BACKBONES
from cxrflow.files.formats import KINDS
from cxrflow.results.bootstrap import LEVEL, Estimate

Floats = NDArray[np.float64]
LEAST_SIZES = 4  # one more than the law has parameters
REFITS = 200  # of the resamples
FARTHEST = 2.0  # times the largest number of images: farther, the law is no more than a guess


@dataclass(frozen=True)
class Curve:
    """One backbone on one dataset, trained on growing parts of the train images, smallest first."""

    model: ModelResult  # that of all images, of the first seed
    shares: list[float]
    n_train: list[int]
    scores: list[Estimate]
    n_seeds: int  # the least

    @property
    def can_be_fitted(self) -> bool:
        """Whether there are enough sizes and seeds, and intervals."""
        enough = len(self.shares) >= LEAST_SIZES and self.n_seeds >= LEAST_SEEDS
        return enough and all(score.low is not None for score in self.scores)

    @cached_property
    def laws(self) -> list[Floats]:
        """The power law of the scores, then of some of their resamples, in which patients and trainings are drawn."""
        sizes = np.array(self.n_train) / self.n_train[-1]
        resampled = np.array([score.resampled for score in self.scores])[:, :REFITS].T
        values = [np.array([score.value for score in self.scores]), *resampled[~np.isnan(resampled).any(axis=1)]]
        return [fit_power_law(sizes, each) for each in values]

    def predict(self, times: float) -> tuple[float, float, float]:
        """Return macro F1 and its interval at some times as many images as there are, at most FARTHEST."""
        if times > FARTHEST:
            raise ValueError(f"no law is trusted at {times} times as many images")
        value, *others = (power_law(times, *law) for law in self.laws)
        tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
        low, high = np.percentile(others, tails)
        return float(value), float(min(low, value)), float(max(high, value))


def power_law(times: Any, ceiling: float, loss: float, rate: float) -> Any:
    """Return macro F1 = ceiling - loss * times ** -rate (Hestness et al. 2017, https://arxiv.org/abs/1712.00409)."""
    return ceiling - loss * np.asarray(times) ** -rate


def fit_power_law(times: Floats, scores: Floats) -> Floats:
    """Return the least-squares (ceiling, loss, rate), float64 (3,): ceiling 0-1, loss 0-1, rate 0-2.

    times: float64 (n,), train images as multiples of all; scores: float64 (n,), macro F1.
    """
    from scipy.optimize import curve_fit  # here: most studies have no learning curve

    start = (min(1.0, float(scores.max()) + 0.05), 0.1, 0.5)
    fitted, _ = curve_fit(power_law, times, scores, p0=start, bounds=([0, 0, 0], [1, 1, 2]))
    return np.asarray(fitted, dtype=np.float64)


def find_curves(results: Results) -> list[Curve]:
    """Return the models that differ in their share of the train images alone, where there are two shares or more."""
    study = results.study
    whole = study.settings.train
    groups: dict[tuple[str, str, str], dict[float, list[ModelResult]]] = {}
    for members in group_seeds(results.models).values():
        model = members[0].id
        train = study.train_settings(model.variant)
        is_alike = replace(train, train_share=whole.train_share) == whole
        if is_alike and study.recipe(model.variant) == study.recipe():
            by_share = groups.setdefault((model.dataset, model.backbone, model.init), {})
            by_share.setdefault(train.train_share, members)  # the base comes first
    return [_make_curve(results, by_share) for by_share in groups.values() if len(by_share) > 1]


def _make_curve(results: Results, by_share: Mapping[float, list[ModelResult]]) -> Curve:
    shares = sorted(by_share)
    parts = [by_share[share] for share in shares]
    return Curve(
        model=parts[-1][0],
        shares=shares,
        n_train=[members[0].training["n_train"] for members in parts],
        scores=[score_models(results, members) for members in parts],
        n_seeds=min(map(len, parts)),
    )


def learning_rows(results: Results) -> list[dict[str, Any]]:
    """One row per curve and share, measured, and one of twice as many images, from the law, where it can be fitted."""
    rows = []
    for curve in find_curves(results):
        model = curve.model.id
        head = {
            "dataset": results.dataset_title(model.dataset),
            "backbone": BACKBONES[model.backbone].title,
            "init": results.study.init_title(model.init),
            "n_seeds": curve.n_seeds,
        }
        for share, n_train, score in zip(curve.shares, curve.n_train, curve.scores, strict=True):
            rows.append(
                {
                    **head,
                    "share": share,
                    "n_train": n_train,
                    "source": "measured",
                    **estimate_columns("macro_f1", score),
                }
            )
        if curve.can_be_fitted:
            value, low, high = curve.predict(FARTHEST)
            foreseen = Estimate(value, low, high, np.zeros(0), curve.scores[-1].n_patients)
            more = {"share": FARTHEST * curve.shares[-1], "n_train": round(FARTHEST * curve.n_train[-1])}
            rows.append({**head, **more, "source": "from the law", **estimate_columns("macro_f1", foreseen)})
    return rows


def describe_learning(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say what the law foresees of twice as many images beside what all of them score."""
    show = KINDS["score"].show_interval
    sentences = [
        f"{last['dataset']}, {last['backbone']}, {last['init']}: {show(*_ends(last))} with {last['n_train']:,} train"
        f" images; the law through the sizes foresees {show(*_ends(law))} with twice as many."
        for last, law in pairwise(rows)
        if law["source"] != "measured"
    ]
    few = f"No law is fitted: that needs {LEAST_SIZES} sizes and {LEAST_SEEDS} seeds, each with an interval."
    return " ".join(sentences) or few


def _ends(row: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    return row["macro_f1"], row["macro_f1_low"], row["macro_f1_high"]
