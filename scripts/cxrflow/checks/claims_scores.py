"""The paper's claims about scores: between datasets, with and without preprocessing, transfer against scratch."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cxrflow.checks.verdicts import CLAIM_ALPHA, FAIL, PASS, UNKNOWN, Verdict, check, judge_difference, write_estimate
from cxrflow.compare.collect import Results, group_seeds
from cxrflow.compare.paired import Pair, ablation_pairs, compare_pairs, transfer_pairs
from cxrflow.compare.scores import score_models
from cxrflow.config.study import SCRATCH, ModelId
from cxrflow.files.formats import KINDS, MIN_PATIENTS, count_words, join_words
from cxrflow.results.bootstrap import Estimate, average_estimates, resample_metrics, scale_estimate
from cxrflow.results.metrics import METRICS, Floats, Outcomes, whole_sample

# Who reads a dataset tells which published dataset it is, whatever a config calls it.
XRAY8, COVID, PNEUMONIA = "nih", "covid_radiography", "kermany"
CLAIMED_GAIN = 0.04
COVID_WORDS = ("covid", "viral")  # in the names of the two classes
NO_PREPROCESSING = "no_preprocessing: {preprocess: {equalize: none, blur_px: 0}}"
WITHOUT_INTERVALS = (
    "Without intervals nothing can be determined: score.bootstrap_resamples is 0, or a class has fewer than"
    f" {MIN_PATIENTS} test patients."
)


@check("claim", "ChestX-ray8 scores lowest.", needs=("index", "metrics", "predictions"))
def xray8_lowest(results: Results) -> Verdict:
    """ChestX-ray8 against every other dataset."""
    others = [name for name in results.datasets if results.reader_of(name) != XRAY8]
    return _compare_datasets(results, lower=_read_by(results, XRAY8), higher=others)


@check("claim", "ChestX-ray8 scores low due to its number of classes.", needs=("index", "metrics", "predictions"))
def xray8_by_classes(results: Results) -> Verdict:
    """Whether ChestX-ray8 is still lowest where the scores are corrected for what guessing among its classes gives."""
    others = [name for name in results.datasets if results.reader_of(name) != XRAY8]
    found = _compare_datasets(results, lower=_read_by(results, XRAY8), higher=others, corrected=True)
    level, more = UNKNOWN, "That the number of classes is the reason cannot be shown so."
    if found.level == PASS:
        level, more = FAIL, "It is lowest also when guessing is taken off, so the number of classes is not all."
    return replace(found, level=level, text=f"{found.text} {more}")


@check(
    "claim",
    "All three datasets had similar performance for a high number of epochs.",
    needs=("index", "metrics", "predictions"),
)
def similar_datasets(results: Results) -> Verdict:
    """Whether two datasets differ clearly, corrected for chance; the paper gives no margin of similarity."""
    names = [name for reader in (XRAY8, COVID, PNEUMONIA) for name in _read_by(results, reader)]
    if len(names) < 3:
        return Verdict(UNKNOWN, "This study does not have the datasets that it is about.")
    found = [
        _compare_datasets(results, [one], [other], corrected=True) for one, other in itertools.permutations(names, 2)
    ]
    apart = [each for each in found if each.level == PASS]
    if apart:
        return replace(max(apart, key=lambda each: each.value or 0), level=FAIL)
    return Verdict(UNKNOWN, "No two differ clearly; how near is similar, the paper does not say.")


@check("claim", "COVID-19 is easier to distinguish than viral pneumonia.", needs=("index", "predictions"))
def covid_distinct(results: Results) -> Verdict:
    """The recall of COVID-19 minus that of viral pneumonia, of the models from scratch on COVID-19 Radiography."""
    score = results.study.settings.score
    differences: list[Floats] = []
    seen: list[tuple[float, float]] = []
    for name in _read_by(results, COVID):
        for model in results.select(results.base_models, dataset=name, init=SCRATCH):
            predictions = model.predictions
            places = [[k for k, c in enumerate(predictions.class_names) if word in c.lower()] for word in COVID_WORDS]
            if [len(each) for each in places] == [1, 1]:
                first, second = (each[0] for each in places)
                outcomes = Outcomes(predictions.labels, predictions.probabilities)
                recall = METRICS["recall"].compute(whole_sample(outcomes))[0]
                seen.append((float(recall[first]), float(recall[second])))
                how = (predictions.patient_ids, score.bootstrap_resamples, score.bootstrap_seed)
                resampled = resample_metrics(outcomes, *how)["recall"] if score.bootstrap_resamples else None
                differences += [] if resampled is None else [resampled[:, first] - resampled[:, second]]
    if not seen:
        return Verdict(UNKNOWN, "No model from scratch of this study has both classes.")
    one, other = np.mean(seen, axis=0)
    text = f"Recall, mean over {count_words(len(seen), 'model')}: COVID-19 {one:.2f}, viral pneumonia {other:.2f}."
    if not differences:
        return Verdict(UNKNOWN, f"{text} {WITHOUT_INTERVALS}")
    low, high = np.nanquantile(np.mean(differences, axis=0), [CLAIM_ALPHA / 2, 1 - CLAIM_ALPHA / 2]).tolist()
    level = PASS if low > 0 else FAIL if high < 0 else UNKNOWN
    write = KINDS["difference"].show
    return Verdict(
        level,
        f"{text} Difference {write(one - other)} ({write(low)} to {write(high)}, over patients, corrected for the"
        " number of claims).",
        value=float(one - other),
        interval=(low, high),
        threshold=0.0,
    )


@check("claim", "COVID-19 Radiography scores above paediatric pneumonia.", needs=("index", "metrics", "predictions"))
def covid_above_pneumonia(results: Results) -> Verdict:
    """The two datasets of three classes against each other."""
    return _compare_datasets(results, lower=_read_by(results, PNEUMONIA), higher=_read_by(results, COVID))


def _read_by(results: Results, reader: str) -> list[str]:
    return [name for name in results.datasets if results.reader_of(name) == reader]


def _compare_datasets(
    results: Results, lower: Sequence[str], higher: Sequence[str], *, corrected: bool = False
) -> Verdict:
    """Judge that each of `lower` scores below each of `higher`: only where the intervals do not overlap.

    corrected: whether by (macro F1 - chance) / (1 - chance), which datasets of other class numbers have in common.
    """
    if not lower or not higher:
        return Verdict(UNKNOWN, "This study does not have the datasets that it is about.")
    names, scratch = (*lower, *higher), results.select(results.base_models, init=SCRATCH)
    common = [b for b in results.backbones if all(results.select(scratch, dataset=d, backbone=b) for d in names)]
    if not common:
        return Verdict(UNKNOWN, "The datasets have no backbone in common that was trained from scratch on each.")
    compared = [model for model in scratch if model.id.backbone in common]
    raw = {name: score_models(results, results.select(compared, dataset=name)) for name in names}
    chance = {name: results.select(dataset=name)[0].metrics["chance_macro_f1"] for name in names}
    above = {name: correct_for_chance(raw[name], chance[name]) for name in names}
    scores = {name: (above if corrected else raw)[name].at(1 - CLAIM_ALPHA) for name in names}
    pairs = [(scores[low], scores[high]) for low in lower for high in higher]
    level, conclusion = _judge_order(pairs)
    listed = join_words([f"{results.dataset_title(name)} {write_estimate(scores[name])}" for name in scores])
    which = f"mean over {len(common)} backbones" if len(common) > 1 else "one backbone"
    values = [f"{each.value:.2f}" for each in (raw if corrected else above).values()]
    other = "Without the correction" if corrected else "As (macro F1 - chance) / (1 - chance)"
    what = "(Macro F1 - chance) / (1 - chance)" if corrected else "Macro F1"
    return Verdict(
        level,
        f"{what} from scratch, {which}: {listed}. {conclusion} {other}: {join_words(values)}, in the same order."
        f"{_describe_samples(results, list(scores))}",
        value=min(high.value - low.value for low, high in pairs),
        threshold=0.0,
    )


def correct_for_chance(estimate: Estimate, chance: float) -> Estimate:
    """Return a score on a scale where guessing is 0 and no error is 1, as kappa is of accuracy (Cohen 1960)."""
    return scale_estimate(estimate, 1 / (1 - chance), shift=-chance / (1 - chance))


def _judge_order(pairs: Sequence[tuple[Estimate, Estimate]]) -> tuple[str, str]:
    if any(end is None for pair in pairs for each in pair for end in (each.low, each.high)):
        return UNKNOWN, WITHOUT_INTERVALS
    if all(low.high < high.low for low, high in pairs):  # type: ignore[operator]  # None was ruled out above
        return PASS, "The intervals do not overlap."
    if any(low.low > high.high for low, high in pairs):  # type: ignore[operator]
        return FAIL, "The order is another, and these intervals do not overlap."
    return UNKNOWN, "Intervals overlap, so the order may be chance."


def _describe_samples(results: Results, names: Sequence[str]) -> str:
    """Say which of the datasets are not the whole published ones."""
    parts = [results.datasets[name] for name in names]
    smaller = [d for d in parts if d.n_published and d.n_images < d.n_published]
    if not smaller:
        return ""
    listed = join_words([f"{d.title} ({d.n_images:,} of {d.n_published:,} images)" for d in smaller])
    return f" Not the whole published dataset: {listed}."


@check("claim", "Histogram equalization and Gaussian blur gained F1.", needs=("predictions",))
def preprocessing_gain(results: Results) -> Verdict:
    """The study's settings minus a variant with neither."""
    own = results.study.settings.preprocess
    if not (own.equalize == "histogram" and own.blur_px):
        return Verdict(UNKNOWN, "This study's own settings do not use both, so there is nothing to switch off.")
    pairs = [(base, model) for model, base in ablation_pairs(results) if _drops_both(results, model.id.variant)]
    if not pairs:
        return Verdict(UNKNOWN, "No model of this study is trained without them.", remedy=_how_to_answer(results))
    judged = _judge_pairs(results, pairs, "With minus without both")
    if judged.interval is None:
        return judged
    where = "inside" if judged.interval[0] <= CLAIMED_GAIN <= judged.interval[1] else "outside"
    return replace(judged, text=f"{judged.text} The paper's gain of 4 % lies {where} the interval.")


def _drops_both(results: Results, variant: str) -> bool:
    """Return whether a variant differs from the study's settings in equalization and blur alone, and has neither."""
    study = results.study
    wanted = replace(study.settings.preprocess, equalize="none", blur_px=0)
    return study.preprocess_settings(variant) == wanted and study.train_settings(variant) == study.settings.train


def _how_to_answer(results: Results) -> str:
    """Say which command trains a model without equalization and blur."""
    known = [variant for variant in results.study.variants() if _drops_both(results, variant)]
    name = known[0] if known else "no_preprocessing"
    model = next((m.id for m in results.base_models if m.id.init == SCRATCH), results.models[0].id)
    target = ModelId(model.dataset, model.backbone, model.init, name, model.seed)
    file = results.study.layout.model_file(target, "metrics.json")
    first = "" if known else f'add "{NO_PREPROCESSING}" under "variants:" in the config, then '
    return (
        f'To answer it, {first}put "{name}" into "ablation.variants" and run the study again. For one model\'s number'
        f' alone: "snakemake {file} --configfile=<this study\'s config>".'
    )


@check(
    "claim", "Transfer learning scores above training from scratch.", needs=("index", "copies", "split", "predictions")
)
def transfer_gain(results: Results) -> Verdict:
    """Transferred models minus their twins from scratch; those that may have seen test images do not count."""
    pairs = transfer_pairs(results)
    if not pairs:
        return Verdict(UNKNOWN, "No transferred model has a twin from scratch in this study.")
    sound = [pair for pair in pairs if not results.seen_test.is_possible(pair[0].id)]
    leaky = dict.fromkeys(pair[0].id.dataset for pair in pairs if pair not in sound)
    titles = join_words([results.dataset_title(name) for name in leaky]) if leaky else ""
    left_out = (
        f" Left out: {titles}, where transfer starts from a dataset with images in common, which may be test images"
        " here."
    )
    if not sound:
        return Verdict(UNKNOWN, f"No pair can be trusted.{left_out}")
    judged = _judge_pairs(results, sound, "Transfer minus scratch")
    return replace(judged, text=judged.text + left_out * bool(leaky))


def _judge_pairs(results: Results, pairs: Sequence[Pair], words: str) -> Verdict:
    """Judge the mean of (first minus second) over all pairs by its paired interval."""
    datasets = list(dict.fromkeys(first.id.dataset for first, _ in pairs))
    each = {d: compare_pairs(results, [pair for pair in pairs if pair[0].id.dataset == d]) for d in datasets}
    overall = average_estimates(list(each.values())).at(1 - CLAIM_ALPHA)
    each = {d: difference.at(1 - CLAIM_ALPHA) for d, difference in each.items()}
    once = max(len(trainings) for trainings in group_seeds(first for first, _ in pairs).values()) == 1
    level = UNKNOWN if once else judge_difference(overall)
    listed = join_words([f"{results.dataset_title(d)} {write_estimate(e, 'difference')}" for d, e in each.items()])
    mean = f"; mean over the datasets {write_estimate(overall, 'difference')}" if len(datasets) > 1 else ""
    ending = {
        PASS: "The interval lies above zero.",
        FAIL: "The interval lies below zero.",
        UNKNOWN: "The interval includes zero, so the difference may be chance.",
    }[level]
    if once:
        ending = "Each was trained once, so this is of these trainings: of the procedure, nothing can be told (seeds)."
    interval = None if overall.low is None or overall.high is None else (overall.low, overall.high)
    return Verdict(
        level,
        f"{words}, macro F1, {count_words(len(pairs), 'pair')}: {listed}{mean}."
        f" {ending if interval else WITHOUT_INTERVALS}",
        value=overall.value,
        interval=interval,
        threshold=0.0,
    )
