"""Choose one model per dataset on its validation images: the fastest one that is not inferior to the best.

The best has the highest validation macro F1 (mean over seeds). Another model is non-inferior where the lower end of the
one-sided 95 % interval of (it minus the best) lies above -margin, on the same resamples of patients (Piaggio et al.
2012, JAMA 308:2594-2604, on reporting non-inferiority): the lower end of the two-sided one of 90 %. That the interval
includes zero would not do: the fewer the patients, the worse a model would pass.

The test images have no part in this. Validation images have also chosen the epoch of each model, which flatters these
scores; the chosen model's test score is the one to report.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.layout import Layout
from cxrflow.config.settings import ScoreSettings
from cxrflow.config.study import BASE, ModelId, Study
from cxrflow.data.overlap import SeenTest
from cxrflow.files.atomic import read_json
from cxrflow.files.records import Predictions, read_predictions
from cxrflow.results.bootstrap import Estimate, check_same_images, mean_macro_f1, subtract_estimates

TWO_SIDED = 0.90  # whose lower end is the one-sided 95 % bound


@dataclass(frozen=True)
class Candidate:
    """A model that may be chosen; trainings that differ only in their seed count as one."""

    path: str  # `ModelId.path` of its first seed
    title: str  # its name for people
    predictions: Sequence[Predictions]  # of the same validation images, one entry per seed
    latency_ms: float  # median time of one image


def select_models(study: Study, layout: Layout, models: Sequence[ModelId]) -> dict[str, dict[str, Any]]:
    """Return the content of selection.json: the choice for every dataset with a model.

    layout: of results/<study>, which holds val_predictions.csv of every base model, backbones/*.json, and index.csv and
        split.csv of every dataset.
    """
    settings = study.settings
    return {
        dataset: choose_model(read_candidates(study, layout, models, dataset), settings.select.margin, settings.score)
        for dataset in settings.datasets
        if any(model.dataset == dataset for model in models)
    }


def list_candidates(study: Study, layout: Layout, models: Sequence[ModelId], dataset: str) -> list[list[ModelId]]:
    """Return the base models of a dataset that cannot have seen its test images, seeds of one model together."""
    groups: dict[tuple[str, str], list[ModelId]] = {}
    seen_test = SeenTest(study, layout)
    for model in models:
        if model.dataset == dataset and model.variant == BASE and not seen_test.is_possible(model):
            groups.setdefault((model.backbone, model.init), []).append(model)
    return list(groups.values())


def read_candidates(study: Study, layout: Layout, models: Sequence[ModelId], dataset: str) -> list[Candidate]:
    """Read the validation predictions and the latency of every candidate of a dataset."""
    return [
        Candidate(
            path=seeds[0].path,
            title=f"{BACKBONES[seeds[0].backbone].title}, {study.init_title(seeds[0].init)}",
            predictions=[read_predictions(layout.model_file(model, "val_predictions.csv")) for model in seeds],
            latency_ms=read_json(layout.backbone(seeds[0].backbone))["latency_ms"]["median"],
        )
        for seeds in list_candidates(study, layout, models, dataset)
    ]


def choose_model(candidates: Sequence[Candidate], margin: float, score: ScoreSettings) -> dict[str, Any]:
    """Return the choice among the candidates of one dataset, why, and every candidate's numbers.

    The keys `best` and `chosen` hold paths of candidates, None where there is none to choose. Of equally fast models
    the one with the higher score is chosen. `difference` is a candidate's macro F1 minus the best's, `difference_low`
    the lower end of its one-sided interval (None without resamples: then only the best is admissible).

    Raises:
        CxrflowError: the candidates were validated on different images.
    """
    if not candidates:
        return {"best": None, "chosen": None, "reason": "There is no model to choose.", "candidates": []}
    check_same_images([each for candidate in candidates for each in candidate.predictions])
    how = (score.bootstrap_resamples, score.bootstrap_seed)
    estimates = [mean_macro_f1([candidate.predictions], *how) for candidate in candidates]
    narrower = [mean_macro_f1([candidate.predictions], *how, TWO_SIDED) for candidate in candidates]
    best = max(range(len(candidates)), key=lambda k: (estimates[k].value, -candidates[k].latency_ms))
    rows = [
        {
            "model": candidate.path,
            "val_macro_f1": estimate.value,
            "val_low": estimate.low,
            "val_high": estimate.high,
            "val_n_patients": estimate.n_patients,
            "latency_ms": candidate.latency_ms,
            **_judge_inferiority(narrower[k], narrower[best], margin, is_best=k == best),
        }
        for k, (candidate, estimate) in enumerate(zip(candidates, estimates, strict=True))
    ]
    admissible = [k for k, row in enumerate(rows) if row["admissible"]]
    chosen = min(admissible, key=lambda k: (candidates[k].latency_ms, -estimates[k].value))
    return {
        "best": candidates[best].path,
        "chosen": candidates[chosen].path,
        "reason": _explain_choice(candidates, rows, best, chosen, margin),
        "candidates": rows,
    }


def _judge_inferiority(estimate: Estimate, best: Estimate, margin: float, *, is_best: bool) -> dict[str, Any]:
    """Return the difference to the best, the lower end of its one-sided interval, and whether that is admissible."""
    difference = subtract_estimates(estimate, best)
    low = 0.0 if is_best else difference.low  # the best does not differ from itself
    return {
        "difference": difference.value,
        "difference_low": low,
        "admissible": is_best or (low is not None and low > -margin),
    }


def _explain_choice(
    candidates: Sequence[Candidate], rows: Sequence[dict[str, Any]], best: int, chosen: int, margin: float
) -> str:
    """Return why, in sentences."""
    if len(candidates) == 1:
        why = f"{candidates[chosen].title} is the only candidate."
    elif chosen == best:
        why = (
            f"{candidates[best].title} has the highest validation macro F1, and no faster model is shown to be less"
            f" than {margin:g} below it."
        )
    else:
        why = (
            f"{candidates[chosen].title} is the fastest model whose validation macro F1 is shown to be less than"
            f" {margin:g} below the best, {candidates[best].title}: the difference is {rows[chosen]['difference']:+.3f}"
            f" and its one-sided 95 % bound {rows[chosen]['difference_low']:+.3f}."
        )
    n_seeds = len(candidates[chosen].predictions)
    if n_seeds == 1:
        return f"{why} Each model was trained once: how much one training differs from another is not considered."
    return f"{why} Scores are means over {n_seeds} seeds."
