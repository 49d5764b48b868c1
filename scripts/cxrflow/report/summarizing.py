"""Write everything in results/<study>/summary/: tables, figures, provenance."""

from pathlib import Path

from cxrflow.compare.collect import Results
from cxrflow.files.atomic import write_json
from cxrflow.report.provenance import collect_provenance
from cxrflow.report.summary import FIGURES, PROVENANCE, TABLES
from cxrflow.report.tabular import write_table_forms


def write_summary(folder: Path, results: Results) -> None:
    """Write SUMMARY_FILES: figures first, then tables, then where the numbers come from."""
    for name, figure in FIGURES.items():
        figure.draw(results, folder / f"{name}.png")
    for name, table in TABLES.items():
        write_table_forms(folder, name, table, table.rows(results))
    write_json(folder / PROVENANCE, collect_provenance(results))
