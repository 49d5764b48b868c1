"""The paper's claims about training: overfitting, warm restarts, the length of an epoch."""

import math
from statistics import mean, median

import numpy as np
from numpy.typing import NDArray

from cxrflow.checks.claims_scores import ONCE, is_once
from cxrflow.checks.verdicts import FAIL, PASS, UNKNOWN, WARN, Verdict, check, write_p
from cxrflow.compare.collect import ModelResult, Results, group_seeds
from cxrflow.compare.permutation import larger_p, rank_order_p
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.study import SCRATCH
from cxrflow.files.formats import KINDS, count_words, join_words

RISE = 1.05  # a model overfits where the validation loss ends at least 5 % above its lowest: less is an epoch's noise
Changes = NDArray[np.float64]
MOBILENET = "mobilenet_v3_large"
CLAIMED_EPOCH_S = 240.0  # "under four minutes"
CLAIMED_ONSET = 50
WHOLE_SET = 0.95  # share of the published images from which on an epoch is an epoch of the published dataset


@check("claim", "Larger backbones overfit earlier.", needs=("history", "backbones"))
def larger_overfit_earlier(results: Results, alpha: float) -> Verdict:
    """The epoch of the lowest validation loss against the parameter count."""
    blocks = _by_dataset_and_seed(results)
    if not blocks:
        return Verdict(UNKNOWN, "It takes two backbones trained from scratch on one dataset to compare.")
    lead = "Epoch of the lowest validation loss, and how far it ends above the training loss:"
    details = (lead, *(f"{_describe_overfitting(results, block)}." for block in blocks))
    onsets = [[(float(results.profiles[m.id.backbone]["params"]), _onset(m)) for m in block] for block in blocks]
    if all(math.isinf(onset) for block in onsets for _, onset in block):
        epochs = max(len(model.history) for block in blocks for model in block)
        return Verdict(
            UNKNOWN,
            f"No model overfits within {epochs} epochs: every validation loss ends within 5 % of its lowest.",
            remedy="Train for more epochs (train.epochs).",
            details=details,
        )
    p_claimed, p_opposite = rank_order_p(onsets)
    order = (
        f"Rearranging the backbones within each dataset at random puts the larger ones first as clearly as here in"
        f" {write_p(p_claimed)} of all cases"
    )
    level, text = UNKNOWN, f"{order}, so this may be chance."
    if p_claimed < alpha / 2:
        level, text = PASS, f"The larger the backbone, the earlier its lowest validation loss. {order}."
    elif p_opposite < alpha / 2:
        level, text = FAIL, f"Here the larger backbones keep improving for longer. {order}."
    return Verdict(level, text, value=p_claimed, threshold=alpha / 2, details=details)


def _by_dataset_and_seed(results: Results) -> list[list[ModelResult]]:
    """Return the base models from scratch, smallest first, one list per dataset and seed; lists of one are dropped."""
    scratch = results.select(results.base_models, init=SCRATCH)
    keys = dict.fromkeys((m.id.dataset, m.id.seed) for m in scratch)
    blocks = [results.select(scratch, dataset=dataset, seed=seed) for dataset, seed in keys]
    return [sorted(b, key=lambda m: results.profiles[m.id.backbone]["params"]) for b in blocks if len(b) > 1]


def _onset(model: ModelResult) -> float:
    """Return the epoch of the lowest validation loss, or infinity for a model that does not overfit."""
    losses = [row.val_loss for row in model.history]
    return 1.0 + int(np.argmin(losses)) if losses[-1] > RISE * min(losses) else math.inf


def _describe_overfitting(results: Results, block: list[ModelResult]) -> str:
    """Say for one dataset and seed when each backbone is at its lowest, and how far validation then leaves training."""
    parts = []
    for model in block:
        last = model.history[-1]
        lowest = 1 + int(np.argmin([row.val_loss for row in model.history]))
        gap = KINDS["difference"].show(last.val_loss - last.train_loss)
        parts.append(f"{BACKBONES[model.id.backbone].title} {lowest} ({gap})")
    title = [results.dataset_title(block[0].id.dataset), results.seed_title(block[0])]
    return f"{', '.join(filter(None, title))}: {join_words(parts)}"


@check("claim", "All models start to overfit after 50 epochs.", needs=("history",))
def overfit_after_50(results: Results, alpha: float) -> Verdict:
    """The epoch of the lowest validation loss of every base model, by a sign test over the trainings.

    That some model overfits before: that each is as likely to begin later is rejected. That all begin later is shown
    of each model by its own seeds (intersection-union test: Berger 1982, Technometrics 24:295-300).
    """
    groups = [[_onset(model) for model in members] for members in group_seeds(results.base_models).values()]
    onsets = [onset for group in groups for onset in group]
    early, epochs = sum(onset < CLAIMED_ONSET for onset in onsets), min(len(m.history) for m in results.base_models)
    seen = f"{early} of {count_words(len(onsets), 'training')} overfit before epoch {CLAIMED_ONSET}."
    if epochs <= CLAIMED_ONSET:
        return Verdict(
            UNKNOWN,
            f"{seen} But they are {epochs} epochs, of which none comes after {CLAIMED_ONSET}.",
            remedy=f"Train for more than {CLAIMED_ONSET} epochs (train.epochs).",
        )
    least = min(len(group) for group in groups)
    if least == 1:
        return Verdict(UNKNOWN, f"{seen} {ONCE}")
    p_early = sum(math.comb(len(onsets), k) for k in range(early, len(onsets) + 1)) / 2 ** len(onsets)
    level, more = UNKNOWN, f"Were both as likely, as many would be before in {write_p(p_early)} of studies."
    if p_early < alpha / 2:
        level = FAIL
    elif not early and all(map(math.isfinite, onsets)):
        level, more = (
            (PASS, "Every one does later.")
            if 2.0**-least < alpha / 2
            else (UNKNOWN, f"Every one does later, but {least} seeds of a model cannot show that it always does.")
        )
    return Verdict(level, f"{seen} {more}", value=p_early, threshold=alpha / 2)


@check("claim", "Warm restarts impacted the loss of MobileNet the most.", needs=("history",))
def restarts_show(results: Results, alpha: float) -> Verdict:
    """The change of MobileNet's loss at restarts against other epochs after the first cycle, and other backbones'."""
    models = results.select(results.base_models, backbone=MOBILENET, init=SCRATCH)
    every = results.study.settings.train.restart_epochs
    if not models:
        return Verdict(UNKNOWN, f"No {BACKBONES[MOBILENET].title} is trained from scratch in this study.")
    changes = [_changes_after_first_cycle(model, every) for model in models]
    if not any(marked.any() and not marked.all() for _, _, marked in changes):
        epochs = max(len(model.history) for model in models)
        return Verdict(
            UNKNOWN,
            f"These trainings are {epochs} epochs, with one cycle of {every}: the learning rate never restarts.",
            remedy="Train for several cycles (train.epochs, train.restart_epochs).",
        )
    p_train = larger_p([(train, marked) for train, _, marked in changes])
    p_val = larger_p([(val, marked) for _, val, marked in changes])
    at, between = (
        float(np.concatenate([train[marked == where] for train, _, marked in changes]).mean())
        for where in (True, False)
    )
    n_restarts = sum(int(marked.sum()) for _, _, marked in changes)
    seen = (
        f"Over {count_words(n_restarts, 'restart')} of {count_words(len(models), 'model')}, one every {every} epochs,"
        f" the training loss changes by {_signed(at)} from the epoch before, against {_signed(between)} at the other"
        f" epochs after the first restart. Marking epochs at random gives as large a rise in {write_p(p_train)} of all"
        f" cases (validation loss: {write_p(p_val)})."
    )
    gaps = _compare_restarts(results, every)
    compared = "; ".join(f"{BACKBONES[name].title} {_signed(gap)} ({write_p(p)})" for name, (gap, p, _) in gaps.items())
    seen += (
        f" MobileNet's rise minus that of other backbones, and how often chance gives as much: {compared or 'none'}."
    )
    p_fall = larger_p([(-train, marked) for train, _, marked in changes])
    level = UNKNOWN
    if is_once(models):
        seen += f" {ONCE}"
    elif min([p_fall, *(p_less for _, _, p_less in gaps.values())]) < alpha / 2 / (1 + len(gaps)):
        level = FAIL
    elif p_train < alpha / 2 and all(p_more < alpha / 2 for _, p_more, _ in gaps.values()):
        level = PASS if gaps else WARN
    return Verdict(level, seen, value=p_train, threshold=alpha / 2)


def _compare_restarts(results: Results, every: int) -> dict[str, tuple[float, float, float]]:
    """Return for each other backbone how much more MobileNet's training loss rises at restarts than its own does.

    By the differences of the changes in the same epoch of the same dataset and seed. With the p of more, and of less.
    """
    scratch, found = results.select(results.base_models, init=SCRATCH), {}
    for name in (name for name in results.backbones if name != MOBILENET):
        blocks = []
        for model in results.select(scratch, backbone=MOBILENET):
            for other in results.select(scratch, dataset=model.id.dataset, backbone=name, seed=model.id.seed):
                (train, _, marked), (train_other, _, _) = (_changes_after_first_cycle(m, every) for m in (model, other))
                n = min(len(train), len(train_other))
                blocks.append((train[:n] - train_other[:n], marked[:n]))
        at, between = (
            np.concatenate([np.zeros(0), *(gap[marked == where] for gap, marked in blocks)]) for where in (True, False)
        )
        if len(at) and len(between):
            p_less = larger_p([(-gap, marked) for gap, marked in blocks])
            found[name] = float(at.mean() - between.mean()), larger_p(blocks), p_less
    return found


def _changes_after_first_cycle(model: ModelResult, every: int) -> tuple[Changes, Changes, NDArray[np.bool_]]:
    """Return the changes of training and validation loss from the epoch before, and which are at a restart.

    The first cycle is left out: its steep fall would make any later epoch look like a rise.
    """
    rows = [row for row in model.history if row.epoch >= every]
    train, val = (np.diff([getattr(row, name) for row in rows]) for name in ("train_loss", "val_loss"))
    return train, val, np.array([row.epoch % every == 1 or every == 1 for row in rows[1:]], dtype=bool)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


@check(
    "claim",
    "An epoch fell from over an hour (with Inception) to under four minutes, once images were resized and preprocessed"
    " ahead of training and the networks were smaller.",
    needs=("history", "training", "index"),
)
def epoch_time(results: Results) -> Verdict:
    """An epoch in under four minutes; the hour before is not measured here."""
    base = results.base_models
    slowest = max(base, key=lambda model: model.epoch_seconds)
    seen = (
        f"Here every image is read from images packed ahead of training. The slowest model,"
        f" {results.study.model_title(slowest.id)}, takes {_amount(slowest.epoch_seconds)} s per epoch on"
        f" {slowest.training['device_name']} ({_amount(slowest.images_per_s)} training images/s); the median over all"
        f" models is {_amount(median(m.epoch_seconds for m in base))} s."
    )
    level, conclusion = _judge_epoch(results, slowest.epoch_seconds)
    unmeasured = "The hour before is not measured here: no training in this workflow decodes files while it trains."
    return Verdict(level, f"{seen} {conclusion} {unmeasured}", value=slowest.epoch_seconds, threshold=CLAIMED_EPOCH_S)


def _judge_epoch(results: Results, slowest_s: float) -> tuple[str, str]:
    if slowest_s >= CLAIMED_EPOCH_S:
        return FAIL, "That is over four minutes on this machine."
    partial = [d for d in results.datasets.values() if not d.n_published or d.n_images < WHOLE_SET * d.n_published]
    if not partial:
        return PASS, "Its second half holds, on this machine."
    names = join_words([dataset.title for dataset in partial])
    return UNKNOWN, (
        f"But {names} {'are' if len(partial) > 1 else 'is'} not the whole published dataset, and fewer images make a"
        f" shorter epoch.{_extrapolate(results)}"
    )


def _extrapolate(results: Results) -> str:
    """Say how long the largest published train subset would take at the measured speed, and that it is arithmetic."""
    known = [d for d in results.datasets.values() if d.n_published]
    if not known:
        return ""
    largest = max(known, key=lambda dataset: dataset.n_published or 0)
    n_train = round((largest.n_published or 0) * results.study.settings.split.train)
    speed = mean(m.images_per_s for m in results.select(results.base_models, dataset=largest.name))
    return (
        f" Extrapolated, not measured: {n_train:,} train images of the whole {largest.title} at {_amount(speed)}"
        f" images/s would be {n_train / speed / 60:.1f} min per epoch, without validation."
    )


def _amount(value: float) -> str:
    return KINDS["amount"].show(value)
