"""Cautions about shortcuts: what tells the classes without the lungs, and what the way of selecting images adds to it.

The gate trains probes on what must not work, such as the frame of the image, and holds what they gain over chance
against what the chosen model gains: R = (probe - chance) / (model - chance), of macro F1. It weighs how much of the
model's score *could* be had that way; it does not show that the model takes it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cxrflow.checks.verdicts import FAIL, PASS, UNKNOWN, WARN, WORDS, Verdict, check
from cxrflow.compare.associations import associate, group_fact
from cxrflow.compare.choice import find_chosen
from cxrflow.compare.collect import DatasetResult, Results
from cxrflow.compare.rows import estimate_columns
from cxrflow.compare.scores import find_trainings, read_test_answers, score_candidate, score_probe
from cxrflow.config.probes import SHORTCUTS
from cxrflow.files.formats import KINDS, join_words
from cxrflow.files.records import Predictions
from cxrflow.results.bootstrap import Estimate, check_same_images, divide_estimates, mean_macro_f1, scale_estimate
from cxrflow.results.metrics import chance_macro_f1

# Of the model's gain over chance: what a probe must stay below, and what it must not exceed. Set beforehand.
LITTLE, MUCH = 0.25, 0.5
WORST_FIRST = (FAIL, WARN, UNKNOWN, PASS)
SMALL_V = 0.1  # Cramer's V from which an association is called small, not none (Cohen 1988, Statistical Power Analysis)
FACT_WORDS = {"view": "view", "sex": "sex", "age_years": "age group", "follow_up": "follow-up number"}
NONE_MEASURED = {
    f"{key}{end}": None
    for key in ("macro_f1", "model_macro_f1", "reach")
    for end in ("", "_low", "_high", "_n_patients")
}
MOST_RESAMPLES = 500  # of Cramer's V: the ends of its interval are known to a twentieth of its width


@check(
    "caution",
    "Could the score come from something else than the lungs?",
    needs=("selection", "predictions", "mirrored", "metrics", "probes"),
)
def shortcuts(results: Results) -> Verdict:
    """The gate: the worst of all probes and datasets; what was not run is never a pass."""
    rows = shortcut_rows(results)
    level = next(level for level in WORST_FIRST if any(row["level"] == level for row in rows))
    measured = [row for row in rows if row["level"] == level and row["reach"] is not None]
    worst = max(measured, key=lambda row: row["reach"], default=None)
    interval = (worst["reach_low"], worst["reach_high"]) if worst and worst["reach_low"] is not None else None
    texts = {title: describe_gate(rows, title) for title in dict.fromkeys(row["dataset"] for row in rows)}
    return Verdict(
        level,
        " ".join(_say_levels(rows)),
        value=worst["reach"] if worst else None,
        interval=interval,
        threshold={FAIL: MUCH}.get(level, LITTLE),
        remedy=""
        if level == PASS
        else "Crop to the lungs, or take the classes from one source, and train again; where lung masks are missing,"
        " put them where the dataset's reader looks for them.",
        details=tuple(f"{title}: {text}" for title, text in texts.items()),
    )


def _say_levels(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say the worst level of each dataset, the worst datasets first."""
    worst = {
        title: min(WORST_FIRST.index(row["level"]) for row in rows if row["dataset"] == title)
        for title in dict.fromkeys(row["dataset"] for row in rows)
    }
    for place, level in enumerate(WORST_FIRST):
        if titles := [title for title, of in worst.items() if of == place]:
            yield f"{WORDS['caution'][level].capitalize()}: {join_words(titles)}."


def shortcut_rows(results: Results) -> list[dict[str, Any]]:
    """One row per dataset and shortcut probe: its score, the chosen model's, and how much of its gain it reaches."""
    return [row for name in results.datasets for row in _rows_of_dataset(results, name)]


def _rows_of_dataset(results: Results, dataset: str) -> list[dict[str, Any]]:
    path, candidate = results.selection[dataset]["chosen"], find_chosen(results, dataset)
    answers = read_test_answers(results, candidate) if candidate else []
    whole = score_candidate(results, candidate) if candidate else None
    rows = []
    for name, probe in SHORTCUTS.items():
        row = {"dataset": results.dataset_title(dataset), "probe": probe.title, "model": path, "reason": ""}
        absent = results.probes[dataset][name].get("absent")
        reach, level, reason = None, UNKNOWN, f"not run: {absent}" if absent else "no model was chosen"
        model = whole
        if not absent:
            predictions, estimate = results.probe_predictions(dataset, name), score_probe(results, dataset, name)
            row |= estimate_columns("macro_f1", estimate)
            if whole and candidate:
                model, chance = whole, find_trainings(results, candidate)[0].metrics["chance_macro_f1"]
                if predictions.image_ids != answers[0].image_ids:  # where the lungs were not found
                    model, chance = _score_images(results, answers, predictions)
                reach = estimate_reach(estimate, model, chance)
                level, reason = judge_reach(reach)
        lungs = results.probes[dataset][name].get("lungs", "")
        row |= estimate_columns("model_macro_f1", model) if model else {}
        row |= estimate_columns("reach", reach) if reach and reach.low is not None else {}
        rows.append(
            NONE_MEASURED | row | {"level": level, "verdict": WORDS["caution"][level], "reason": reason, "lungs": lungs}
        )
    return rows


def _score_images(results: Results, answers: Sequence[Predictions], of: Predictions) -> tuple[Estimate, float]:
    """Return the macro F1 of a candidate's answers, and that of guessing, on the images of a probe."""
    score, wanted = results.study.settings.score, set(of.image_ids)
    kept = [k for k, image_id in enumerate(answers[0].image_ids) if image_id in wanted]
    trainings = [
        replace(
            each,
            image_ids=of.image_ids,
            patient_ids=of.patient_ids,
            labels=each.labels[kept],
            probabilities=each.probabilities[kept],
        )
        for each in answers
    ]
    check_same_images([of, *trainings])
    estimate = mean_macro_f1([trainings], score.bootstrap_resamples, score.bootstrap_seed)
    return estimate, chance_macro_f1(np.bincount(of.labels, minlength=len(of.class_names)))


def estimate_reach(probe: Estimate, model: Estimate, chance: float) -> Estimate:
    """Return R, the share of a model's gain over chance that a probe reaches; both on the same resamples."""
    above_chance = (scale_estimate(each, 1.0, shift=-chance) for each in (probe, model))
    return divide_estimates(*above_chance)


def judge_reach(reach: Estimate) -> tuple[str, str]:
    """Return the level of a probe by the interval of R, and why it has none."""
    if reach.low is None or reach.high is None:
        return UNKNOWN, "the model is not clear of chance, or a class has too few patients"
    return PASS if reach.high < LITTLE else FAIL if reach.low > MUCH else WARN, ""


def describe_gate(rows: Iterable[Mapping[str, Any]], dataset: str) -> str:
    """Return what the gate found on one dataset, from the rows of its table: sentences, the worst first."""
    of_dataset = [row for row in rows if row["dataset"] == dataset]
    sentences = []
    for level in WORST_FIRST:
        found = [row for row in of_dataset if row["level"] == level]
        if found and level == UNKNOWN:
            reasons = dict.fromkeys(row["reason"] for row in found)
            named = [f"{_name(r for r in found if r['reason'] == reason)} ({reason})" for reason in reasons]
            sentences.append(f"Cannot be determined: {'; '.join(named)}.")
        elif found:
            reached = [f"{row['probe'].lower()} {_write_reach(row)}" for row in found]
            verdict = WORDS["caution"][level].capitalize()
            sentences.append(f"{verdict}: {join_words(reached)} of the model's gain over chance.")
    sources = dict.fromkeys(row["lungs"] for row in of_dataset if row["lungs"])
    sentences += [f"Lungs: {source}." for source in sources]
    return " ".join(sentences)


def summarize_gate(rows: Iterable[Mapping[str, Any]], dataset: str) -> str:
    """Return the gate's answer for one dataset in a sentence or two: the worst, and how many are not known."""
    of_dataset = [row for row in rows if row["dataset"] == dataset]
    measured = [row for row in of_dataset if row["reach"] is not None]
    if not measured:
        return f"cannot be determined: {of_dataset[0]['reason']}."
    level = next(level for level in WORST_FIRST if any(row["level"] == level for row in of_dataset))
    worst = max(measured, key=lambda row: (-WORST_FIRST.index(row["level"]), row["reach"]))
    unknown = len(of_dataset) - len(measured)
    most = f"{worst['probe'].lower()} alone reaches {_write_reach(worst)} of the model's gain over chance"
    rest = f" Of {len(of_dataset)} probes, {unknown} cannot be determined." if unknown else ""
    return f"{WORDS['caution'][level]}: {most}.{rest}"


def _name(rows: Iterable[Mapping[str, Any]]) -> str:
    return join_words([row["probe"].lower() for row in rows])


def _write_reach(row: Mapping[str, Any]) -> str:
    return KINDS["share"].show_interval(row["reach"], row["reach_low"], row["reach_high"], row["reach_n_patients"])


@check("caution", "Does the way of selecting images make a shortcut?", needs=("index", "probes"))
def selection_shortcut(results: Results) -> Verdict:
    """What is known of each image beside its pixels, against its class."""
    found = {dataset.title: _associate_facts(results, dataset) for dataset in results.datasets.values()}
    strengths = [
        (v, FACT_WORDS[fact], title) for title, facts in found.items() for fact, v in facts.items() if v.low is not None
    ]
    details = tuple(_describe_facts(results, name, found[each.title]) for name, each in results.datasets.items())
    if not strengths:
        text = "Nothing is known of the images but their class, or of too few patients."
        remedy = "Publish view, sex and age with the images where they are known."
        return Verdict(UNKNOWN, text, remedy=remedy, details=details)
    strongest, fact, title = max(strengths, key=lambda each: each[0].value)
    level = WARN if any((v.low or 0) > SMALL_V for v, *_ in strengths) else PASS
    text = f"In {title} the class goes most with the {fact}: Cramer's V {_write_v(strongest)}."
    if nameless := [title for title, facts in found.items() if not facts]:
        text += f" Of the images of {join_words(nameless)} nothing is known but their class."
        level = UNKNOWN if level == PASS else level
    return Verdict(
        level,
        text,
        value=strongest.value,
        interval=(strongest.low or 0.0, strongest.high or 0.0),
        threshold=SMALL_V,
        remedy=""
        if level == PASS
        else "Compare classes within one view and one visit, or select images alike in them.",
        details=details,
    )


def _associate_facts(results: Results, dataset: DatasetResult) -> dict[str, Estimate]:
    """Return Cramer's V of the class and each fact that the index has, in at least two groups."""
    score, found = results.study.settings.score, {}
    for name in FACT_WORDS:
        known = [(row, group) for row in dataset.images if (group := group_fact(name, row.facts.get(name, "")))]
        if len({group for _, group in known}) > 1:
            columns = [row.label for row, _ in known], [group for _, group in known], [r.patient_id for r, _ in known]
            found[name] = associate(*columns, min(MOST_RESAMPLES, score.bootstrap_resamples), score.bootstrap_seed)
    return found


def _describe_facts(results: Results, name: str, facts: Mapping[str, Estimate]) -> str:
    dataset = results.datasets[name]
    if not facts:
        return f"{dataset.title}: nothing is known of its images but their class."
    listed = [f"{FACT_WORDS[fact]} {_write_v(v)}" for fact, v in facts.items()]
    parts = [f"{dataset.title}: Cramer's V with the class is {join_words(listed)}.", *_describe_probe(results, name)]
    return " ".join([*parts, *_describe_visits(dataset), *_describe_ignored(dataset)])


def _write_v(v: Estimate) -> str:
    return KINDS["score"].show_interval(v.value, v.low, v.high)


def _describe_probe(results: Results, name: str) -> list[str]:
    scores = results.probes[name]["metadata"]
    if "absent" in scores:
        return []
    areas = {label: of["auroc"] for label, of in scores["per_class"].items() if of["auroc"]["value"] is not None}
    macro = scores["macro_f1"]
    text = (
        f"From these alone, without the image, boosted trees reach macro F1 {_write(macro)} on the test images, where"
        f" guessing expects {KINDS['score'].show(scores['chance_macro_f1'])}"
    )
    listed = [f"{label} {_write(area)}" for label, area in areas.items()]
    return [f"{text}, and AUROC of each class against the rest: {join_words(listed)}." if listed else f"{text}."]


def _write(score: Mapping[str, Any]) -> str:
    return KINDS["score"].show_interval(score["value"], score["low"], score["high"], score["n_patients"])


def _describe_visits(dataset: DatasetResult) -> list[str]:
    """Return a sentence on the class with the most first visits; the rule of the NIH's reader makes it No Finding."""
    known = [(row.label, row.facts["follow_up"] == "0") for row in dataset.images if "follow_up" in row.facts]
    shares = {label: _share(first for of, first in known if of == label) for label in {of for of, _ in known}}
    if len(shares) < 2:
        return []
    most = max(sorted(shares), key=lambda label: shares[label])
    rest = _share(first for of, first in known if of != most)
    show = KINDS["share"].show
    why = " The rule keeps each patient's first No Finding image, which makes the visit part of the label."
    return [
        f"First visits are {show(shares[most])} of {most} and {show(rest)} of the other images."
        + why * (most == "No Finding")
    ]


def _describe_ignored(dataset: DatasetResult) -> list[str]:
    """Return a sentence on images whose table lists findings that the rule takes no notice of."""
    classes = {row.label for row in dataset.images if "ignored" in row.facts}
    if not classes:
        return []
    n_ignored = sum("ignored" in row.facts for row in dataset.images)
    single = [row for row in dataset.images if row.label in classes]
    shares = [KINDS["share"].show(n_ignored / n) for n in (len(single), len(dataset.images))]
    return [f"{shares[0]} of the images with one finding ({shares[1]} of all) have another, which the rule ignores."]


def _share(values: Iterable[bool]) -> float:
    listed: Sequence[bool] = list(values)
    return sum(listed) / len(listed)
