r"""Choose one model per dataset on validation images: the fastest that is not inferior to any other.

Reads val_predictions.csv of the base models, backbones/*.json, index.csv and split.csv, all below results/<study>;
writes selection.json. Opens no test image and no test prediction.

    python scripts/select_models.py --results results/demo --selection results/demo/selection.json \
        --config '{"study": "demo", "datasets": {"covid": {"reader": "covid_radiography", "folder": "covid"}}}' \
        --models covid/resnet34/scratch/base/seed0
"""

from pathlib import Path

from cxrflow.config.layout import Layout, ModelId
from cxrflow.config.settings import StudySettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.config.study import Study
from cxrflow.files.atomic import write_json
from cxrflow.select.choosing import select_models


def select_study_models(*, results: Path, config: StudySettings, models: list[str], selection: Output) -> None:
    """Write the choice for every dataset, with every candidate's numbers.

    results: the study's folder, results/<study>
    config: the whole study's settings, as JSON.
    models: the models to choose from, as dataset/backbone/init/variant/seed0
    selection: selection.json to write
    """
    choices = select_models(Study(config), Layout(results), [ModelId.parse(path) for path in models])
    write_json(selection, choices)
    for dataset, choice in choices.items():
        print(f"{dataset}: {choice['chosen'] or 'none'}. {choice['reason']}")


if __name__ == "__main__":
    run_stage(select_study_models)
