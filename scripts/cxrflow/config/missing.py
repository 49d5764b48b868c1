"""What a study goes without, and why: the models that are not finished, with the error in the log of what stopped them.

A study that stopped half-way is put on a page with `leave_out: [unfinished]`. The Snakefile reads this while it plans,
and the page says it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.layout import FROM_DATASET, FROM_WEIGHTS, IMAGENET, Layout, ModelId
from cxrflow.config.study import UNFINISHED, Study

ERROR = re.compile(r"(?:error: |(?=[\w.]*(?:Error|Exception): ))(.+)")  # a stage's own words, or the end of a traceback

# Rules of which several jobs may share a Slurm job, compute.trainings_per_job; those of a name are together in one.
SHARING = {
    "train": "models",
    "evaluate": "models",
    "evaluate_findings": "models",
    "score": "scores",
    "score_findings": "scores",
}


def list_models(study: Study, layout: Layout) -> list[ModelId]:
    """Return the models that a run makes and the page shows: those of the study, or of them the finished ones."""
    models = study.models()
    if UNFINISHED not in study.settings.leave_out:
        return models
    return [model for model in models if not find_obstacle(study, layout, model)]


def name_shared_jobs(study: Study, models: Iterable[ModelId]) -> dict[tuple[str, ModelId], str]:
    """Return the name of the Slurm job that a rule's job shares, by rule and model; empty: each has its own.

    What starts from other models is in later ones: two that waited for each other could not run.
    """
    found, per_job = list(models), study.settings.compute.trainings_per_job
    levels = [[model for model in found if model.init.startswith(FROM_DATASET) == is_later] for is_later in (0, 1)]
    jobs = [level[at : at + per_job] for level in levels for at in range(0, len(level), per_job)]
    return {
        (rule, model): f"{name}{number}"
        for rule, name in SHARING.items()
        for number, job in enumerate(jobs)
        for model in job
        if per_job > 1
    }


def list_missing(study: Study, layout: Layout, models: Iterable[ModelId]) -> dict[ModelId, str]:
    """Return every model of the whole study that is not among `models`, and why it is missing."""
    whole, present = replace(study, settings=replace(study.settings, leave_out=())), set(models)
    return {model: _explain(study, layout, model) for model in whole.models() if model not in present}


def _explain(study: Study, layout: Layout, model: ModelId) -> str:
    obstacle = find_obstacle(study, layout, model)
    for dataset in (model.dataset, model.init.removeprefix(FROM_DATASET)):
        if dataset in study.settings.leave_out:
            return f"{dataset} is left out" + f" ({obstacle})" * bool(obstacle)
    return obstacle or "it was not asked for"


def find_obstacle(study: Study, layout: Layout, model: ModelId) -> str:
    """Return what keeps a model from being finished: the error of the stage that stopped; empty if it is finished."""
    missing = [(output, log) for output, log in _list_steps(study, layout, model) if not output.exists()]
    found = [f"{error} See {log}" for _, log in missing if (error := read_error(log))]
    return found[0] if found else f"{missing[0][0]} is not there yet" if missing else ""


def _list_steps(study: Study, layout: Layout, model: ModelId) -> Iterator[tuple[Path, Path]]:
    """Yield the files that a finished model rests on, in order, each with the log of what can fail to make it."""
    yield from _list_training_steps(study, layout, model)
    for file, log in (("predictions.csv", "evaluate.log"), ("metrics.json", "score.log")):
        yield layout.model_file(model, file), layout.model_file(model, log)


def _list_training_steps(study: Study, layout: Layout, model: ModelId) -> Iterator[tuple[Path, Path]]:
    for path in (layout.index(model.dataset), layout.split(model.dataset)):
        yield path, path.with_suffix(".log")
    logs = [layout.images(model.dataset, study.recipe(model.variant)).with_name("preprocess.log")]
    weights = BACKBONES[model.backbone].imagenet
    if model.init.startswith(FROM_DATASET):
        source = ModelId(model.init.removeprefix(FROM_DATASET), model.backbone, seed=model.seed)
        yield from _list_training_steps(study, layout, source)
    elif model.init == IMAGENET and weights:
        logs.append(layout.weights(weights.file.removesuffix(".pth")).with_suffix(".log"))
    elif model.init.startswith(FROM_WEIGHTS):
        logs.append(layout.weights(model.init.removeprefix(FROM_WEIGHTS)).with_suffix(".log"))
    for log in [*logs, layout.model_file(model, "train.log")]:
        yield layout.model_file(model, "model.pt"), log


def read_error(log: Path) -> str:
    """Return the first line of the last error in a stage's log; empty where there is none, or no log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found = [match[1].strip() for match in map(ERROR.match, lines) if match]
    return found[-1] if found else ""
