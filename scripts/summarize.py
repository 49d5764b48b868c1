r"""Compare all models of a study: tables, figures, and where the numbers come from.

Reads results/<study>/data, models, backbones, checks and selection.json; writes the tables (csv, md, tex), figures
(png) and provenance.json of results/<study>/summary. Opens no image and no model.

    python scripts/summarize.py --results results/demo --folder results/demo/summary \
        --config '{"study": "demo", "datasets": {"covid": {"reader": "covid_radiography", "folder": "covid"}}}' \
        --models covid/resnet34/scratch/base/seed0
"""

from pathlib import Path

from cxrflow.compare.collect import collect_results
from cxrflow.config.settings import StudySettings
from cxrflow.config.stages import OutputFolder, run_stage
from cxrflow.config.study import Study
from cxrflow.report.manifest import SUMMARY_FILES
from cxrflow.report.summary import write_summary


def summarize_study(*, results: Path, config: StudySettings, models: list[str], folder: OutputFolder) -> None:
    """Write every table and figure that compares the named models.

    results: the study's folder, results/<study>
    config: the whole study's settings, as JSON.
    models: the models to compare, as dataset/backbone/init/variant/seed0
    folder: where to write
    """
    collected = collect_results(results, Study(config), models)
    write_summary(folder, collected)
    n_datasets = len(collected.datasets)
    print(f"models: {len(models)}, datasets: {n_datasets}, files written to {folder}: {len(SUMMARY_FILES)}")


if __name__ == "__main__":
    run_stage(summarize_study)
