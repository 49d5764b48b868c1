"""A study of images that may have several findings or none, and what such a study goes without.

Its way is shorter: training, test predictions, AUROC of each finding, a page (workflow/rules/findings.smk). Macro F1,
the choice of a model, the paper's claims and the other checks, calibration, delivery and the scores of explanations are
of one class per image and left out by design. A config that asks for one of them is refused.
"""

from collections.abc import Iterator

from cxrflow.config.settings import StudySettings, TrainSettings
from cxrflow.config.study import Study

ONE_CLASS = "is of one class per image, and this study's datasets have `findings`"


def list_unfit(settings: TrainSettings) -> list[str]:
    """Return the settings of a training that only one class per image has, each with what to write.

    No weights: one of a finding's positive images hardly changes the order of its scores, and AUROC knows nothing else;
    without it, the outputs stay probabilities.
    """
    wanted = {"class_weights": "none", "loss": "cross_entropy", "label_smoothing": 0.0}
    unfit = [f"{key} must be {value}" for key, value in wanted.items() if getattr(settings, key) != value]
    return unfit + ["kept_epoch must be val_loss or last"] * (settings.kept_epoch == "val_macro_f1")


def find_finding_problems(study: Study) -> Iterator[str]:
    """Yield what a study of several findings per image asks for and cannot have."""
    settings = study.settings
    if not any(data.findings for data in settings.datasets.values()):
        return
    for name, data in settings.datasets.items():
        where = f"config.datasets.{name}"
        if not data.findings:
            yield f"{where}: it has one class per image, and another dataset has `findings`: make two studies of them"
        for key in ("classes", "lesion_masks"):
            if getattr(data, key):
                yield f"{where}.{key}: this {ONE_CLASS}: remove it"
    yield from _list_sections(settings)
    for variant in study.variants():
        where = "config.train" if variant == "base" else f"config.variants.{variant}.train"
        yield from (f"{where}: {each}, as `findings` are given" for each in list_unfit(study.train_settings(variant)))


def _list_sections(settings: StudySettings) -> Iterator[str]:
    ablation = settings.ablation
    asked = {
        "ablation": ablation.variants or ablation.negative_controls or ablation.positive_controls,
        "tune": settings.tune,
        "strict": settings.strict,
    }
    asked |= {f"weights.{name}.head": each.head == "probe" for name, each in settings.weights.items()}
    yield from (f"config.{key}: this {ONE_CLASS}: remove it" for key, value in asked.items() if value)
