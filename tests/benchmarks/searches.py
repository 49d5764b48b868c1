r"""What searching for settings gains: TPE against random search of the same cost, and both against the study's own.

For every seed, each sampler runs a whole search; what it found, and the study's own settings, are then trained anew
with a seed that no search has seen, and scored on test images. Prints a line per seed, and a Mann-Whitney comparison.
Not in `make bench`, as it takes an hour; the commands and what they gave are in RESULTS.md.

    python -m tests.benchmarks.searches --formula --seeds 30     # a formula in place of trainings: seconds
"""

import argparse
import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.stats import mannwhitneyu, wilcoxon

import trial
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.layout import ModelId
from cxrflow.config.parsing import override_settings
from cxrflow.config.settings import PreprocessSettings, TrainSettings, TuneSettings
from cxrflow.config.study import recipe_name
from cxrflow.config.tuning import Base, as_variant, plan_runs
from cxrflow.models.batches import open_source, open_split_images, open_test_rows
from cxrflow.models.devices import prepare_process
from cxrflow.models.epochs import fit, macro_f1
from cxrflow.models.inference import predict_logits
from cxrflow.models.resume import CheckpointStore
from cxrflow.models.training import open_training
from cxrflow.select.tuning import DONE, FAILED, IDLE, ask_generation, choose_settings, own_parameters
from tests.models.toy import TINY

CPU = torch.device("cpu")
BACKBONES["tiny"] = TINY  # two convolutions: a training of seconds on real images
SAMPLERS = ("tpe", "random")


class Formula:
    """Stands for a training: a smooth optimum in four settings, noise by seed, and more epochs are a little better."""

    space: ClassVar[dict[str, Any]] = {
        "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
        "batch_size": [8, 16, 32, 64],
        "flip_probability": {"low": 0.0, "high": 1.0},
        "class_weights": ["none", "inverse"],
    }
    base: ClassVar[Base] = {"preprocess": PreprocessSettings(), "train": TrainSettings(learning_rate=1e-4)}

    def train(self, parameters: dict[str, Any], epochs: int, seed: int) -> float:
        loss = (
            0.02 * (math.log10(parameters["learning_rate"]) + 2.5) ** 2
            + 0.03 * abs(math.log2(parameters["batch_size"]) - 4)
            + 0.2 * (parameters["flip_probability"] - 0.3) ** 2
            + 0.05 * (parameters["class_weights"] == "none")
            + 0.2 / epochs
        )
        text = json.dumps([sorted(parameters.items()), seed])
        noise = np.random.default_rng(list(text.encode())).normal(0, 0.02)
        return float(np.clip(0.9 - loss + noise, 0, 1))

    def test(self, parameters: dict[str, Any], epochs: int, seed: int) -> float:
        return self.train(parameters, epochs, seed)


class Images:
    """Trainings on packed images."""

    space: ClassVar[dict[str, Any]] = {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "batch_size": [16, 32, 64],
        "class_weights": ["none", "inverse"],
        "flip_probability": [0.0, 0.5],
        "optimizer": ["adam", "adamw"],
    }

    def __init__(self, data: Path, size_px: int, backbone: str, epochs: int) -> None:
        self.data, self.backbone = data, backbone
        self.scratch = tempfile.TemporaryDirectory()  # equal trials of two samplers are trained once
        train = TrainSettings(epochs=epochs, restart_epochs=epochs)
        self.base: Base = {"preprocess": PreprocessSettings(size_px=size_px, blur_px=3), "train": train}
        self.folder = data / recipe_name(self.base["preprocess"])  # type: ignore[arg-type]
        self.images = open_split_images(self.folder / "images.npy", data / "split.csv", size_px)

    def train(self, parameters: dict[str, Any], epochs: int, seed: int) -> float | None:
        settings = override_settings(self.base["train"], as_variant(parameters).train, "train")
        identity = ModelId(self.data.name, self.backbone, variant="trial", seed=seed)
        of = {"seed": str(seed), "parameters": json.dumps(parameters, sort_keys=True)}
        store = CheckpointStore(Path(self.scratch.name), of, {})
        answer = trial.train_run(identity, self.images, settings, None, CPU, store, epochs)
        return answer["value"]

    def test(self, parameters: dict[str, Any], epochs: int, seed: int) -> float:
        """Macro F1 on the test images, of the kept epoch of a training with another seed."""
        settings = override_settings(self.base["train"], as_variant(parameters).train, "train")
        training = open_training(ModelId(self.data.name, self.backbone, seed=seed), self.images, settings, None, CPU)
        fit(training, None, lambda *_: None)
        training.network.load_state_dict(training.best.state_dict)
        size_px, door = self.images.images.shape[1], {"opener": f"searches seed{seed}", "opener_sha256": "0" * 64}
        tested = open_test_rows(self.folder / "test/images.npy", self.data / "test.csv", size_px, **door)
        labels = tested.labels_of("test")
        source = open_source(tested.images, tested.rows["test"], CPU)
        predicted = predict_logits(training.network, source, len(labels), 64).argmax(dim=1).numpy()
        return macro_f1(labels, predicted, training.n_classes)


def run_search(task: Formula | Images, tune: TuneSettings) -> tuple[dict[str, Any], float, int]:
    """Return what a search finds, its score there, and the epochs that it trained."""
    answers: list[dict[str, Any]] = []
    for generation in range(max(run.generation for run in plan_runs(tune)) + 1):
        for question in ask_generation(tune, task.base, generation, answers):
            if question["trial"] is None:
                answers.append({**question, "state": IDLE})
                continue
            value = task.train(question["parameters"], question["epochs"], tune.seed)
            failed = {"state": FAILED, "value": None, "error": "failed"}
            answers.append({**question, **(failed if value is None else {"state": DONE, "value": value})})
    found = choose_settings(answers, len(tune.rungs))
    epochs = sum(
        tune.rungs[each["rung"]] - (tune.rungs[each["rung"] - 1] if each["rung"] else 0)
        for each in answers
        if each["state"] != IDLE
    )
    return found["parameters"], found["value"], epochs


def compare(name: str, one: list[float], other: list[float]) -> str:
    """Return the two-sided Mann-Whitney test of two samples, with its effect size, and the paired differences."""
    test = mannwhitneyu(one, other, alternative="two-sided", method="exact" if len(one) < 20 else "auto")
    effect = test.statistic / (len(one) * len(other))  # the chance that one of the first is above one of the second
    gains = [a - b for a, b in zip(one, other, strict=True)]
    paired = wilcoxon(gains).pvalue if any(gains) else 1.0
    return (
        f"{name}: median {median(one):.4f} against {median(other):.4f}, higher in {sum(g > 0 for g in gains)} of"
        f" {len(gains)}; mean difference {mean(gains):+.4f} (sd {stdev(gains):.4f}); Mann-Whitney p {test.pvalue:.3f},"
        f" effect size P(higher) {effect:.2f}; paired Wilcoxon p {paired:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formula", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--backbone", default="mobilenet_v3_large")
    parser.add_argument("--rungs", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--generations", type=int, default=3)
    parser.add_argument("--per-generation", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    prepare_process(1)
    task = Formula() if given.formula else Images(given.data, given.size, given.backbone, given.rungs[-1])
    tune = TuneSettings(
        dataset="d",
        backbone="b",
        space=task.space,
        generations=given.generations,
        per_generation=given.per_generation,
        rungs=tuple(given.rungs),
    )
    scores: dict[str, list[float]] = {name: [] for name in (*SAMPLERS, "own")}
    searched: dict[str, list[float]] = {name: [] for name in SAMPLERS}
    for number in range(given.seeds):
        for sampler in SAMPLERS:
            found, value, epochs = run_search(task, replace(tune, sampler=sampler, seed=1000 + number))
            searched[sampler].append(value)
            scores[sampler].append(task.test(found, given.rungs[-1], number))
            print(f"# {number} {sampler}: {epochs} epochs, search {value:.4f}, anew {scores[sampler][-1]:.4f}: {found}")
        scores["own"].append(task.test(own_parameters(tune, task.base), given.rungs[-1], number))
        print(f"# {number} own: anew {scores['own'][-1]:.4f}", flush=True)
    print(f"search scores: tpe {median(searched['tpe']):.4f}, random {median(searched['random']):.4f} (medians)")
    for one, other in (("tpe", "random"), ("tpe", "own"), ("random", "own")):
        print(compare(f"{one} against {other}, trained anew", scores[one], scores[other]))


if __name__ == "__main__":
    main()
