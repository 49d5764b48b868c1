"""Whether an ablation can see what is there, and sees nothing where nothing is."""

from cxrflow.checks.verdicts import PASS, UNKNOWN, WARN, Verdict, check, write_estimate
from cxrflow.compare.collect import Results
from cxrflow.compare.paired import ablation_pairs, compare_pairs, group_pairs
from cxrflow.config.variants import control_of
from cxrflow.results.families import ALPHA

REMEDY = (
    'Name a variant that changes nothing of note under "ablation.negative_controls" and one that must score lower under'
    ' "ablation.positive_controls", as config/ablation.yaml does, with three seeds or more.'
)


@check("caution", "Do the controls of the ablation come out as they must?", needs=("predictions",))
def ablation_controls(results: Results) -> Verdict:
    """The interval of every negative control includes 0, that of every positive one lies below; all at 5 % together."""
    if not ablation_pairs(results):
        return Verdict(PASS, "This study compares no variants, so it needs no controls.")
    groups = [(control_of(results.study.settings, g[0][0].id.variant), g) for g in group_pairs(ablation_pairs(results))]
    groups = [(kind, group) for kind, group in groups if kind]
    lacking = [kind for kind in ("negative", "positive") if kind not in {each for each, _ in groups}]
    lack = f"This study has no {' and no '.join(lacking)} control."
    if not groups:
        return Verdict(UNKNOWN, lack, remedy=REMEDY)
    found = [
        (kind, group[0][0].id, compare_pairs(results, group).at(1 - ALPHA / len(groups))) for kind, group in groups
    ]
    texts = [
        f"{kind.capitalize()}: {model.variant} minus base {write_estimate(difference, 'difference')}"
        f" ({results.dataset_title(model.dataset)}, {model.backbone})."
        for kind, model, difference in found
    ]
    intervals = [(kind, each.low, each.high) for kind, _, each in found]
    if any(len(group) == 1 for _, group in groups) or any(low is None or high is None for _, low, high in intervals):
        return Verdict(UNKNOWN, " ".join([*texts, "Too few trainings or patients to judge them."]), remedy=REMEDY)
    seen = sum(kind == "negative" and not low <= 0 <= high for kind, low, high in intervals)  # type: ignore[operator]
    missed = sum(kind == "positive" and high >= 0 for kind, _, high in intervals)  # type: ignore[operator]
    endings = [
        f"{seen} of the negative controls differ: something else than the setting moves the scores." * bool(seen),
        f"{missed} of the positive controls cannot be told: this study is too small to see even that." * bool(missed),
    ]
    if lacking and not seen and not missed:
        return Verdict(UNKNOWN, " ".join([*texts, "As it must be.", lack]), remedy=REMEDY)
    if not seen and not missed:
        return Verdict(PASS, " ".join([*texts, "All are as they must be."]))
    return Verdict(WARN, " ".join([*texts, *filter(None, endings)]), remedy="Train more seeds, or on more images.")
