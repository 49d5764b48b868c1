r"""Write the tables and the page of a study whose images may have several findings.

Reads the indexes and splits, and each model's training.json and metrics.json; writes tables (csv, md, tex),
provenance.json and the page.

    python scripts/report_findings.py --results results/nih14 --folder results/nih14/summary \
        --report results/nih14/report.html --models xray8/resnet34/imagenet/base/seed0 \
        --config '{"study": "nih14", "datasets": {"xray8": {"reader": "nih", "folder": "xray8", "findings": ["Mass"]}}}'
"""

from dataclasses import replace
from pathlib import Path

from cxrflow.compare.collect import collect_results
from cxrflow.config.settings import StudySettings
from cxrflow.config.stages import Output, OutputFolder, run_stage
from cxrflow.config.study import Study
from cxrflow.files.atomic import write_json, write_text
from cxrflow.report.findings_page import write_finding_summary
from cxrflow.report.manifest import PROVENANCE
from cxrflow.report.summary import collect_provenance


def report_findings(
    *, results: Path, config: StudySettings, models: list[str], folder: OutputFolder, report: Output
) -> None:
    """Put the models of a study of findings into tables and on one page.

    results: the study's folder, results/<study>
    config: the whole study's settings, as JSON.
    models: the models to show, as dataset/backbone/init/variant/seed0
    folder: where to write the tables
    report: HTML file to write, last
    """
    collected = replace(collect_results(results, Study(config), models), backbones=[])  # none of them was timed
    provenance = collect_provenance(collected)
    write_json(folder / PROVENANCE, provenance)
    write_text(report, write_finding_summary(folder, collected, provenance))
    print(f"models: {len(models)}; {report}: open it in a browser")


if __name__ == "__main__":
    run_stage(report_findings)
