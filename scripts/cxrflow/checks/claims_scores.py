"""The paper's claims about scores: between datasets, with and without preprocessing or class weights, by transfer."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import mean

from cxrflow.checks.verdicts import (
    FAIL,
    PASS,
    UNKNOWN,
    Verdict,
    check,
    is_clear,
    judge_difference,
    write_estimate,
)
from cxrflow.compare.collect import ModelResult, Results, group_seeds
from cxrflow.compare.paired import Pair, ablation_pairs, compare_pairs, transfer_pairs
from cxrflow.compare.scores import score_models
from cxrflow.config.settings import PreprocessSettings, TrainSettings
from cxrflow.config.study import SCRATCH, ModelId
from cxrflow.files.formats import MIN_PATIENTS, count_words, join_words
from cxrflow.results.bootstrap import Estimate, average_estimates, mean_recall, scale_estimate, subtract_estimates

# Who reads a dataset tells which published dataset it is, whatever a config calls it.
XRAY8, COVID, PNEUMONIA = "nih", "covid_radiography", "kermany"
CLAIMED_GAIN = 0.04
COVID_WORDS = ("covid", "viral")  # in the names of the two classes
# Variants that would answer a claim, as the config has them.
NO_PREPROCESSING = "no_preprocessing: {preprocess: {equalize: none, blur_px: 0}}"
NO_CLASS_WEIGHTS = "no_class_weights: {train: {class_weights: none}}"
WITHOUT_INTERVALS = (
    "Without intervals nothing can be determined: score.bootstrap_resamples is 0, or a class has fewer than"
    f" {MIN_PATIENTS} test patients."
)
ABSENT = "This study does not have the datasets that it is about."
NOTHING_COMMON = "The datasets have no backbone in common that was trained from scratch on each."
ONCE = "Each was trained once, so this is of these trainings: of the procedure, nothing can be told (seeds)."


@check("claim", "ChestX-ray8 scores lowest.", needs=("index", "metrics", "predictions"))
def xray8_lowest(results: Results, alpha: float) -> Verdict:
    """ChestX-ray8 against every other dataset."""
    others = [name for name in results.datasets if results.reader_of(name) != XRAY8]
    return _compare_datasets(results, alpha, lower=_read_by(results, XRAY8), higher=others)


@check("claim", "ChestX-ray8 scores low due to its number of classes.", needs=("index", "metrics", "predictions"))
def xray8_by_classes(results: Results, alpha: float) -> Verdict:
    """Whether ChestX-ray8 is still lowest where the scores are corrected for what guessing among its classes gives."""
    others = [name for name in results.datasets if results.reader_of(name) != XRAY8]
    found = _compare_datasets(results, alpha, lower=_read_by(results, XRAY8), higher=others, corrected=True)
    level, more = UNKNOWN, "That the number of classes is the reason cannot be shown so."
    if found.level == PASS:
        level, more = FAIL, "It is lowest also when guessing is taken off, so the number of classes is not all."
    return replace(found, level=level, text=f"{found.text} {more}")


@check(
    "claim",
    "All three datasets had similar performance for a high number of epochs.",
    needs=("index", "metrics", "predictions"),
)
def similar_datasets(results: Results, alpha: float) -> Verdict:
    """Whether two datasets differ clearly, corrected for chance; the paper gives no margin of similarity."""
    names = [name for reader in (XRAY8, COVID, PNEUMONIA) for name in _read_by(results, reader)]
    if len(names) < 3:
        return Verdict(UNKNOWN, ABSENT)
    found = [
        _compare_datasets(results, alpha, [one], [other], corrected=True)
        for one, other in itertools.permutations(names, 2)
    ]
    if apart := [each for each in found if each.level == PASS]:
        return replace(max(apart, key=lambda each: each.value or 0), level=FAIL)
    models = _find_common(results, names)
    if not models:
        return Verdict(UNKNOWN, NOTHING_COMMON)
    if is_once(models):
        return Verdict(UNKNOWN, ONCE)
    unseen = [name for name in names if score_models(results, results.select(models, dataset=name)).low is None]
    if unseen:
        titles = join_words([results.dataset_title(name) for name in unseen])
        return Verdict(UNKNOWN, f"{titles} without an interval: whether all three are similar could not be looked at.")
    return Verdict(UNKNOWN, "No two differ clearly; how near is similar, the paper does not say.")


@check("claim", "COVID-19 is easier to distinguish than viral pneumonia.", needs=("index", "predictions"))
def covid_distinct(results: Results, alpha: float) -> Verdict:
    """The recall of COVID-19 minus that of viral pneumonia, of the models from scratch on COVID-19 Radiography."""
    score = results.study.settings.score
    compared: list[ModelResult] = []
    recalls: list[list[Estimate]] = []  # of each dataset, in the order of COVID_WORDS
    for name in _read_by(results, COVID):
        models = results.select(results.base_models, dataset=name, init=SCRATCH)
        classes = models[0].predictions.class_names if models else []
        places = [[k for k, c in enumerate(classes) if word in c.lower()] for word in COVID_WORDS]
        if [len(each) for each in places] == [1, 1]:
            compared += models
            procedures = [[model.predictions for model in seeds] for seeds in group_seeds(models).values()]
            how = (score.bootstrap_resamples, score.bootstrap_seed)
            recalls.append([mean_recall(procedures, place[0], *how) for place in places])
    if not recalls:
        return Verdict(UNKNOWN, "No model from scratch of this study has both classes.")
    covid, viral = (mean(estimate.value for estimate in of_class) for of_class in zip(*recalls, strict=True))
    difference = average_estimates([subtract_estimates(*each) for each in recalls]).at(1 - alpha)
    return _judge_estimate(
        difference,
        compared,
        f"Recall, mean over {count_words(len(compared), 'model')}: COVID-19 {covid:.2f}, viral pneumonia {viral:.2f}."
        f" Difference {write_estimate(difference, 'difference')}.",
    )


@check("claim", "COVID-19 Radiography scores above paediatric pneumonia.", needs=("index", "metrics", "predictions"))
def covid_above_pneumonia(results: Results, alpha: float) -> Verdict:
    """The two datasets of three classes against each other."""
    return _compare_datasets(results, alpha, lower=_read_by(results, PNEUMONIA), higher=_read_by(results, COVID))


def _read_by(results: Results, reader: str) -> list[str]:
    return [name for name in results.datasets if results.reader_of(name) == reader]


def _compare_datasets(
    results: Results, alpha: float, lower: Sequence[str], higher: Sequence[str], *, corrected: bool = False
) -> Verdict:
    """Judge that each of `lower` scores below each of `higher`: only where the intervals do not overlap.

    corrected: whether by (macro F1 - chance) / (1 - chance), which datasets of other class numbers have in common.
    """
    if not lower or not higher:
        return Verdict(UNKNOWN, ABSENT)
    names = (*lower, *higher)
    compared = _find_common(results, names)
    if not compared:
        return Verdict(UNKNOWN, NOTHING_COMMON)
    common = {model.id.backbone for model in compared}
    raw = {name: score_models(results, results.select(compared, dataset=name)) for name in names}
    chance = {name: results.select(dataset=name)[0].metrics["chance_macro_f1"] for name in names}
    above = {name: correct_for_chance(raw[name], chance[name]) for name in names}
    scores = {name: (above if corrected else raw)[name].at(1 - alpha) for name in names}
    pairs = [(scores[low], scores[high]) for low in lower for high in higher]
    level, conclusion = _judge_order(pairs)
    if level in (PASS, FAIL) and is_once(compared):
        level, conclusion = UNKNOWN, ONCE
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


def _find_common(results: Results, datasets: Iterable[str]) -> list[ModelResult]:
    """Return the base models from scratch, of the datasets, whose backbone was trained so on each of them."""
    models = [m for m in results.select(results.base_models, init=SCRATCH) if m.id.dataset in datasets]
    n_datasets = len({*datasets})
    return [
        m for m in models if len({o.id.dataset for o in results.select(models, backbone=m.id.backbone)}) == n_datasets
    ]


def correct_for_chance(estimate: Estimate, chance: float) -> Estimate:
    """Return a score on a scale where guessing is 0 and no error is 1, as kappa is of accuracy (Cohen 1960)."""
    return scale_estimate(estimate, 1 / (1 - chance), shift=-chance / (1 - chance))


def _judge_order(pairs: Sequence[tuple[Estimate, Estimate]]) -> tuple[str, str]:
    if any(end is None for pair in pairs for each in pair for end in (each.low, each.high)):
        return UNKNOWN, WITHOUT_INTERVALS
    if all(is_clear(high.low - low.high) for low, high in pairs):  # type: ignore[operator]  # None was ruled out above
        return PASS, "The intervals do not overlap."
    if any(is_clear(low.low - high.high) for low, high in pairs):  # type: ignore[operator]
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
def preprocessing_gain(results: Results, alpha: float) -> Verdict:
    """The study's settings minus a variant with neither."""
    own = results.study.settings.preprocess
    if not (own.equalize == "histogram" and own.blur_px):
        return Verdict(UNKNOWN, "This study's own settings do not use both, so there is nothing to switch off.")
    judged = _judge_without(
        results,
        alpha,
        (replace(own, equalize="none", blur_px=0), results.study.settings.train),
        NO_PREPROCESSING,
        "With minus without both",
    )
    if judged.interval is None:
        return judged
    where = "inside" if judged.interval[0] <= CLAIMED_GAIN <= judged.interval[1] else "outside"
    return replace(judged, text=f"{judged.text} The paper's gain of 4 % lies {where} the interval.")


@check(
    "claim",
    "Class weights, which the paper used and left to explore, gain F1.",
    needs=("predictions",),
)
def class_weights_gain(results: Results, alpha: float) -> Verdict:
    """The study's settings minus a variant whose only change is that all classes weigh the same."""
    settings = results.study.settings
    if settings.train.class_weights == "none":
        return Verdict(UNKNOWN, "This study's own settings have no class weights, so there is nothing to switch off.")
    wanted = settings.preprocess, replace(settings.train, class_weights="none")
    return _judge_without(results, alpha, wanted, NO_CLASS_WEIGHTS, "With minus without class weights")


def _judge_without(
    results: Results, alpha: float, wanted: tuple[PreprocessSettings, TrainSettings], definition: str, words: str
) -> Verdict:
    """Judge the study's settings minus a variant with the wanted ones; `definition` would add such a one."""
    study = results.study
    found = [v for v in study.variants() if (study.preprocess_settings(v), study.train_settings(v)) == wanted]
    pairs = [(base, model) for model, base in ablation_pairs(results) if model.id.variant in found]
    if pairs:
        return _judge_pairs(results, alpha, pairs, words)
    remedy = _how_to_answer(results, found[0] if found else "", definition)
    return Verdict(UNKNOWN, "No model of this study is trained without.", remedy=remedy)


def _how_to_answer(results: Results, known: str, definition: str) -> str:
    """Say which command trains the model that is missing; known: the variant's name where the config has it."""
    name = known or definition.partition(":")[0]
    model = next((m.id for m in results.base_models if m.id.init == SCRATCH), results.models[0].id)
    target = ModelId(model.dataset, model.backbone, model.init, name, model.seed)
    file = results.study.layout.model_file(target, "metrics.json")
    first = "" if known else f'add "{definition}" under "variants:" in the config, then '
    return (
        f'To answer it, {first}put "{name}" into "ablation.variants" and run the study again (config/ablation.yaml has'
        f" it). For one model's number alone: \"snakemake {file} --configfile=<this study's config>\"."
    )


@check(
    "claim", "Transfer learning scores above training from scratch.", needs=("index", "copies", "split", "predictions")
)
def transfer_gain(results: Results, alpha: float) -> Verdict:
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
    judged = _judge_pairs(results, alpha, sound, "Transfer minus scratch")
    return replace(judged, text=judged.text + left_out * bool(leaky))


def _judge_pairs(results: Results, alpha: float, pairs: Sequence[Pair], words: str) -> Verdict:
    """Judge the mean of (first minus second) over all pairs by its paired interval."""
    datasets = list(dict.fromkeys(first.id.dataset for first, _ in pairs))
    each = {d: compare_pairs(results, [pair for pair in pairs if pair[0].id.dataset == d]) for d in datasets}
    overall = average_estimates(list(each.values())).at(1 - alpha)
    each = {d: difference.at(1 - alpha) for d, difference in each.items()}
    listed = join_words([f"{results.dataset_title(d)} {write_estimate(e, 'difference')}" for d, e in each.items()])
    overall_words = f"; mean over the datasets {write_estimate(overall, 'difference')}" if len(datasets) > 1 else ""
    seen = f"{words}, macro F1, {count_words(len(pairs), 'pair')}: {listed}{overall_words}."
    return _judge_estimate(overall, [first for first, _ in pairs], seen)


def _judge_estimate(difference: Estimate, models: Sequence[ModelResult], seen: str) -> Verdict:
    """Judge a difference of these models by its interval; one training each tells nothing of a procedure."""
    interval = None if difference.low is None or difference.high is None else (difference.low, difference.high)
    level = judge_difference(difference)
    ending = {
        PASS: "The interval lies above zero.",
        FAIL: "The interval lies below zero.",
        UNKNOWN: "The interval includes zero, or ends there, so the difference may be chance.",
    }[level]
    if interval is None:
        ending = WITHOUT_INTERVALS
    elif is_once(models):
        level, ending = UNKNOWN, ONCE
    return Verdict(level, f"{seen} {ending}", value=difference.value, interval=interval, threshold=0.0)


def is_once(models: Iterable[ModelResult]) -> bool:
    """Return whether a procedure, all settings but the seed, was trained once."""
    return min(len(trainings) for trainings in group_seeds(models).values()) == 1
