"""The searching of a search for better settings: questions from answers, and the best of them, on validation alone.

A search is a pure function of its trial files: from them an Optuna study is built in memory, asked, and forgotten.
There is no database, lock or server to break: equal files give equal questions, whoever asks, in any order of files.
"""

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from cxrflow.config.parsing import settings_dict
from cxrflow.config.settings import Range, TuneSettings
from cxrflow.config.tuning import SECTION_OF, Base, Space, parse_space, plan_runs
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json

DONE, FAILED, IDLE = "COMPLETE", "FAIL", "IDLE"  # of a run; idle: no trial was left that could go on
FEW_TRIALS = 10  # of fewer, a share of the variance says nothing
Answer = Mapping[str, Any]  # a trial file: the question, and what came of it

optuna.logging.set_verbosity(optuna.logging.WARNING)


def read_answers(paths: Iterable[Path]) -> list[Answer]:
    """Read trial files, in the order of their runs.

    Raises:
        CxrflowError: some are damaged; they are set aside, so that Snakemake makes them again.
    """
    answers, damaged = list[Answer](), list[str]()
    for path in sorted(paths):
        try:
            answers.append(read_json(path))
        except CxrflowError as error:
            if path.exists():
                path.replace(path.with_name(f"{path.name}.damaged"))
            damaged.append(str(error))
    if damaged:
        raise CxrflowError(
            "\n  ".join([*damaged, "run the same command again: these runs are made again, and nothing else is lost"])
        )
    return answers


def ask_generation(tune: TuneSettings, base: Base, generation: int, answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return the questions of a generation: one per run, with the parameters, and the trial that goes on, if one does.

    answers: of all runs of earlier generations.
    """
    runs = [run for run in plan_runs(tune) if run.generation == generation]
    new = iter(ask_new(tune, base, generation, answers, sum(run.rung == 0 for run in runs)))
    waiting = {rung: iter(rank_waiting(answers, rung - 1)) for rung in range(1, len(tune.rungs))}
    questions = []
    for run in runs:
        last = None if run.rung == 0 else next(waiting[run.rung], None)
        parameters = next(new) if run.rung == 0 else last and last["parameters"]
        trial = run.number if run.rung == 0 else last and last["trial"]
        asked = {"run": run.number, "trial": trial, "generation": generation, "rung": run.rung}
        questions.append({**asked, "epochs": tune.rungs[run.rung], "parameters": parameters})
    return questions


def rank_waiting(answers: Iterable[Answer], rung: int) -> list[Answer]:
    """Return the runs that ended a rung and whose trial has not gone on, best first; of equals the earlier."""
    went_on = {answer["trial"] for answer in answers if answer["rung"] > rung}
    ended = [a for a in answers if a["rung"] == rung and a["state"] == DONE and a["trial"] not in went_on]
    return sorted(ended, key=lambda answer: (-answer["value"], answer["trial"]))


def ask_new(tune: TuneSettings, base: Base, generation: int, answers: Sequence[Answer], n: int) -> list[dict[str, Any]]:
    """Return the parameters of new trials: the first of all are the study's own, where the space has them."""
    if n == 0:
        return []
    space, own = parse_space(tune, base), own_parameters(tune, base)
    study = rebuild_study(tune, base, answers, generation)
    if generation == 0 and all(holds(space[key], value) for key, value in own.items()):
        study.enqueue_trial(own)
    distributions = describe_space(space)
    return [study.ask(distributions).params for _ in range(n)]


def own_parameters(tune: TuneSettings, base: Base) -> dict[str, Any]:
    """Return the study's own values of what is searched."""
    return {key: settings_dict(base[SECTION_OF[key]])[key] for key in tune.space}


def holds(entry: Range | tuple[Any, ...], value: Any) -> bool:
    """Return whether a value is among those that are tried."""
    return bool(entry.low <= value <= entry.high) if isinstance(entry, Range) else value in entry


def rebuild_study(tune: TuneSettings, base: Base, answers: Sequence[Answer], generation: int = 0) -> optuna.Study:
    """Return the Optuna study that the answers make, in memory, ready to be asked by a generation."""
    study = optuna.create_study(direction="maximize", sampler=make_sampler(tune, generation))
    distributions = describe_space(parse_space(tune, base))
    study.add_trials([make_trial(runs, distributions, len(tune.rungs)) for runs in group_trials(answers)])
    return study


def make_sampler(tune: TuneSettings, generation: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of a generation; the first knows nothing yet, and is random whatever comes after it.

    TPE models the settings together (Falkner et al. 2018, BOHB, ICML), and counts trials that still run as bad ones, so
    that those of one generation differ.
    """
    digest = hashlib.sha256(f"{tune.seed}/{generation}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big")
    if tune.sampler == "random" or generation == 0:
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(n_startup_trials=1, multivariate=True, constant_liar=True, seed=seed)


def describe_space(space: Space) -> dict[str, BaseDistribution]:
    """Return Optuna's form of a space."""
    return {key: _describe_entry(entry) for key, entry in space.items()}


def _describe_entry(entry: Range | tuple[Any, ...]) -> BaseDistribution:
    if isinstance(entry, tuple):
        return CategoricalDistribution(entry)
    kind = IntDistribution if isinstance(entry.low, int) else FloatDistribution
    return kind(entry.low, entry.high, log=entry.log)


def group_trials(answers: Iterable[Answer]) -> list[list[Answer]]:
    """Return the runs of each trial, by rung; trials in the order in which they were asked."""
    trials: dict[int, list[Answer]] = {}
    for answer in sorted(answers, key=lambda answer: answer["run"]):
        if answer["state"] != IDLE:
            trials.setdefault(answer["trial"], []).append(answer)
    return [trials[number] for number in sorted(trials)]


def make_trial(runs: Sequence[Answer], distributions: dict[str, BaseDistribution], n_rungs: int) -> FrozenTrial:
    """Return a trial as Optuna takes it: complete at the last rung, pruned where it waits at another, or failed."""
    last = runs[-1]
    values = {run["epochs"]: run["value"] for run in runs if run["state"] == DONE}
    state = TrialState.COMPLETE if last["rung"] + 1 == n_rungs else TrialState.PRUNED
    return optuna.trial.create_trial(
        state=TrialState.FAIL if last["state"] == FAILED else state,
        value=last["value"],
        params=dict(last["parameters"]),
        distributions=distributions,
        intermediate_values=values,
    )


def choose_settings(answers: Sequence[Answer], n_rungs: int) -> Answer:
    """Return the run with the highest value at the last rung; of equals the earlier.

    Raises:
        CxrflowError: no trial got there.
    """
    ended = rank_waiting(answers, n_rungs - 1)
    if not ended:
        errors = {answer["error"] for answer in answers if answer["state"] == FAILED}
        raise CxrflowError(f"no trial reached the last rung, so nothing was found. Failed were: {'; '.join(errors)}")
    return ended[0]


def measure_importance(tune: TuneSettings, base: Base, answers: Iterable[Answer]) -> dict[str, float]:
    """Return each setting's share of the variance between trials, by fANOVA (Hutter et al. 2014, ICML).

    By the values at the first rung, which all trials have alike. {}: fewer than FEW_TRIALS, or all values are equal.
    """
    first = [answer for answer in answers if answer["rung"] == 0]
    study = rebuild_study(replace(tune, rungs=tune.rungs[:1]), base, first)
    values = [trial.value for trial in study.trials if trial.state == TrialState.COMPLETE]
    if len(values) < FEW_TRIALS or len(set(values)) == 1:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def describe_trials(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return one row per trial: its parameters, how far it came, and its value there."""
    return [
        {
            "trial": runs[-1]["trial"],
            "generation": runs[0]["generation"],
            "parameters": runs[-1]["parameters"],
            "epochs": max((run["epochs"] for run in runs if run["state"] == DONE), default=0),
            "value": runs[-1]["value"],
            "error": runs[-1].get("error", ""),
        }
        for runs in group_trials(answers)
    ]
