"""What the page of a study of images that may have several findings consists of. A plan reads it."""

from cxrflow.report.manifest import PROVENANCE
from cxrflow.report.tables import CAUTION, EXACT, MODEL, PATH, TABLES, Column, Table, numbers, score

UNPUBLISHED = "none is given with it"
FINDING_TABLES: dict[str, Table] = {
    "datasets": TABLES["datasets"],
    "finding_models": Table(
        "Table 2. Every model: means over the findings",
        "Mean of the findings' AUROC, and of their average precision, on the test images, each with its 95 % interval"
        " over test patients.",
        (
            *MODEL,
            score("mean_auroc", "Mean AUROC", "thousandths"),
            score("mean_average_precision", "Mean average precision", "thousandths"),
            *numbers(n_findings="Findings", n_images="Test images", epoch_kept="Epoch kept"),
            CAUTION,
            PATH,
        ),
        "cxrflow.compare.findings:model_rows",
    ),
    "findings": Table(
        "Table 3. Every finding",
        "Each finding is told from all images without it. AUROC: guessing reaches 0.5; average precision: guessing"
        " reaches the share.",
        (
            Column("title", "Model"),
            Column("finding", "Finding"),
            *numbers(support="Test images with it"),
            Column("share", "Share", "share", EXACT),
            score("auroc", "AUROC", "thousandths"),
            score("average_precision", "Average precision", "thousandths"),
        ),
        "cxrflow.compare.findings:finding_rows",
    ),
    "published_auroc": Table(
        "Table 4. What others report of ChestX-ray14: cited, not measured here",
        "Mean AUROC of its 14 labels. Figures of different splits cannot be compared with each other: other patients,"
        " other shares of each finding.",
        (
            Column("model", "Model"),
            Column("mean_auroc", "Mean AUROC", "thousandths", UNPUBLISHED),
            Column("split", "Split"),
            Column("source", "Source"),
        ),
        "cxrflow.compare.findings:published_rows",
    ),
}
FINDING_FILES = (*(f"{name}.{form}" for name in FINDING_TABLES for form in ("csv", "md", "tex")), PROVENANCE)
