"""Where models look, with intervals over patients: Table 5, and what its check concludes. Pure functions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from cxrflow.compare.collect import ModelResult, Results
from cxrflow.compare.rows import estimate_columns, identify
from cxrflow.files.records import LocalizationRow
from cxrflow.results.bootstrap import Estimate, average_images, subtract_estimates

REGION_TITLES = {"lesion": "lesions", "lungs": "lungs"}
# The columns of gradcam.csv whose means stand in Table 5.
SHARES = (
    "inside_share_uniform", "inside_share", "inside_share_random", "inside_share_fixed",
    "hit", "hit_random", "hit_fixed",
)  # fmt: skip
GAINS = {"inside_share_gain": "inside_share", "hit_gain": "hit"}  # each minus that of random maps
FIXED_GAIN = "hit_fixed_gain"  # pointing minus that of the fixed place
BETTER, NO_BETTER, UNSURE = (
    "better than random maps and a fixed place",
    "no better than random maps",
    "too few patients",
)
COARSE = "not scored: too few cells"
NOT_FIXED = "better than random maps, not than a fixed place"
IN_PART: dict[str, str] = {
    "inside_share_gain": "better by the inside share only",
    "hit_gain": "better by pointing only",
}


@dataclass(frozen=True)
class Localization:
    """The maps of one model against one kind of region, of the images that it predicts right, or of the others."""

    region: str
    predicted: str  # `right` or `wrong`
    n_images: int
    estimates: dict[str, Estimate]  # of SHARES, GAINS and FIXED_GAIN; a fixed place that is not known has none

    @property
    def n_patients(self) -> int | None:
        """How many test patients the images are of."""
        return self.estimates["hit"].n_patients

    @property
    def verdict(self) -> str:
        """What the differences to random maps and to the fixed place show."""
        gains = {name: self.estimates[name] for name in GAINS}
        better = [name for name, gain in gains.items() if gain.low is not None and gain.low > 0]
        if any(gain.low is None for gain in gains.values()):
            return UNSURE
        if len(better) < len(GAINS):
            return IN_PART[better[0]] if better else NO_BETTER
        fixed = self.estimates.get(FIXED_GAIN)
        return BETTER if fixed and fixed.low is not None and fixed.low > 0 else NOT_FIXED


def localize(results: Results, model: ModelResult) -> Iterator[Localization]:
    """Yield what a model's maps score, by region, right predictions before wrong ones."""
    rows = model.localizations
    for region in REGION_TITLES:
        for predicted in ("right", "wrong"):
            some = [r for r in rows if r.region == region and (r.label == r.predicted) == (predicted == "right")]
            if some:
                score = results.study.settings.score
                estimates = estimate_localization(some, score.bootstrap_resamples, score.bootstrap_seed)
                yield Localization(region, predicted, len(some), estimates)


def estimate_localization(rows: Sequence[LocalizationRow], resamples: int, seed: int) -> dict[str, Estimate]:
    """Return the means over images with intervals over patients, and the differences to random maps."""
    shares = {name: [getattr(row, name) for row in rows] for name in SHARES}
    known = {name: values for name, values in shares.items() if not isnan(sum(values))}
    means = average_images(known, [row.patient_id for row in rows], resamples, seed)
    gains = {gain: subtract_estimates(means[of], means[f"{of}_random"]) for gain, of in GAINS.items()}
    fixed = {FIXED_GAIN: subtract_estimates(means["hit"], means["hit_fixed"])} if "hit_fixed" in means else {}
    return means | gains | fixed


def describe_maps(model: ModelResult) -> str:
    """Return which maps are a model's, in words."""
    rows, columns = model.gradcam["grid"]
    return f"{model.gradcam['method']} at {model.gradcam['layer']}, {rows}x{columns} cells"


def explanation_rows(results: Results) -> list[dict[str, Any]]:
    """One row per model, kind of annotated region, and right or wrong prediction: where the true class's maps fall."""
    return [
        {**identify(results, model), "maps": describe_maps(model), **columns}
        for model in results.models
        for columns in _localization_columns(results, model)
    ]


def _localization_columns(results: Results, model: ModelResult) -> Iterator[dict[str, Any]]:
    nothing = dict.fromkeys(("region", "predicted", "n_images", "n_patients"))
    nothing |= dict.fromkeys(
        f"{name}{end}" for name in (*SHARES, *GAINS, FIXED_GAIN) for end in ("", "_low", "_high", "_n_patients")
    )
    if not model.gradcam["is_scored"]:
        yield {**nothing, "verdict": COARSE}
    for found in localize(results, model):
        columns = [estimate_columns(name, estimate) for name, estimate in found.estimates.items()]
        yield {
            **nothing,
            "region": REGION_TITLES[found.region],
            "predicted": found.predicted,
            "n_images": found.n_images,
            "n_patients": found.n_patients,
            "verdict": found.verdict,
            **{key: value for each in columns for key, value in each.items()},
        }
