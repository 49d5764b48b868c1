r"""Explain one model by Grad-CAM: a gallery of test images, and how much of the maps lies in what is annotated.

Reads images.npy, index.csv, regions.csv and the masks it names, predictions.csv and model.pt (checked against
model.pt.sha256); writes gradcam.png, gradcam.csv (one row per scored test image and kind of region) and gradcam.json.

    python scripts/explain.py --images images.npy --index index.csv --regions regions.csv --folder data/covid \
        --model model.pt --predictions predictions.csv --settings '{"images_per_class": 3}' --threads 2 \
        --title "COVID-19 Radiography, ResNet-34" --gallery gradcam.png --table gradcam.csv --summary gradcam.json
"""

from pathlib import Path

from cxrflow.config.settings import ExplainSettings
from cxrflow.config.stages import run_stage
from cxrflow.data.images import load_images
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import write_json
from cxrflow.files.figures import save_figure
from cxrflow.files.records import IndexRow, RegionRow, read_predictions
from cxrflow.files.tables import read_records, write_records
from cxrflow.models.checkpoints import SavedModel, load_model, restore_network
from cxrflow.models.devices import choose_device, prepare_process
from cxrflow.models.networks import find_gradcam_layer
from cxrflow.results.explaining import (
    Explainer,
    TestImages,
    choose_scored,
    collect_gallery,
    find_rows,
    score_images,
)
from cxrflow.results.gallery import draw_gallery
from cxrflow.results.localization import LocalizationRow, summarize_rows
from cxrflow.results.regions import group_regions


def explain_model(
    *,
    images: Path,
    index: Path,
    regions: Path,
    folder: Path,
    model: Path,
    predictions: Path,
    settings: ExplainSettings,
    device: str = "auto",
    threads: int,
    title: str,
    gallery: Path,
    table: Path,
    summary: Path,
) -> None:
    """Draw and score the Grad-CAM of one model's test images.

    images: images.npy of the model's preprocessing
    index: index.csv of the dataset
    regions: regions.csv of the dataset
    folder: the dataset's folder, where masks lie
    model: model.pt; its checksum lies beside it
    predictions: predictions.csv of the model: the test images
    settings: how many images are shown and scored, as JSON.
    device: auto (a GPU if there is one), cpu or cuda
    threads: CPU threads
    title: shown above the gallery
    gallery: PNG to write
    table: gradcam.csv to write
    summary: gradcam.json to write, last
    """
    prepare_process(threads)
    saved = load_model(model)
    network = restore_network(saved)
    explainer = Explainer(
        network=network,
        layer=find_gradcam_layer(network, saved.backbone, saved.preprocess.size_px),
        device=choose_device(device),
        engine=settings.engine,
    )
    test = open_test_images(images, index, regions, folder, predictions)
    check_model(saved, test, model)
    rows = collect_gallery(explainer, test, settings.images_per_class, settings.seed)
    save_figure(draw_gallery(rows, title, settings.images_per_class), gallery)
    numbers = choose_scored(test, settings.scored_images, settings.seed)
    scores = score_images(explainer, test, numbers)
    write_records(table, LocalizationRow, scores)
    content = summarize_rows(scores, explainer.layer)
    write_json(summary, content)
    print(f"Grad-CAM at {explainer.layer}; {content['n_scored']} annotated test images scored")
    for kind, means in content["regions"].items():
        print(f"{kind}: {means['inside_share']:.3f} of the map inside,", end=" ")
        print(
            f"{means['inside_share_centred']:.3f} of a centred and {means['inside_share_uniform']:.3f} of a uniform map"
        )


def open_test_images(images: Path, index: Path, regions: Path, folder: Path, predictions: Path) -> TestImages:
    """Read what belongs to the predicted images."""
    every: list[IndexRow] = read_records(index, IndexRow)
    outcomes = read_predictions(predictions)
    rows = find_rows(outcomes, every)
    return TestImages(
        predictions=outcomes,
        images=load_images(images, len(every)),
        rows=rows,
        index=[every[row] for row in rows],
        regions=group_regions(read_records(regions, RegionRow)),
        folder=folder,
    )


def check_model(saved: SavedModel, test: TestImages, path: Path) -> None:
    """Check that the model, its predictions and the images belong together.

    Raises:
        CxrflowError: other classes, or another image size.
    """
    if saved.class_names != test.predictions.class_names:
        raise CxrflowError(
            f"{path} knows the classes {', '.join(saved.class_names)}, its predictions"
            f" {', '.join(test.predictions.class_names)}: they are of different runs; run evaluate again"
        )
    if test.images.shape[1] != saved.preprocess.size_px:
        raise CxrflowError(
            f"{path} was trained on images of {saved.preprocess.size_px} px, and these have {test.images.shape[1]} px:"
            " give the images.npy of the model's own preprocessing"
        )


if __name__ == "__main__":
    run_stage(explain_model)
