"""Caution about the maps: whether they show more of what is annotated than maps that know nothing of the image."""

from cxrflow.checks.verdicts import UNKNOWN, WARN, Verdict, check, write_estimate
from cxrflow.compare.collect import ModelResult, Results
from cxrflow.compare.explanations import BETTER, REGION_TITLES, UNSURE, Localization, describe_maps, localize
from cxrflow.files.formats import count_words, join_words

LIMIT = (
    "Even a better map does not show that a model uses what it points at: on small images, networks trained on shuffled"
    " labels and untrained ones point at a conspicuous mark too."
)
REMEDY = "Do not read a finding off these maps."


@check("caution", "Do the maps show where the finding is?", needs=("gradcam",))
def maps(results: Results) -> Verdict:
    """Never a yes: maps of networks that learned nothing point at what is conspicuous, too (test_map_controls.py)."""
    coarse = [results.short_title(model) for model in results.base_models if not model.gradcam["is_scored"]]
    groups = [group for dataset in results.datasets for group in _group_regions(results, dataset)]
    judged = [found for group in groups for _, found in group if found.verdict != UNSURE]
    better = sum(found.verdict == BETTER for found in judged)
    details = [_describe(results, group) for group in groups]
    if coarse:
        details.append(f"Not scored, with fewer than 7x7 cells: {join_words(coarse)}.")
    if not judged:
        text = "Nothing is annotated on enough images that were predicted right."
        return Verdict(UNKNOWN, text, details=tuple(details))
    text = (
        f"{'Not shown' if better else 'No'}: of {count_words(len(judged), 'comparison')}, each of a model's maps with"
        f" one kind of region, {better} show it better than random maps and than a fixed place. {LIMIT}"
    )
    return Verdict(WARN, text, better / len(judged), remedy=REMEDY, details=tuple(details))


def _group_regions(results: Results, dataset: str) -> list[list[tuple[ModelResult, Localization]]]:
    """Return by region the maps of a dataset's base models, of images that they predict right."""
    found = [
        (model, each)
        for model in results.select(results.base_models, dataset=dataset)
        for each in localize(results, model)
        if each.predicted == "right"
    ]
    groups = ([(model, each) for model, each in found if each.region == region] for region in REGION_TITLES)
    return [group for group in groups if group]


def _describe(results: Results, group: list[tuple[ModelResult, Localization]]) -> str:
    """Say how many models' maps are better than random ones, and what the highest of them reaches."""
    model, best = max(group, key=lambda pair: pair[1].estimates["hit_gain"].value)
    better = sum(found.verdict == BETTER for _, found in group)
    fixed = f", a fixed place in {write_estimate(best.estimates['hit_fixed'])}" * ("hit_fixed" in best.estimates)
    hit, random = (write_estimate(best.estimates[name]) for name in ("hit", "hit_random"))
    return (
        f"{results.dataset_title(model.id.dataset)}, {REGION_TITLES[best.region]}: the maps of {better} of"
        f" {count_words(len(group), 'model')} are better than random ones by both measures of Table 5,"
        f" and than a fixed place. The highest,"
        f" {results.short_title(model)} ({describe_maps(model)}; the true class's maps of"
        f" {count_words(best.n_images, 'image')} of {count_words(best.n_patients or 0, 'patient')} predicted right),"
        f" points inside in {hit}, random maps in {random}{fixed}: {best.verdict}."
    )
