"""Choose one model per dataset on its validation images: the fastest one that is not inferior to any other.

A model is non-inferior where the lower end of the one-sided 95 % interval of (it minus another) lies above -margin for
every other candidate, on the same resamples of patients and trainings (Piaggio et al. 2012, JAMA 308:2594-2604, on
reporting non-inferiority). Every other and not the best alone, as nobody knows which that is: the one that scores
highest here was itself selected (Hsu 1984, Ann. Stat. 12:1136-1144). To be above -margin of all takes no correction
(Berger 1982, Technometrics 24:295-300), that several candidates try does: Holm's. That the interval includes zero would
not do: the fewer the patients, the worse a model would pass.

An ensemble of all seeds of a model, and either with flip, are candidates like it where the config says so. A model's
score is the mean over its seeds, and its interval is over patients and seeds. There is one ensemble of them: its
interval is over patients alone, and does not show how one of other seeds would score.

The test images have no part in this. Validation images have also chosen the epoch of each model, which flatters these
scores; the chosen model's test score is the one to report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cxrflow.config.layout import CandidateId, Layout
from cxrflow.config.settings import ScoreSettings
from cxrflow.config.study import BASE, ModelId, Study, group_seeds, list_forms
from cxrflow.data.overlap import SeenTest
from cxrflow.files.atomic import read_json
from cxrflow.files.records import Predictions
from cxrflow.results.bootstrap import Estimate, check_same_images, mean_macro_f1, subtract_estimates
from cxrflow.results.ensembles import read_candidate
from cxrflow.results.families import step_down


@dataclass(frozen=True)
class Candidate:
    """What may be chosen; trainings of a model that differ only in their seed count as one."""

    path: str  # `CandidateId.path`
    title: str  # its name for people
    predictions: Sequence[Predictions]  # of the same validation images, one entry per seed; one of an ensemble
    latency_ms: float  # median time of one image
    params: int  # of all networks
    n_members: int = 1  # networks that answer together
    costs: Mapping[str, float | None] = field(default_factory=dict)  # further ones, for the record


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
    seen_test = SeenTest(study, layout)
    return group_seeds(
        model
        for model in models
        if model.dataset == dataset and model.variant == BASE and not seen_test.is_possible(model)
    )


def read_candidates(study: Study, layout: Layout, models: Sequence[ModelId], dataset: str) -> list[Candidate]:
    """Read the validation predictions and the costs of every candidate of a dataset."""
    return [
        Candidate(
            path=each.path,
            title=study.candidate_title(each),
            predictions=read_candidate(layout, each, seeds, "val"),
            n_members=len(each.members),
            **_split_costs(find_costs(read_json(layout.backbone(seeds[0].backbone)), each)),
        )
        for seeds in list_candidates(study, layout, models, dataset)
        for each in list_forms(seeds, study.settings.select)
    ]


def find_costs(profile: Mapping[str, Any], candidate: CandidateId) -> dict[str, Any]:
    """Return what a candidate costs, from backbones/<name>.json of its networks.

    Latency: as measured with as many networks and mirror images. Parameters and size: as many times as there are
    members; multiply-adds and energy: once more for each mirror image.
    """
    n_members, n_passes = len(candidate.members), len(candidate.members) * (1 + candidate.flip)
    latency, energy = profile["latency_ms"][candidate.form], profile["inference"]["energy_j"]
    return {
        "latency_ms": latency["median"],
        "latency_ms_low": latency["low"],
        "latency_ms_high": latency["high"],
        "params": profile["params"] * n_members,
        "weights_mib": profile["weights_mib"] * n_members,
        "gmac": profile["gmac"] * n_passes,
        "energy_j": None if energy is None else energy * n_passes,
    }


def _split_costs(costs: dict[str, Any]) -> dict[str, Any]:
    return {"latency_ms": costs.pop("latency_ms"), "params": costs.pop("params"), "costs": costs}


def choose_model(candidates: Sequence[Candidate], margin: float, score: ScoreSettings) -> dict[str, Any]:
    """Return the choice among the candidates of one dataset, why, and every candidate's numbers.

    The keys `best` and `chosen` hold paths of candidates, None where there is none to choose. Of equally fast models
    the one with the higher score is chosen, of those the one with fewer parameters. `difference` is a candidate's macro
    F1 minus the highest, `difference_low` the least lower bound of its difference to any other, at the level at which
    Holm's procedure judged it (None without resamples or rivals). The best is admissible whatever its bound is.

    Raises:
        CxrflowError: the candidates were validated on different images.
    """
    if not candidates:
        return {"best": None, "chosen": None, "reason": "There is no model to choose.", "candidates": []}
    check_same_images([each for candidate in candidates for each in candidate.predictions])
    how = (score.bootstrap_resamples, score.bootstrap_seed)
    estimates = {each.path: mean_macro_f1([each.predictions], *how) for each in candidates}
    bounds = find_bounds(estimates, margin)
    best = min(candidates, key=lambda each: (-estimates[each.path].value, each.latency_ms, each.params))
    rows = [
        {
            "model": each.path,
            "val_macro_f1": estimates[each.path].value,
            "val_low": estimates[each.path].low,
            "val_high": estimates[each.path].high,
            "val_n_patients": estimates[each.path].n_patients,
            "latency_ms": each.latency_ms,
            "params": each.params,
            **each.costs,
            "difference": estimates[each.path].value - estimates[best.path].value,
            "difference_low": bounds[each.path],
            "admissible": each is best or _is_above(bounds[each.path], margin),
        }
        for each in candidates
    ]
    chosen = min(
        (each for each, row in zip(candidates, rows, strict=True) if row["admissible"]),
        key=lambda each: (each.latency_ms, -estimates[each.path].value, each.params),
    )
    (row,) = [row for row in rows if row["model"] == chosen.path]
    return {
        "best": best.path,
        "chosen": chosen.path,
        "reason": _explain_choice(len(candidates), row, best, chosen, margin),
        "candidates": rows,
    }


def find_bounds(estimates: Mapping[str, Estimate], margin: float) -> Mapping[str, float | None]:
    """Return by how much each estimate may be below any other: one-sided bounds, each at the level Holm judged it at.

    None where there is no other, or no interval.
    """
    differences = {
        name: [subtract_estimates(estimate, other) for rival, other in estimates.items() if rival != name]
        for name, estimate in estimates.items()
    }

    def judge(name: str, alpha: float) -> float | None:
        lows = [each.at(1 - 2 * alpha).low for each in differences[name]]  # the lower end alone errs in half as many
        return min((low for low in lows if low is not None), default=None)

    return step_down(list(estimates), judge, lambda bound: _is_above(bound, margin))


def _is_above(bound: float | None, margin: float) -> bool:
    return bound is not None and bound > -margin


def _explain_choice(
    n_candidates: int, row: Mapping[str, Any], best: Candidate, chosen: Candidate, margin: float
) -> str:
    """Return why, in sentences. row: of the chosen one."""
    if n_candidates == 1:
        why = f"{chosen.title} is the only candidate."
    elif chosen is best:
        why = (
            f"{best.title} has the highest validation macro F1, and no faster model is shown to be less than"
            f" {margin:g} below every other."
        )
    else:
        why = (
            f"{chosen.title} is the fastest model whose validation macro F1 is shown to be less than {margin:g} below"
            f" that of every other: its difference to the best, {best.title}, is {row['difference']:+.3f}, and the"
            f" lowest of its one-sided bounds, corrected for {n_candidates} candidates, {row['difference_low']:+.3f}."
        )
    if chosen.n_members > 1:
        return f"{why} An ensemble is one: how another, of other seeds, would score is not considered."
    n_seeds = len(chosen.predictions)
    if n_seeds == 1:
        return f"{why} Each model was trained once: how much one training differs from another is not considered."
    return f"{why} Scores are means over {n_seeds} seeds."
