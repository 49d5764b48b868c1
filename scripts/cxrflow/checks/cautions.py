"""What the numbers of a study do and do not mean, said before anyone reads them. Pure functions of the results."""

from collections.abc import Callable
from dataclasses import dataclass

from cxrflow.checks.verdicts import join_words
from cxrflow.compare.collect import Results, may_have_seen_test
from cxrflow.config.backbones import BACKBONES
from cxrflow.config.readers import READERS

TORCHVISION_MOMENTUM = {"mobilenet_v3_large": 0.01}  # the others are built with torch's default of 0.1
FEW_PATIENTS = 20  # below this many test patients a percentile bootstrap's intervals are too narrow


@dataclass(frozen=True)
class Caution:
    """One thing to know before believing a number.

    Attributes:
        head: it in a few words.
        text: sentences.
    """

    head: str
    text: str


def list_cautions(results: Results) -> list[Caution]:
    """Return every caution that applies, the weightiest first."""
    return [caution for check in CHECKS for caution in check(results)]


def _drawn(results: Results) -> list[Caution]:
    if not results.study.settings.phantoms:
        return []
    text = (
        "All X-rays of this study are drawn by a program, to show that everything runs. No number on this page says"
        " anything about patients, diseases or the published datasets."
    )
    return [Caution("Drawn X-rays.", text)]


def _not_for_patients(results: Results) -> list[Caution]:
    if results.study.settings.phantoms:
        return []
    text = (
        "These models are research objects, no medical devices. They were tested on images of the same collections that"
        " they were trained on; nothing here tells how they would do in another hospital."
    )
    return [Caution("Not for patients.", text)]


def _samples(results: Results) -> list[Caution]:
    if results.study.settings.phantoms:
        return []
    smaller = [d for d in results.datasets.values() if d.n_published and d.n_images < d.n_published]
    if not smaller:
        return []
    cap = results.study.settings.index.max_images_per_class
    why = f" (the settings keep at most {cap:,} per class)" if cap else ""
    listed = join_words([f"{d.title} has {d.n_images:,} of {d.n_published:,} images" for d in smaller])
    return [Caution("A sample, not the published set.", f"{listed}{why}. Scores on the whole set will differ.")]


def _small_tests(results: Results) -> list[Caution]:
    few = [d for d in results.datasets.values() if d.patients["test"] < FEW_PATIENTS]
    return [
        Caution("Few test patients.", f"{d.title} is tested on {d.patients['test']}: its intervals are too narrow.")
        for d in few
    ]


def _quick_look(results: Results) -> list[Caution]:
    if not all(model.training["device"] == "cpu" for model in results.models):
        return []
    train = results.study.settings.train
    size_px = results.study.settings.preprocess.size_px
    text = (
        f"Everything was trained on a CPU: {train.epochs} epochs at {size_px}x{size_px} px. Longer training on larger"
        " images may change the scores and their order."
    )
    return [Caution("A quick look.", text)]


def _about_datasets(results: Results) -> list[Caution]:
    if results.study.settings.phantoms:
        return []
    read = [(READERS[results.reader_of(name)], dataset.title) for name, dataset in results.datasets.items()]
    return [Caution(reader.weakness, f"{title} {reader.caution}") for reader, title in read if reader.weakness]


def _shared_images(results: Results) -> list[Caution]:
    """Warn where a model starts from one that was trained on images of the test subset."""
    leaky = dict.fromkeys((m.id.init, m.id.dataset) for m in results.models if may_have_seen_test(results, m))
    return [
        Caution(
            "Transfer may leak.",
            f"The model for {results.dataset_title(target)} that starts {results.study.init_title(init)} may have"
            " seen test images: the two published sets have images in common. Its gain is not to be trusted.",
        )
        for init, target in leaky
    ]


def _patients(results: Results) -> list[Caution]:
    nameless = [d for d in results.datasets.values() if d.index["n_patients"] == d.n_images]
    if not nameless:
        return []
    names = join_words([dataset.title for dataset in nameless])
    text = (
        f"In {names} every image counts as a patient of its own. If a patient has several, they can lie in training and"
        " test, which flatters the scores and narrows the intervals."
    )
    return [Caution("Patients not named.", text)]


def _intervals(results: Results) -> list[Caution]:
    draws = results.study.settings.score.bootstrap_resamples
    seeds = results.study.settings.seeds
    if not draws:
        return [Caution("No intervals.", "score.bootstrap_resamples is 0: differences may be chance.")]
    spread = (
        "How much one training differs from another is in the table of seeds."
        if len(seeds) > 1
        else "Each model was trained once: how much one training differs from another is not in them."
    )
    text = (
        f"Brackets are 95 % intervals from {draws:,} bootstrap resamples of the test patients. {spread} The best of"
        " several models on the same test images looks a little better than it is."
    )
    return [Caution("Intervals are over patients.", text)]


def _validation(results: Results) -> list[Caution]:
    text = (
        "Losses and curves are on validation images, which choose the epoch that is kept; all scores are on test"
        " images, which choose nothing."
    )
    return [Caution("Validation is not test.", text)]


def _batch_norm(results: Results) -> list[Caution]:
    momentum = results.study.settings.train.batch_norm_momentum
    changed = [b for b in results.backbones if TORCHVISION_MOMENTUM.get(b, 0.1) != momentum]
    if not changed:
        return []
    names = join_words([f"{BACKBONES[b].title} ({TORCHVISION_MOMENTUM.get(b, 0.1):g})" for b in changed])
    text = (
        f"BatchNorm momentum is {momentum:g} in every backbone, other than torchvision builds {names}: with 0.01 the"
        " running statistics lag for hundreds of steps, and early validations are noise."
    )
    return [Caution("Not torchvision's momentum.", text)]


CHECKS: tuple[Callable[[Results], list[Caution]], ...] = (
    _drawn,
    _not_for_patients,
    _samples,
    _quick_look,
    _shared_images,
    _about_datasets,
    _patients,
    _small_tests,
    _intervals,
    _validation,
    _batch_norm,
)
