"""The report's claims about scores: between datasets, preprocessing on and off, transfer against scratch."""

from collections.abc import Sequence
from dataclasses import replace

from cxrflow.checks.verdicts import FAILS, HOLDS, OPEN, Claim, join_words, judge_difference, write_estimate
from cxrflow.compare.collect import Results, may_have_seen_test
from cxrflow.compare.paired import (
    Pair,
    ablation_pairs,
    compare_pairs,
    mean_estimate,
    score_models,
    transfer_pairs,
)
from cxrflow.config.settings import settings_dict
from cxrflow.config.study import SCRATCH, ModelId
from cxrflow.results.bootstrap import Estimate

# Who reads a dataset tells which published set it is, whatever a config calls it.
XRAY8, COVID, PNEUMONIA = "nih", "covid_radiography", "kermany"
NO_PREPROCESSING = "no_preprocessing: {preprocess: {equalize: false, blur_px: 0}}"


def answer_xray8_lowest(results: Results) -> Claim:
    """ChestX-ray8 scores lowest of all datasets."""
    others = [name for name in results.datasets if results.reader_of(name) != XRAY8]
    return _compare_datasets(results, "ChestX-ray8 scores lowest.", lower=_read_by(results, XRAY8), higher=others)


def answer_covid_above_pneumonia(results: Results) -> Claim:
    """COVID-19 Radiography scores above paediatric pneumonia."""
    return _compare_datasets(
        results,
        "COVID-19 Radiography scores above paediatric pneumonia.",
        lower=_read_by(results, PNEUMONIA),
        higher=_read_by(results, COVID),
    )


def _read_by(results: Results, reader: str) -> list[str]:
    return [name for name in results.datasets if results.reader_of(name) == reader]


def _compare_datasets(results: Results, claim: str, lower: Sequence[str], higher: Sequence[str]) -> Claim:
    """Judge that each of `lower` scores below each of `higher`: told only where the intervals do not overlap."""
    if not lower or not higher:
        return Claim(claim, OPEN, "This study does not have the datasets that it is about.")
    backbones = _common_backbones(results, [*lower, *higher])
    if not backbones:
        return Claim(claim, OPEN, "The datasets have no backbone in common that was trained from scratch on each.")
    scores = {name: _score_dataset(results, name, backbones) for name in (*lower, *higher)}
    verdict, conclusion = _judge_order([scores[name] for name in lower], [scores[name] for name in higher])
    listed = join_words([f"{results.dataset_title(name)} {write_estimate(scores[name])}" for name in scores])
    which = f"mean over {len(backbones)} backbones" if len(backbones) > 1 else "one backbone"
    chance = join_words([f"{_chance(results, name):.2f}" for name in scores])
    return Claim(
        claim,
        verdict,
        f"Macro F1 from scratch, {which}: {listed}. {conclusion} Chance differs: {chance}, in the same order."
        f"{_describe_samples(results, list(scores))}",
    )


def _judge_order(lower: Sequence[Estimate], higher: Sequence[Estimate]) -> tuple[str, str]:
    pairs = [(low, high) for low in lower for high in higher]
    if any(end is None for pair in pairs for each in pair for end in (each.low, each.high)):
        return OPEN, "Without intervals (score.bootstrap_resamples is 0) nothing can be told."
    if all(low.high < high.low for low, high in pairs):  # type: ignore[operator]  # None was ruled out above
        return HOLDS, "The intervals do not overlap."
    if any(low.low > high.high for low, high in pairs):  # type: ignore[operator]
        return FAILS, "The order is another, and these intervals do not overlap."
    return OPEN, "Intervals overlap, so the order may be chance."


def _common_backbones(results: Results, datasets: Sequence[str]) -> list[str]:
    """Return the backbones that were trained from scratch on every one of the datasets."""
    scratch = results.select(results.base_models, init=SCRATCH)
    return [b for b in results.backbones if all(results.select(scratch, dataset=d, backbone=b) for d in datasets)]


def _score_dataset(results: Results, dataset: str, backbones: Sequence[str]) -> Estimate:
    scratch = results.select(results.base_models, dataset=dataset, init=SCRATCH)
    return score_models(results, [model for model in scratch if model.id.backbone in backbones])


def _chance(results: Results, dataset: str) -> float:
    return float(results.select(dataset=dataset)[0].metrics["chance_macro_f1"])


def _describe_samples(results: Results, names: Sequence[str]) -> str:
    """Say which of the datasets are not the whole published set."""
    parts = [results.datasets[name] for name in names]
    smaller = [d for d in parts if d.n_published and d.n_images < d.n_published]
    if not smaller:
        return ""
    listed = join_words([f"{d.title} ({d.n_images:,} of {d.n_published:,} images)" for d in smaller])
    return f" Not the whole published set: {listed}."


def answer_preprocessing(results: Results) -> Claim:
    """Histogram equalization and blur gained F1: base minus a variant without either."""
    claim = "Histogram equalization and Gaussian blur gained F1."
    base = results.study.settings.preprocess
    if not (base.equalize and base.blur_px):
        return Claim(claim, OPEN, "This study's own settings do not use both, so there is nothing to switch off.")
    pairs = [
        (twin, model)
        for model, twin in ablation_pairs(results)
        if only_drops(results, model.id.variant, {"equalize": False, "blur_px": 0})
    ]
    if not pairs:
        return Claim(claim, OPEN, f"No model of this study is trained without them. {how_to_answer(results)}")
    return _judge_pairs(results, claim, pairs, "With minus without both")


def only_drops(results: Results, variant: str, dropped: dict[str, object]) -> bool:
    """Return whether a variant differs from the base settings in just these preprocessing keys."""
    study = results.study
    wanted = {**settings_dict(study.settings.preprocess), **dropped}
    same_training = study.train_settings(variant) == study.settings.train
    return settings_dict(study.preprocess_settings(variant)) == wanted and same_training


def how_to_answer(results: Results) -> str:
    """Say which command trains a model without equalization and blur."""
    settings = results.study.settings
    known = [v for v in settings.variants if only_drops(results, v, {"equalize": False, "blur_px": 0})]
    name = known[0] if known else "no_preprocessing"
    model = next((m.id for m in results.base_models if m.id.init == SCRATCH), results.models[0].id)
    target = ModelId(model.dataset, model.backbone, model.init, name, model.seed).path
    first = "" if known else f'add "{NO_PREPROCESSING}" under "variants:" in the config, then '
    return (
        f'To answer it, {first}put "{name}" into "ablation.variants" and run the study again. For one model\'s number'
        f' alone: "snakemake {results.study.results}/models/{target}/metrics.json --configfile <this study\'s config>".'
    )


def answer_transfer(results: Results) -> Claim:
    """Transfer scores above training from scratch; models that may have seen test images do not count."""
    claim = "Transfer learning scores above training from scratch."
    pairs = transfer_pairs(results)
    if not pairs:
        return Claim(claim, OPEN, "No transferred model has a twin from scratch in this study.")
    sound = [pair for pair in pairs if not may_have_seen_test(results, pair[0])]
    leaky = dict.fromkeys(pair[0].id.dataset for pair in pairs if pair not in sound)
    titles = join_words([results.dataset_title(name) for name in leaky]) if leaky else ""
    left_out = (
        f" Left out: {titles}, where transfer starts from a set with images in common, which may be test images here."
    )
    if not sound:
        return Claim(claim, OPEN, f"No pair can be trusted.{left_out}")
    judged = _judge_pairs(results, claim, sound, "Transfer minus scratch")
    return replace(judged, answer=judged.answer + left_out * bool(leaky))


def _judge_pairs(results: Results, claim: str, pairs: Sequence[Pair], words: str) -> Claim:
    """Judge the mean of (first minus second) over all pairs by its paired bootstrap interval."""
    datasets = list(dict.fromkeys(first.id.dataset for first, _ in pairs))
    each = {d: compare_pairs(results, [pair for pair in pairs if pair[0].id.dataset == d]) for d in datasets}
    overall = mean_estimate(list(each.values()))
    verdict = judge_difference(overall)
    listed = join_words([f"{results.dataset_title(d)} {write_estimate(e, 'difference')}" for d, e in each.items()])
    mean = f"; mean over the datasets {write_estimate(overall, 'difference')}" if len(datasets) > 1 else ""
    ending = {
        HOLDS: "The interval lies above zero.",
        FAILS: "The interval lies below zero.",
        OPEN: "The interval includes zero, so the difference may be chance.",
    }[verdict]
    if overall.low is None:
        ending = "Without intervals (score.bootstrap_resamples is 0) nothing can be told."
    return Claim(
        claim, verdict, f"{words}, macro F1, {len(pairs)} pair{'s' * (len(pairs) > 1)}: {listed}{mean}. {ending}"
    )
