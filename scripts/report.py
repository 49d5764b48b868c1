r"""Write the report: one HTML file with every table, figure and gallery of a study, to read offline, print and send.

Reads results/<study>/summary, the pictures below data and models, and what the cards of the first screen and of each
model say; writes report.html. Opens no model.

    python scripts/report.py --results results/demo --summary results/demo/summary --report results/demo/report.html \
        --config '{"study": "demo", "datasets": {"covid": {"reader": "covid_radiography", "folder": "covid"}}}' \
        --models covid/resnet34/scratch/base/seed0
"""

from pathlib import Path

from cxrflow.compare.collect import collect_results
from cxrflow.config.settings import StudySettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.config.study import Study
from cxrflow.files.atomic import write_text
from cxrflow.report.page import render_page


def write_report(*, results: Path, config: StudySettings, models: list[str], summary: Path, report: Output) -> None:
    """Put a study's summary and pictures into one page.

    results: the study's folder, results/<study>
    config: the whole study's settings, as JSON.
    models: the models to show, as dataset/backbone/init/variant/seed0
    summary: what summarize wrote for the same models
    report: HTML file to write
    """
    html = render_page(collect_results(results, Study(config), models), summary)
    write_text(report, html)
    print(f"models: {len(models)}; {report}, {len(html.encode()) / 2**20:.1f} MiB: open it in a browser")


if __name__ == "__main__":
    run_stage(write_report)
