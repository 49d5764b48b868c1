"""Caution about the maps: whether they show more of what is annotated than maps that know nothing of the image."""

from cxrflow.checks.verdicts import PASS, UNKNOWN, WARN, Verdict, check, write_estimate
from cxrflow.compare.collect import ModelResult, Results
from cxrflow.compare.explanations import BETTER, REGION_TITLES, UNSURE, Localization, describe_maps, localize
from cxrflow.files.formats import count_words, join_words

REMEDY = "Do not read a finding off a map that is no better than a random one; larger images give more cells."


@check("caution", "Do the maps show where the finding is?", needs=("gradcam",))
def maps(results: Results) -> Verdict:
    """A map that points no better than a random one explains nothing."""
    coarse = [results.short_title(model) for model in results.base_models if not model.gradcam["is_scored"]]
    groups = [group for dataset in results.datasets for group in _group_regions(results, dataset)]
    judged = [found for group in groups for _, found in group if found.verdict != UNSURE]
    better = sum(found.verdict == BETTER for found in judged)
    parts = [_describe(results, group) for group in groups]
    if coarse:
        parts.append(f"Not scored, with fewer than 7x7 cells: {join_words(coarse)}.")
    if not judged:
        return Verdict(UNKNOWN, " ".join(["Nothing is annotated on enough images that were predicted right.", *parts]))
    whole = better == len(judged) and not coarse
    parts = ["Yes." if whole else "Not all." if better else "No.", *parts]
    return Verdict(PASS if whole else WARN, " ".join(parts), better / len(judged), remedy="" if whole else REMEDY)


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
    hit, random = (write_estimate(best.estimates[name]) for name in ("hit", "hit_random"))
    return (
        f"{results.dataset_title(model.id.dataset)}, {REGION_TITLES[best.region]}: the maps of {better} of"
        f" {count_words(len(group), 'model')} are better than random ones by both measures of Table 5. The highest,"
        f" {results.short_title(model)} ({describe_maps(model)}; the true class's maps of"
        f" {count_words(best.n_images, 'image')} of {count_words(best.n_patients or 0, 'patient')} predicted right),"
        f" points inside in {hit}, random maps in {random}: {best.verdict}."
    )
