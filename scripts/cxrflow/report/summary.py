"""What compares all models: every file of results/<study>/summary/, from the lists of tables and figures.

Each table is there as <name>.csv (raw numbers), .md and .tex, each figure as <name>.png, beside provenance.json. To add
one, add it to TABLES in summary_tables.py or to FIGURES in summary_figures.py. The Snakefile reads this module while it
plans: it imports neither numpy nor matplotlib.
"""

from cxrflow.report.summary_figures import FIGURES
from cxrflow.report.summary_tables import TABLES

__all__ = ["FIGURES", "PROVENANCE", "SUMMARY_FILES", "TABLES"]

PROVENANCE = "provenance.json"
SUMMARY_FILES = (
    *(f"{name}.{form}" for name in TABLES for form in ("csv", "md", "tex")),
    *(f"{name}.png" for name in FIGURES),
    PROVENANCE,
)
