"""The list of tables and figures that compare all models: add one here and it is written, tested, and on the page.

Everything in it lies in results/<study>/summary/: each table as <name>.csv, .md and .tex, each figure as <name>.png,
and provenance.json. The Snakefile imports this list while it plans, so numpy and matplotlib are imported only by the
functions that need them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrflow.report.rows_data import backbone_rows, class_rows, dataset_rows, reject_rows
from cxrflow.report.rows_models import explanation_rows, model_rows, per_class_rows, seed_rows
from cxrflow.report.tabular import Column, Table

if TYPE_CHECKING:
    from cxrflow.report.collect import Results

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class FigureEntry:
    """One figure about all models.

    Attributes:
        title: its heading.
        caption: what is seen, for a reader who has only the figure.
        alt: what it shows, for a reader who cannot see it.
        draw: writes it as PNG.
    """

    title: str
    caption: str
    alt: str
    draw: Callable[["Results", Path], None]


def _transfer_rows(results: "Results") -> Rows:
    from cxrflow.report.rows_paired import transfer_rows

    return transfer_rows(results)


def _ablation_rows(results: "Results") -> Rows:
    from cxrflow.report.rows_paired import ablation_rows

    return ablation_rows(results)


def _claim_rows(results: "Results") -> Rows:
    from cxrflow.report.claims import claim_rows

    return claim_rows(results)


def _draw_curves(results: "Results", path: Path) -> None:
    from cxrflow.report.figure_curves import draw_curves

    draw_curves(results, path)


def _draw_f1(results: "Results", path: Path) -> None:
    from cxrflow.report.figure_scores import draw_f1

    draw_f1(results, path)


def _draw_efficiency(results: "Results", path: Path) -> None:
    from cxrflow.report.figure_efficiency import draw_efficiency

    draw_efficiency(results, path)


def _draw_confusion(results: "Results", path: Path) -> None:
    from cxrflow.report.figure_confusion import draw_confusion

    draw_confusion(results, path)


DATASET = Column("dataset", "Dataset")
BACKBONE = Column("backbone", "Backbone")
INIT = Column("init", "Training")
VARIANT = Column("variant", "Variant", only_if_varied=True)
SEED = Column("seed", "Seed", "count", only_if_varied=True)
MACRO_F1 = Column("macro_f1", "Macro F1 (95 % interval)", "score", interval=True)
DIFFERENCE = Column("difference", "Difference (95 % interval)", "difference", interval=True)

TABLES = {
    "datasets": Table(
        "Table 1a. Datasets: images kept and left out",
        "Published: the whole published set after the same selection rule. A group of duplicates (equal pixels) is kept"
        " together and never crosses subsets; equal pixels with different labels are dropped.",
        (
            DATASET,
            Column("n_published", "Published", "count"),
            Column("n_images", "Kept here", "count"),
            Column("n_patients", "Patients", "count"),
            Column("n_train", "Train", "count"),
            Column("n_val", "Val", "count"),
            Column("n_test", "Test", "count"),
            Column("n_test_patients", "Test patients", "count"),
            Column("n_selection", "Not selected", "count"),
            Column("n_unreadable", "Unreadable", "count"),
            Column("n_conflict", "Conflicting labels", "count"),
            Column("n_cap", "Over the cap", "count"),
            Column("n_listed_missing", "Listed, file missing", "count"),
            Column("n_duplicate_groups", "Duplicate groups", "count"),
        ),
        dataset_rows,
    ),
    "classes": Table(
        "Table 1b. Images by class and subset",
        "The split is by patient and stratified by class, so the shares are close to the settings and not exact.",
        (
            DATASET,
            Column("class", "Class"),
            Column("n_published", "Published", "count"),
            Column("n_images", "Kept here", "count"),
            Column("share", "Share", "share"),
            Column("n_train", "Train", "count"),
            Column("n_val", "Val", "count"),
            Column("n_test", "Test", "count"),
        ),
        class_rows,
    ),
    "rejects": Table(
        "Table 1c. Images that are there and are not used, and why",
        "Every single one is named in rejects.csv of its dataset.",
        (DATASET, Column("kind", "Kind"), Column("reason", "Reason"), Column("n_images", "Images", "count")),
        reject_rows,
        empty="Every image that was found is used.",
    ),
    "backbones": Table(
        "Table 2. Backbones: measured here, and the published report's figures",
        "Parameters are of the 1000-class network. GMAC: multiply-adds of one forward pass, in 1e9. The report's FLOPS"
        " column fits no single setting exactly; a batch of 32 images at 256x256 px is closest, so ours is given for"
        " that batch where the study's images have that size. ImageNet accuracy is torchvision's, top-5, of the weights"
        " that transfer starts from. Latency: one image, median of repeated passes with their spread.",
        (
            BACKBONE,
            Column("params_m", "Params, M", "amount"),
            Column("reported_params_m", "Report: params, M", "amount"),
            Column("layers", "Layers", "count"),
            Column("reported_layers", "Report: layers", "count"),
            Column("size_px", "Image side, px", "count"),
            Column("gmac", "GMAC, 1 image", "amount"),
            Column("gmac_batch", "GMAC, 32 images", "amount"),
            Column("reported_gflops", "Report: GFLOPS", "amount"),
            Column("imagenet_top5", "ImageNet top-5, %", "percent"),
            Column("latency_ms", "Latency, ms", "amount", interval=True),
            Column("device", "Measured on"),
        ),
        backbone_rows,
    ),
    "models": Table(
        "Table 3. All models on the test images",
        "Macro F1, accuracy and AUROC are on test images that neither training nor the choice of the epoch has seen;"
        " intervals are from a bootstrap over test patients, and do not tell how another training run would differ."
        " Chance: macro F1 of guessing blindly. Loss: the lowest validation loss, whose epoch is kept. Seconds per"
        " epoch: median, training and validation. GMAC and latency are of the backbone, for one image.",
        (
            DATASET,
            BACKBONE,
            INIT,
            VARIANT,
            SEED,
            MACRO_F1,
            Column("chance_macro_f1", "Chance", "score"),
            Column("accuracy", "Accuracy (95 % interval)", "score", interval=True),
            Column("macro_auroc", "Macro AUROC (95 % interval)", "score", interval=True),
            Column("val_loss", "Val. loss", "loss"),
            Column("epoch_kept", "Epoch kept", "count"),
            Column("epochs", "Epochs", "count"),
            Column("epoch_seconds", "s per epoch", "amount"),
            Column("images_per_s", "Images/s", "amount"),
            Column("params_m", "Params, M", "amount"),
            Column("gmac", "GMAC", "amount"),
            Column("latency_ms", "Latency, ms", "amount"),
            Column("model", "Model", only_if_varied=True),
        ),
        model_rows,
    ),
    "transfer": Table(
        "Table 4. Transfer against training from scratch",
        "Transfer minus scratch, same dataset, backbone, settings and test images. The interval is of the difference,"
        " from a bootstrap that draws the same test patients for both models; where it excludes zero, the two differ on"
        " these patients.",
        (
            DATASET,
            BACKBONE,
            INIT,
            Column("n_seeds", "Seeds", "count", only_if_varied=True),
            Column("n_patients", "Test patients", "count"),
            Column("macro_f1_scratch", "Scratch: macro F1", "score"),
            Column("macro_f1", "Transfer: macro F1", "score"),
            DIFFERENCE,
        ),
        _transfer_rows,
        empty="No transferred model has a twin from scratch in this study, so there is nothing to compare.",
    ),
    "ablation": Table(
        "Table 5. Ablation: each variant against the study's settings",
        "Variant minus base, same dataset, backbone and test images; the interval is paired as in Table 4.",
        (
            DATASET,
            BACKBONE,
            INIT,
            Column("variant", "Variant"),
            Column("change", "What differs"),
            Column("n_seeds", "Seeds", "count", only_if_varied=True),
            Column("n_patients", "Test patients", "count"),
            Column("macro_f1_base", "Base: macro F1", "score"),
            Column("macro_f1", "Variant: macro F1", "score"),
            DIFFERENCE,
        ),
        _ablation_rows,
        empty="This study trains no variants: name some under `ablation:` in the config to see what each setting is worth.",
    ),
    "seeds": Table(
        "Table 6. Spread over seeds",
        "The same model trained once per seed: mean, standard deviation and range of macro F1 on the same test images."
        " This is what one training run differs from another.",
        (
            DATASET,
            BACKBONE,
            INIT,
            VARIANT,
            Column("n_seeds", "Seeds", "count"),
            Column("macro_f1_mean", "Macro F1, mean", "score"),
            Column("macro_f1_sd", "SD", "loss"),
            Column("macro_f1_min", "Lowest", "score"),
            Column("macro_f1_max", "Highest", "score"),
            Column("epoch_kept_mean", "Epoch kept, mean", "amount"),
        ),
        seed_rows,
        empty="Every model was trained with one seed, so how much one training run differs from another is not known here.",
    ),
    "per_class": Table(
        "Table 7. Scores by class",
        "On the test images; Images is how many of them are of the class.",
        (
            DATASET,
            BACKBONE,
            INIT,
            VARIANT,
            SEED,
            Column("class", "Class"),
            Column("support", "Images", "count"),
            Column("f1", "F1 (95 % interval)", "score", interval=True),
            Column("precision", "Precision (95 % interval)", "score", interval=True),
            Column("recall", "Recall (95 % interval)", "score", interval=True),
            Column("auroc", "AUROC (95 % interval)", "score", interval=True),
            Column("model", "Model", only_if_varied=True),
        ),
        per_class_rows,
    ),
    "explanations": Table(
        "Table 8. Where Grad-CAM falls on annotated test images",
        "Inside: share of the heat that lies inside the annotated region. Centred: the same for a blob in the middle of"
        " the image; uniform: for heat spread evenly, which is the region's share of the area. Pointing: how often the"
        " hottest point lies inside. A model that looks where the finding is should beat the centred blob.",
        (
            DATASET,
            BACKBONE,
            INIT,
            VARIANT,
            SEED,
            Column("region", "Region"),
            Column("n_images", "Images", "count"),
            Column("inside_share", "Inside", "share"),
            Column("inside_share_centred", "Inside, centred", "share"),
            Column("inside_share_uniform", "Inside, uniform", "share"),
            Column("pointing_hit_rate", "Pointing", "share"),
            Column("pointing_hit_rate_centred", "Pointing, centred", "share"),
            Column("model", "Model", only_if_varied=True),
        ),
        explanation_rows,
        empty="No lesions or lungs are annotated on the test images of these datasets, so the explanations are not scored.",
    ),
    "claims": Table(
        "Table 9. The published report's claims, answered by this study",
        "Holds and does not hold are said only where the numbers tell; everything else cannot be told here.",
        (Column("claim", "Claim"), Column("verdict", "Verdict"), Column("answer", "Answer")),
        _claim_rows,
    ),
}

FIGURES = {
    "f1": FigureEntry(
        "Macro F1 of every model",
        "Macro F1 on the test images with its 95 % interval (bootstrap over test patients). Filled: from scratch; open:"
        " transferred. The grey line is chance.",
        "Dot plot of macro F1 with 95 % intervals, one row per model, grouped by dataset; the numbers are in Table 3.",
        _draw_f1,
    ),
    "confusion": FigureEntry(
        "Confusion matrices of every model",
        "Rows: true class; columns: predicted class; each row adds up to 100 %. Test images.",
        "Sheet of confusion matrices, one per model; the scores by class are in Table 7.",
        _draw_confusion,
    ),
    "curves": FigureEntry(
        "Loss and macro F1 of every model, epoch by epoch",
        "Solid: validation; dashed: training (augmented images, in training mode). The dot is the epoch that is kept,"
        " the one with the lowest validation loss. Vertical lines: warm restarts of the learning rate. Variants are not"
        " shown.",
        "Line plots of loss and macro F1 against epoch, one column per dataset and one line per model.",
        _draw_curves,
    ),
    "efficiency": FigureEntry(
        "Macro F1 against cost",
        "Macro F1 with its 95 % interval against the latency of one image and the multiply-adds of the backbone; the"
        " line joins the models that no other beats on both (the Pareto front). Filled: from scratch; open: transferred.",
        "Scatter plots of macro F1 against latency and multiply-adds, one column per dataset; numbers in Table 3.",
        _draw_efficiency,
    ),
}

PROVENANCE = "provenance.json"
SUMMARY_FILES = (
    *(f"{name}.{form}" for name in TABLES for form in ("csv", "md", "tex")),
    *(f"{name}.png" for name in FIGURES),
    PROVENANCE,
)
