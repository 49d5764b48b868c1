"""What the page and the summary consist of: tables, figures, sections and their files. A plan reads it.

Everything is data: to add a section, a table or a figure is one entry. Imports nothing heavy.
"""

from dataclasses import dataclass

from cxrflow.files.formats import FEW_PATIENTS, FEW_SIGN
from cxrflow.report.tables import TABLES

__all__ = ["FIGURES", "MODULES", "PICTURES", "PROVENANCE", "SECTIONS", "SUMMARY_FILES", "TABLES", "caption_of"]


@dataclass(frozen=True)
class Figure:
    """One figure about all models."""

    title: str  # its heading
    note: str  # what is seen, for a reader who has only the figure
    alt: str  # what it shows, for a reader who cannot see it
    draw: str  # "module:function"; the function writes it as PNG from the collected results
    of: str = ""  # the table whose rows it shows: without any, the page leaves it out


@dataclass(frozen=True)
class Block:
    """One part of a section."""

    kind: str  # a macro of the template, show_<kind>
    name: str = ""  # of the table or figure
    text: str = ""  # of a prose; of a table, the line that it folds away under


@dataclass(frozen=True)
class Section:
    """One section of the page; the contents list has it by its title."""

    id: str
    title: str
    blocks: tuple[Block, ...]


FIGURES: dict[str, Figure] = {
    "f1": Figure(
        "Figure 1. Macro F1 of every model",
        "Macro F1 on the test images with its 95 % interval over test patients. Filled: from scratch; open:"
        f" transferred; †: may have seen test images; {FEW_SIGN}: a class has fewer than {FEW_PATIENTS} test patients."
        " Grey lines: chance, and logistic regression on 16 px thumbnails.",
        "Dot plot of macro F1 with 95 % intervals, one row per model, grouped by dataset; numbers as in Table 3.",
        "cxrflow.report.figures_scores:draw_f1",
    ),
    "confusion": Figure(
        "Figure 2. Confusion matrices of every model",
        "Rows: true class with n, its test images; columns: predicted class; each row adds up to 100 %. One image more"
        " or less moves a percent by 100 / n; on the diagonal is the recall, whose interval is in Table 6.",
        "Sheet of confusion matrices, one per model; the scores by class are in a table of their own.",
        "cxrflow.report.figures_models:draw_confusion",
    ),
    "curves": Figure(
        "Figure 3. Loss and macro F1 of every model, epoch by epoch",
        "Solid: validation; dashed: training (augmented images, in training mode). The dot is the epoch that is kept,"
        " unless train.kept_epoch says otherwise the one with the lowest validation loss. Vertical lines: warm restarts"
        " of the learning rate. Variants are not shown.",
        "Line plots of loss and macro F1 against epoch, one column per dataset and one line per model.",
        "cxrflow.report.figures_models:draw_curves",
    ),
    "efficiency": Figure(
        "Figure 4. Macro F1 against cost",
        "Macro F1 with its 95 % interval against the time of one X-ray, from its file to its answer, the multiply-adds"
        " and the parameters of the backbone; the line joins the models that no other beats on both (the Pareto front)."
        " Filled: from scratch; open: transferred; large: an ensemble of all seeds; crossed by a line: with flip. The"
        " energy of an image is drawn where a GPU could say it.",
        "Scatter plots of macro F1 against latency, multiply-adds, parameters and, where known, energy, one column per"
        " dataset; numbers as in Tables 3 and 9a.",
        "cxrflow.report.figures_scores:draw_efficiency",
    ),
    "forest": Figure(
        "Figure 5. Ablation: each variant minus the study's settings",
        "Differences on the same test images with their 95 % intervals over patients and, with several seeds,"
        " trainings; numbers as in Table 8. Filled: macro F1 told from zero after correction for the variants of its"
        " dataset and backbone (Holm). At the right: seconds of training relative to the base, and GMAC.",
        "Forest plot of differences in macro F1 and log loss with intervals, one row per variant; as in Table 8.",
        "cxrflow.report.figures_ablation:draw_forest",
        of="ablation",
    ),
    "learning_curve": Figure(
        "Figure 6. Macro F1 by the number of train images",
        "Each point with its 95 % interval over patients and trainings. Line and band: the power law through them and"
        " its 95 % interval, dashed beyond the images that there are, up to twice as many.",
        "Line plot of macro F1 against train images, one panel per dataset; numbers as in Table 8b.",
        "cxrflow.report.figures_ablation:draw_learning",
        of="learning",
    ),
}

# Pictures and numbers of one dataset or one model, by the name of their file.
PICTURES = {
    "samples": "Sample X-rays, by class, as the models see them.",
    "before_after": "X-rays before and after each step of the preprocessing.",
    "metrics": "Metrics on the test images, with 95 % intervals over patients.",
    "confusion": "Confusion matrix of the test images.",
    "tsne": "t-SNE of the test features. What lies together looks alike to the network; distances between groups mean"
    " little.",
    "gradcam": "Maps (Grad-CAM, or LayerCAM at an earlier layer) of the predicted class, of test images predicted right"
    " and wrong: what raised its score, not why. Table 5 and the cautions say whether they show more than random maps.",
}


def show(*names: str) -> tuple[Block, ...]:
    """Return one block per table or figure of these names."""
    return tuple(Block("table" if name in TABLES else "figure", name) for name in names)


LEFT_OUT = Block("table", "rejects", "Images left out, and why")
CHOSEN = Block("table", "notes", "What was chosen, passed over or joined")
ABOUT_MODELS = (
    "Each model opens to its scores by class, its confusion matrix, the t-SNE of its test features (what lies together"
    " looks alike to the network; distances between groups mean little) and maps over test images (what"
    " raised the score of the predicted class, not why)."
)
ABOUT_CHECKS = (
    "First the paper's claims, each answered from this study's numbers alone: a claim holds or does not hold only"
    " where the numbers show it, and on synthetic X-rays they show it of synthetic X-rays only. Those that are tests"
    " are judged together by Holm's procedure, so that chance alone decides one of them in at most 5 % of studies; one"
    " judged at 0.5 % has intervals of 99.5 %. What the paper leaves to the future: ablation (Table 8),"
    " hyperparameters (Table 8, and Tuning where the study searches), class weights (a claim here), the final model by"
    " F1 and efficiency (Table 9). Then what could weaken the numbers. A check that could not run says so."
)
WHICH = show("standings", "backbones_paired")  # the study's own question, first
ABOUT_TUNING = (
    "Each search asked for settings by macro F1 on validation images, in generations: tpe from what those before gave,"
    " random blindly. After a rung of epochs the best go on. A search ends with a score that is too good, as the best"
    " of many on the images that it looked at: what it found was trained anew with seeds that it had not seen, and"
    " stands in Table 8 beside the study's own settings. Only those scores say what the search gained."
)
SECTIONS = (
    Section("data", "Data", (*show("datasets", "classes"), LEFT_OUT, CHOSEN, Block("galleries"))),
    Section("backbones", "Backbones", show("backbones")),
    Section(
        "results",
        "Results",
        show("standings", "backbones_paired", "f1", "models", "confusion", "seeds", "explanations"),
    ),
    Section("models", "Model by model", (Block("prose", text=ABOUT_MODELS), Block("models"))),
    Section("curves", "Training curves", show("curves")),
    Section("transfer", "Transfer and ablation", show("transfer", "ablation", "forest", "learning", "learning_curve")),
    Section("tuning", "Tuning", (Block("prose", text=ABOUT_TUNING), Block("searches"))),  # where there is a search
    Section("efficiency", "Efficiency and choice", show("efficiency", "choice", "candidates")),
    Section("calibration", "Calibration and abstention", show("calibration")),
    Section("checks", "Checks", (Block("prose", text=ABOUT_CHECKS), Block("checks"), *show("shortcuts"))),
    Section("provenance", "Provenance", (Block("provenance"),)),
    Section("citing", "Citing and terms", (Block("terms"),)),
)

PROVENANCE = "provenance.json"
SUMMARY_FILES = (
    *(f"{name}.{form}" for name in TABLES for form in ("csv", "md", "tex")),
    *(f"{name}.png" for name in FIGURES),
    PROVENANCE,
)
# The modules that are named as text: their code decides the summary, though nothing imports them by name.
_FUNCTIONS = (
    *(name for table in TABLES.values() for name in (table.rows, table.says) if name),
    *(figure.draw for figure in FIGURES.values()),
)
MODULES = tuple(dict.fromkeys(name.partition(":")[0] for name in _FUNCTIONS))


def caption_of(name: str) -> dict[str, str]:
    """Return what `snakemake --report` shows beside a table or figure of the summary."""
    entry = TABLES[name] if name in TABLES else FIGURES[name]
    return {"shows": entry.title, "note": entry.note}
