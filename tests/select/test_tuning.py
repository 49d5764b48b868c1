"""A search is a pure function of its trial files: what it asks, whom it promotes, what it finds."""

import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

import ask
from cxrflow.config.parsing import settings_json
from cxrflow.config.settings import PreprocessSettings, TrainSettings, TuneSettings
from cxrflow.config.tuning import Base, plan_runs
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_json, write_json
from cxrflow.files.provenance import write_record
from cxrflow.select.tuning import (
    DONE,
    FAILED,
    IDLE,
    Answer,
    ask_generation,
    choose_settings,
    describe_trials,
    group_trials,
    measure_importance,
    read_answers,
    rebuild_study,
)

ROOT = Path(__file__).resolve().parents[2]
SPACE = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "batch_size": [16, 32, 64],
    "blur_px": [0, 5],
}
TUNE = TuneSettings(
    dataset="covid", backbone="resnet34", space=SPACE, generations=4, per_generation=4, rungs=(4, 8), seed=7
)
BASE: Base = {"preprocess": PreprocessSettings(), "train": TrainSettings()}


def score(parameters: dict[str, Any], epochs: int) -> float:
    """Stand for a training: best at a learning rate of 0.01 and a batch of 32, and a little better with time."""
    distance = abs(math.log10(parameters["learning_rate"]) + 2) + (parameters["batch_size"] != 32)
    return 0.9 - 0.1 * distance + 0.001 * epochs


def answer(question: dict[str, Any], state: str = DONE) -> dict[str, Any]:
    if question["trial"] is None:
        return {**question, "state": IDLE}
    if state == FAILED:
        return {**question, "state": FAILED, "value": None, "error": "the loss is nan"}
    return {**question, "state": DONE, "value": score(question["parameters"], question["epochs"])}


def run_search(tune: TuneSettings = TUNE, failing: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    for generation in range(max(run.generation for run in plan_runs(tune)) + 1):
        questions = ask_generation(tune, BASE, generation, answers)
        answers += [answer(each, FAILED if each["trial"] in failing else DONE) for each in questions]
    return answers


def test_a_search_asks_what_was_planned_and_finds_what_is_best() -> None:
    answers = run_search()
    assert [each["run"] for each in answers] == [run.number for run in plan_runs(TUNE)]
    assert answers[0]["parameters"] == {"learning_rate": 1e-3, "batch_size": 32, "blur_px": 5}, "the study's own"
    best = choose_settings(answers, n_rungs=2)
    ends = [each for each in answers if each["rung"] == 1]
    assert best["value"] == max(each["value"] for each in ends)
    assert best["epochs"] == 8
    rows = describe_trials(answers)
    assert [row["epochs"] for row in rows].count(8) == 8 == [row["epochs"] for row in rows].count(4)
    assert max(row["value"] for row in rows if row["epochs"] == 8) == best["value"]


def test_the_best_of_all_trials_so_far_go_on_and_none_twice() -> None:
    answers = run_search()
    for generation in range(1, 5):
        before = [each for each in answers if each["generation"] < generation]
        promoted = [each["trial"] for each in answers if each["generation"] == generation and each["rung"] == 1]
        gone = {each["trial"] for each in before if each["rung"] == 1}
        waiting = sorted(
            (each for each in before if each["rung"] == 0 and each["trial"] not in gone), key=lambda a: -a["value"]
        )
        assert promoted == [each["trial"] for each in waiting[:2]]
    ends = [each["trial"] for each in answers if each["rung"] == 1]
    assert len(ends) == len(set(ends)) == 8


def test_equal_files_give_equal_questions_in_any_order_and_another_seed_gives_others(tmp_path: Path) -> None:
    answers = [each for each in run_search() if each["generation"] < 3]
    asked = ask_generation(TUNE, BASE, 3, answers)
    shuffled = random.Random(0).sample(answers, len(answers))
    assert ask_generation(TUNE, BASE, 3, shuffled) == asked
    other = TuneSettings(**{**vars(TUNE), "seed": 8})
    assert ask_generation(other, BASE, 3, answers) != asked


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_processes_with_other_hash_seeds_ask_the_same(tmp_path: Path, sampler: str) -> None:
    tune = TuneSettings(**{**vars(TUNE), "sampler": sampler})
    paths = write_answers(tmp_path, [each for each in run_search(tune) if each["generation"] < 3])
    asked = []
    for seed in ("0", "1"):
        out = tmp_path / f"asked{seed}.json"
        command = [
            sys.executable,
            "scripts/ask.py",
            "--tune",
            settings_json(tune),
            "--preprocess",
            "{}",
            "--train",
            "{}",
        ]
        command += ["--generation", "3", "--asked", out, "--trials", *paths[:: 1 if seed == "0" else -1]]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONWARNINGS": "error"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        asked.append(out.read_bytes())
    assert asked[0] == asked[1]
    assert json.loads(asked[0]) == ask_generation(tune, BASE, 3, read_answers(paths))


def write_answers(folder: Path, answers: list[Answer]) -> list[Path]:
    """Write trial files as the stage does, with a record of each."""
    paths = []
    for each in answers:
        paths.append(folder / "trials" / f"{each['run']:04d}.json")
        write_json(paths[-1], each)
        write_record("trial", {}, paths[-1:])
    return paths


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-20], lambda data: data.replace(b": 0.", b": 1."), lambda _: b""]
)
def test_a_damaged_trial_file_is_named_and_set_aside_and_nothing_else_is_lost(tmp_path: Path, damage: Any) -> None:
    paths = write_answers(tmp_path, [each for each in run_search() if each["generation"] == 0])
    whole = paths[2].read_bytes()
    paths[2].write_bytes(damage(whole))
    given = {"tune": TUNE, "preprocess": PreprocessSettings(), "train": TrainSettings(), "generation": "1"}
    with pytest.raises(CxrflowError, match=r"(?s)0002\.json.*run the same command again"):
        ask.ask_settings(**given, trials=paths, asked=tmp_path / "asked.json")
    assert not paths[2].exists(), "Snakemake makes it again"
    assert [path.exists() for path in paths] == [True, True, False, True]
    assert paths[2].with_name("0002.json.damaged").exists()
    paths[2].write_bytes(whole)
    ask.ask_settings(**given, trials=paths, asked=tmp_path / "asked.json")
    assert read_json(tmp_path / "asked.json") == ask_generation(TUNE, BASE, 1, read_answers(paths))


def test_a_failed_trial_fails_no_search_and_is_never_promoted() -> None:
    answers = run_search(failing=(0, 1, 5))
    study = rebuild_study(TUNE, BASE, answers)
    states = {
        trials[0]["trial"]: trial.state for trials, trial in zip(group_trials(answers), study.trials, strict=True)
    }
    assert [number for number, state in states.items() if state == TrialState.FAIL] == [0, 1, 5]
    assert {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL} == set(states.values())
    assert {0, 1, 5}.isdisjoint({each["trial"] for each in answers if each["rung"] == 1})
    assert choose_settings(answers, n_rungs=2)["trial"] not in (0, 1, 5)
    assert [row["trial"] for row in describe_trials(answers) if row["error"]] == [0, 1, 5]


def test_where_too_few_can_go_on_a_run_stands_idle_and_where_none_can_it_is_said() -> None:
    tune = TuneSettings(**{**vars(TUNE), "generations": 1})
    answers = run_search(tune, failing=(0, 1, 2))
    assert [each["state"] for each in answers] == [FAILED, FAILED, FAILED, DONE, DONE, IDLE]
    assert rebuild_study(tune, BASE, answers).best_trial.number == 3
    with pytest.raises(CxrflowError, match=r"no trial reached the last rung.*the loss is nan"):
        choose_settings(run_search(tune, failing=(0, 1, 2, 3)), n_rungs=2)


def test_optuna_sees_every_rung_that_a_trial_reached() -> None:
    trials = rebuild_study(TUNE, BASE, run_search()).trials
    for trial in trials:
        reached = [4, 8] if trial.state == TrialState.COMPLETE else [4]
        assert trial.intermediate_values == {epochs: score(trial.params, epochs) for epochs in reached}
    assert isinstance(trials[0].distributions["learning_rate"], optuna.distributions.FloatDistribution)


def test_what_decides_the_values_is_what_matters() -> None:
    importance = measure_importance(TUNE, BASE, run_search(failing=(1,)))
    assert set(importance) == set(SPACE)
    assert sum(importance.values()) == pytest.approx(1)
    assert importance["blur_px"] == min(importance.values()) < 0.1, "it changes nothing"
    few = TuneSettings(**{**vars(TUNE), "generations": 1, "per_generation": 3})
    assert measure_importance(few, BASE, run_search(few)) == {}
