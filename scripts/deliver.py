r"""Make folders that read new X-rays without this repository: each with the model chosen for a dataset.

Reads selection.json and, of the model or of each member of an ensemble, model.pt (checked against model.pt.sha256),
training.json, metrics.json and what it says of validation and test images, and index.csv, split.csv and the packed
images of its dataset, below results/<study>; writes for each dataset a folder: model.onnx, calibration.json,
input_check.npz, metadata.json, README.md, LICENSE, golden/, requirements.txt, `run` with the modules that it needs, and
last SHA256SUMS. The golden images are drawn here.

    python scripts/deliver.py --results results/demo --datasets covid --folder results/demo/deliver \
        --config '{"study": "demo", "datasets": {"covid": {"reader": "covid_radiography", "folder": "covid"}}}'
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cxrflow.config.layout import CandidateId, Layout
from cxrflow.config.settings import DeliverSettings, ScoreSettings, StudySettings
from cxrflow.config.stages import OutputFolder, run_stage
from cxrflow.config.study import recipe_name
from cxrflow.deliver.bundle import describe_delivery, write_bundle, write_refusal
from cxrflow.deliver.delivered import DeliveredModel
from cxrflow.deliver.exporting import check_export, describe_model, export_model, join_cards
from cxrflow.deliver.folder import CALIBRATION, INPUT_CHECK, MODEL
from cxrflow.deliver.packaging import collect_library, make_golden, write_folder
from cxrflow.files.atomic import read_json
from cxrflow.files.records import IndexRow
from cxrflow.files.tables import read_records
from cxrflow.models.batches import open_split_images
from cxrflow.models.checkpoints import SavedModel, load_model
from cxrflow.models.devices import prepare_process
from cxrflow.results.calibration import Calibration, calibrate_model
from cxrflow.results.ensembles import read_candidate
from cxrflow.results.input_check import InputCheck, fit_input_check, pack_input_check
from cxrflow.results.reliability import measure_reliability
from cxrflow.results.scoring import score_predictions
from phantoms.render import Fate, ImageTask, encode_task

GOLDEN_PX = 512
GOLDEN_SIGNS = {"healthy": (), "consolidation": ("consolidation",), "effusion": ("effusion",)}


def deliver(
    *, results: Path, datasets: list[str], config: StudySettings, folder: OutputFolder, model: str = ""
) -> None:
    """Write one folder per dataset.

    results: the study's folder, results/<study>
    datasets: whose models are delivered
    config: the whole study's settings, as JSON.
    folder: to write them into, each named like its dataset; what an earlier delivery wrote there is replaced
    model: deliver this one, dataset/backbone/init/variant/seed0, instead of the chosen ones; seed0+1+2 stands for an
        ensemble, and /flip behind it for one that also looks at the mirror image
    """
    prepare_process(threads=1)
    layout = Layout(results)
    if model:
        deliver_model(layout, CandidateId.parse(model), config, "It was named by hand.", folder)
        return
    choices = read_json(layout.selection())
    for dataset in datasets:
        choice = choices.get(dataset, {"chosen": None, "reason": "selection.json does not know this dataset."})
        if choice["chosen"]:
            deliver_model(layout, CandidateId.parse(choice["chosen"]), config, choice["reason"], folder)
        else:
            write_folder(folder / dataset, {"README.md": write_refusal(dataset, choice["reason"]).encode()})
            print(f"{dataset}: no model is delivered. {choice['reason']}")


def deliver_model(layout: Layout, candidate: CandidateId, config: StudySettings, reason: str, folder: Path) -> None:
    """Write the folder of a model or an ensemble, named like its dataset; reason: why this one, in sentences."""
    paths, trainings = (
        [layout.model_file(each, name) for each in candidate.members] for name in ("model.pt", "training.json")
    )
    members, training = [load_model(path) for path in paths], read_json(trainings[0])
    place = folder / candidate.members[0].dataset
    cards = [describe_model(*each) for each in zip(members, paths, trainings, strict=True)]
    card = join_cards(cards, flip=candidate.flip)
    content = export_model(members, card)
    difference = check_export(content, members, place / MODEL)
    exported = DeliveredModel(content, place / MODEL, threads=1)
    calibration, check = fit_answers(layout, candidate, members[0], training["class_weights"], config.deliver)
    metrics = find_metrics(layout, candidate, calibration, config.score)
    known = describe_delivery(exported, config, training, metrics, reason)
    files = {
        MODEL: content,
        CALIBRATION: json.dumps(asdict(calibration), indent=2).encode(),
        INPUT_CHECK: pack_input_check(check),
        **collect_library(),
        **make_golden(content, draw_golden()),
        **write_bundle(known),
    }
    write_folder(place, files)
    size_mib = sum(map(len, files.values())) / 2**20
    print(f"{place.name}: {card.describe()}. {reason}")
    print(f"{place}: {len(files)} files, {size_mib:.1f} MiB, equal to PyTorch to {difference:.1e}. `python run --help`")


def find_metrics(
    layout: Layout, candidate: CandidateId, calibration: Calibration, settings: ScoreSettings
) -> dict[str, Any]:
    """Return the test scores of what is delivered, in the form of metrics.json, and how far its percentages hold."""
    (answers,) = read_candidate(layout, candidate, candidate.members[:1], "test")
    resampling = settings.bootstrap_resamples, settings.bootstrap_seed
    if candidate == CandidateId(candidate.members[:1]):
        metrics = read_json(layout.model_file(candidate.members[0], "metrics.json"))
    else:
        metrics = score_predictions(answers, *resampling)
    return {**metrics, "reliability": measure_reliability(answers, calibration, *resampling)}


def fit_answers(
    layout: Layout,
    candidate: CandidateId,
    saved: SavedModel,
    class_weights: dict[str, float],
    settings: DeliverSettings,
) -> tuple[Calibration, InputCheck]:
    """Return what is fitted on the train and validation rows, never on the test rows."""
    images = layout.images(saved.dataset, recipe_name(saved.preprocess))
    data = open_split_images(images, layout.split(saved.dataset), saved.preprocess.size_px)
    (validation,) = read_candidate(layout, candidate, candidate.members[:1], "val")
    calibration = calibrate_model(validation, class_weights, data.counts("train"), settings.answered)
    train = {data.image_ids[row] for row in data.rows["train"]}
    indexed = read_records(layout.index(saved.dataset), IndexRow)
    sides = [(row.width, row.height) for row in indexed if row.image_id in train]
    longest_sides = max(max(pair) / min(pair) for pair in sides)
    return calibration, fit_input_check(data.images, data.rows["train"], data.rows["val"], longest_sides)


def draw_golden() -> dict[str, bytes]:
    """Draw the golden images, PNG files by name."""
    tasks = {
        f"{name}.png": ImageTask("golden", f"{name}.png", name, Fate.DROPPED, signs, n, n, GOLDEN_PX, GOLDEN_PX)
        for n, (name, signs) in enumerate(GOLDEN_SIGNS.items())
    }
    return {name: encode_task(task, seed=0)[0][task.files[0]] for name, task in tasks.items()}


if __name__ == "__main__":
    run_stage(deliver)
