# The checked study, the paths, and what the other files ask of them.
import functools
import gc
import inspect
import os
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path

# A plan's objects all live to its end: to look through them for garbage as often as Python does is a tenth of its time.
gc.set_threshold(100_000)

SCRIPTS = str(Path(workflow.basedir, "scripts"))
sys.path.insert(0, SCRIPTS)
# `python` in a rule is the Python that runs Snakemake, also in a job that starts with a bare PATH.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]))
if workflow.remote_exec:  # a job that was submitted: a stage looks whether it got what was asked for
    os.environ.update(CXRFLOW_REMOTE="1")

from snakemake.exceptions import WorkflowError

from cxrflow.files.code_hash import code_hash
from cxrflow.config.readers import READERS
from cxrflow.data.readers import reader_module
from cxrflow.checks.registry import list_checks, list_verdicts
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import sha256_file
from cxrflow.config.backbones import BACKBONES, describe_network
from cxrflow.config.environment import PLANNED, describe_environment
from cxrflow.config.probes import PROBES
from cxrflow.config.parsing import settings_json
from cxrflow.report.manifest import MODULES, PICTURES, SUMMARY_FILES, caption_of
from cxrflow.config.loading import load_config, load_study, read_mapping, refuse_repeated_options
from cxrflow.config.made import describe_differences, list_made
from cxrflow.config.missing import find_obstacle, list_missing, list_models, name_shared_jobs
from cxrflow.config.study import BASE, FROM_DATASET, IMAGENET, SCRATCH, ModelId, recipe_name
from cxrflow.config.tuning import list_recipes, plan_runs, read_tuned
from cxrflow.config.layout import FROM_WEIGHTS, PATTERN as MODEL_PATTERN

if workflow.is_main_process:  # its jobs compare; an environment that Snakemake makes for them (--sdm) is another one
    own = not workflow.deployment_settings.deployment_method
    os.environ.update({PLANNED: describe_environment() if own else ""})

try:
    if workflow.is_main_process:  # what Snakemake has read itself gives nothing twice
        refuse_repeated_options(sys.argv[1:])
        load_config(workflow.overwrite_configfiles, workflow.config_settings.config_args or ())
        for path in sorted(Path("profiles").glob("*/*.yaml")):
            read_mapping(path, render=False)
    STUDY = load_study(config)
    MODELS = list_models(STUDY, STUDY.layout)
    if not MODELS and workflow.is_main_process:
        raise CxrflowError("leave_out: no model of this study is finished, so there is nothing to show yet")
    NOTES = [f"data: {line}" for line in STUDY.missing_data()] if workflow.is_main_process else []
    # Without its own notes Snakemake cannot see that a setting has changed, and would plan nothing.
    if workflow.is_main_process and not any(Path(".snakemake/metadata").glob("*")):
        if changed := describe_differences(list_made(STUDY, STUDY.layout, MODELS)):
            NOTES.append(
                f"note: files of this study were made with other settings: {changed}. Add -R index train score"
            )
except CxrflowError as error:
    raise WorkflowError(str(error)) from None

DATASETS = [name for name in STUDY.datasets() if any(model.dataset == name for model in MODELS)]
USED_BACKBONES = [name for name in BACKBONES if any(model.backbone == name for model in MODELS)]
CHECKS = list_checks()
VERDICTS = list_verdicts()
# Where, not what: its values become resources and threads, which Snakemake does not compare with those of the last run.
COMPUTE = STUDY.settings.compute
SHARED_JOBS = name_shared_jobs(STUDY, MODELS)
RECIPES = STUDY.recipes()
LAYOUT = STUDY.layout
DATA = str(LAYOUT.dataset("{dataset}"))
RECIPE = str(LAYOUT.recipe("{dataset}", "{recipe}"))
IMAGES = str(LAYOUT.images("{dataset}", "{recipe}"))
IMAGE_TABLE = str(LAYOUT.image_table("{dataset}", "{recipe}"))
MODEL = str(LAYOUT.model(MODEL_PATTERN))

SEARCHES = STUDY.searches()
RUNS = {name: plan_runs(tune) for name, tune in SEARCHES.items()}
# On a page of what is finished, the finished ones.
FINISHED = [name for name in SEARCHES if "unfinished" not in STUDY.settings.leave_out or LAYOUT.tuned(name).exists()]
TUNED = [LAYOUT.tuned(name) for name in FINISHED]
TUNING = str(LAYOUT.tuning("{search}"))

for line in NOTES:
    print(line, file=sys.stderr)


wildcard_constraints:
    dataset="|".join(STUDY.settings.datasets),
    backbone="|".join(BACKBONES),
    init="|".join(
        [
            SCRATCH,
            IMAGENET,
            *(FROM_DATASET + name for name in STUDY.settings.datasets),
            *(FROM_WEIGHTS + name for name in STUDY.settings.weights),
        ]
    ),
    check="|".join(VERDICTS),
    variant="|".join(STUDY.variants()),
    recipe="|".join(RECIPES),
    seed=r"\d+",


def of_wildcards(function):
    """Keep a function's signature with it: Snakemake asks for it three times per job, which would take longer than
    the function."""
    function.__signature__ = inspect.signature(function)
    return function


def share_job(rule):
    """A rule's group: the Slurm job that several models share. None on one machine, where nothing is submitted, nor in
    the Slurm job itself."""
    if not SHARED_JOBS:
        return None

    @of_wildcards
    def group(wildcards):
        if workflow.dryrun or workflow.remote_exec or not workflow.non_local_exec:
            return None
        job = SHARED_JOBS.get((rule, model_of(wildcards)))
        if job:  # it is one, though its jobs need nothing of each other
            workflow.group_settings.group_components = {**workflow.group_settings.group_components, job: len(MODELS)}
        return job

    return group


def as_is(value):
    """A param whose text is taken as it is: Snakemake looks for wildcards in a text, not in what a function returns."""
    return of_wildcards(lambda wildcards: value)


# What follows from a variant or a dataset alone is worked out once, not for every model.
recipe_of = functools.cache(STUDY.recipe)
# The hash of a stage that looks at all models: what it asks of the study and of the published sets is no param.
code_of_all = functools.cache(lambda *names: code_hash(*names, "cxrflow.config.study", "cxrflow.config.readers"))
preprocess_json = functools.cache(lambda variant: settings_json(STUDY.preprocess_settings(variant)))
train_json = functools.cache(lambda variant: settings_json(STUDY.train_settings(variant)))


def model_of(wildcards):
    """The model that a rule's wildcards name."""
    return ModelId(**{**dict(wildcards), "seed": int(wildcards.seed)})


@of_wildcards
def folder_of(wildcards):
    """A dataset's raw folder. A resource, as it says where and not what: moved data reruns nothing."""
    return str(STUDY.dataset_folder(wildcards.dataset))


def compared_datasets():
    """The datasets among whose images copies are looked for: those that are there, so that one goes without another."""
    if STUDY.settings.phantoms:
        return STUDY.datasets()
    return [name for name in STUDY.datasets() if LAYOUT.index(name).exists() or STUDY.dataset_folder(name).is_dir()]


def segmented_datasets():
    """The datasets in which lungs are looked for: of those that are there, the ones with a model."""
    return [name for name in compared_datasets() if name in DATASETS]


@of_wildcards
def images_of(wildcards):
    """The packed images that a model's variant is trained on."""
    return str(LAYOUT.images(wildcards.dataset, recipe_of(wildcards.variant)))


@of_wildcards
def table_of(wildcards):
    """Which image each of the packed ones is, with checksums."""
    return str(LAYOUT.image_table(wildcards.dataset, recipe_of(wildcards.variant)))


@of_wildcards
def test_images_of(wildcards):
    """The packed test images of the same preprocessing."""
    return str(LAYOUT.test_images(wildcards.dataset, recipe_of(wildcards.variant)))


@of_wildcards
def test_table_of(wildcards):
    """Which image each of the packed test images is."""
    return str(LAYOUT.test_table(wildcards.dataset, recipe_of(wildcards.variant)))


@of_wildcards
def init_weights_of(wildcards):
    """The file that a model starts from: none, ImageNet or named weights, or another dataset's model of the same
    backbone."""
    if wildcards.init == SCRATCH:
        return []
    if wildcards.init == IMAGENET:
        weights = BACKBONES[wildcards.backbone].imagenet
        if weights is None:
            raise WorkflowError(f"{wildcards.backbone} has no ImageNet weights (scripts/cxrflow/config/backbones.py)")
        return str(LAYOUT.weights(weights.file.removesuffix(".pth")))
    if wildcards.init.startswith(FROM_WEIGHTS):
        return str(LAYOUT.weights(wildcards.init.removeprefix(FROM_WEIGHTS)))
    source = ModelId(wildcards.init.removeprefix(FROM_DATASET), wildcards.backbone, seed=int(wildcards.seed))
    return str(LAYOUT.model_file(source, "model.pt"))


def reader_of(dataset):
    """A dataset's reader, a key of READERS."""
    return STUDY.settings.datasets[dataset].reader


def in_report(path):
    """Mark a table or figure of the summary for `snakemake --report`, with the note that the page has below it."""
    is_shown = path.suffix in (".csv", ".png")
    return report(path, category="Comparison", labels=caption_of(path.stem)) if is_shown else path


def in_data_report(path):
    """Mark a picture of a dataset for `snakemake --report`."""
    return report(path, category="Data", labels={"dataset": "{dataset}", "shows": PICTURES[Path(path).stem]})


def in_model_report(file):
    """Mark a picture or the metrics of a model for `snakemake --report`."""
    labels = {key: f"{{{key}}}" for key in ("backbone", "init", "variant", "seed")} | {
        "shows": PICTURES[Path(file).stem]
    }
    return report(f"{MODEL}/{file}", category="Models", subcategory="{dataset}", labels=labels)


def trials_before(search, generation=None):
    """The trial files of the generations before one, or of all."""
    return [LAYOUT.trial(search, run.name) for run in RUNS[search] if generation is None or run.generation < generation]


def search_until(search, generation):
    """A search as its first generations are asked: that it goes on after them reruns none of them."""
    tune = SEARCHES[search]
    return replace(tune, generations=min(tune.generations, generation + 1))


def model_of_search(search, variant):
    """The model that a search trains, with the search's own seed."""
    tune = SEARCHES[search]
    return ModelId(tune.dataset, tune.backbone, tune.init, variant, tune.seed)


def asked_of(wildcards):
    """The questions of a run's generation."""
    return LAYOUT.asked(wildcards.search, str(RUNS[wildcards.search][int(wildcards.run)].generation))


def packed_of(file):
    """A file of every preprocessing that a search can try, as a function of its wildcards."""

    def paths(wildcards):
        tune = SEARCHES[wildcards.search]
        return [file(tune.dataset, recipe_name(each)) for each in list_recipes(tune, STUDY.base_settings())]

    return paths
