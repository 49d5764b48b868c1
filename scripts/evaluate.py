r"""Everything of one trained model that needs its network: predictions, features, Grad-CAM.

Reads images.npy and split.csv, the test images and test.csv, index.csv, regions.csv and the masks it names, and
model.pt (checked against model.pt.sha256). Predicts the validation images and, by the only door to them, the test
images: val_predictions.csv, predictions.csv and features.npy, float32 (n, n_features), row by row as predictions.csv;
val_mirrored.csv and mirrored.csv are what it says of their mirror images, for candidates of the choice with flip.
Explains test images: gradcam.png, gradcam.csv (one row per scored test image and kind of region) and gradcam.json.

    python scripts/evaluate.py --images images.npy --split split.csv --test-images test/images.npy --test test.csv \
        --index index.csv --regions regions.csv --folder data/covid --model model.pt \
        --settings '{"batch_size": 64}' --explain '{"images_per_class": 3}' --threads 2 \
        --title "ResNet-34 on COVID-19 Radiography" --val-predictions val_predictions.csv \
        --predictions predictions.csv --features features.npy --val-mirrored val_mirrored.csv \
        --mirrored mirrored.csv \
        --gradcam-png gradcam.png --gradcam-csv gradcam.csv --gradcam-json gradcam.json
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrflow.config.layout import ModelId
from cxrflow.config.settings import EvaluateSettings, ExplainSettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.files.atomic import sha256_file, write_array, write_json
from cxrflow.files.figures import save_figure
from cxrflow.files.records import IndexRow, LocalizationRow, Predictions, RegionRow, write_predictions
from cxrflow.files.tables import read_records, write_records
from cxrflow.models.batches import SplitImages, open_split_images, open_test_rows
from cxrflow.models.checkpoints import load_model, restore_network
from cxrflow.models.devices import choose_device, describe_device, prepare_process
from cxrflow.models.inference import check_classes, predict
from cxrflow.results.explaining import Explainer, join_annotations, score_images, summarize_rows
from cxrflow.results.gallery import collect_gallery, draw_gallery
from cxrflow.results.gradcam import find_map_layer


def evaluate_model(
    *,
    images: Path,
    split: Path,
    test_images: Path,
    test: Path,
    index: Path,
    regions: Path,
    folder: Path,
    model: Path,
    settings: EvaluateSettings,
    explain: ExplainSettings,
    device: str = "auto",
    threads: int,
    title: str,
    val_predictions: Output,
    val_mirrored: Output,
    predictions: Output,
    mirrored: Output,
    features: Output,
    gradcam_png: Output,
    gradcam_csv: Output,
    gradcam_json: Output,
) -> None:
    """Predict validation and test images with one model, and explain what it predicts of test images.

    images: images.npy of the model's preprocessing
    split: split.csv of the dataset
    test_images: images.npy of the test images, of the same preprocessing
    test: test.csv of the dataset
    index: index.csv of the dataset
    regions: regions.csv of the dataset
    folder: the dataset's folder, where masks lie
    model: model.pt; its checksum lies next to it
    settings: the batch size, as JSON.
    explain: how many images are shown and scored, as JSON.
    device: auto (a GPU if there is one), cpu or cuda
    threads: CPU threads
    title: shown above the gallery
    val_predictions: val_predictions.csv to write
    val_mirrored: val_mirrored.csv to write: the validation images, left and right exchanged
    predictions: predictions.csv to write: the test images
    mirrored: mirrored.csv to write: the test images, left and right exchanged
    features: features.npy to write: the test images
    gradcam_png: gallery to write
    gradcam_csv: table to write
    gradcam_json: layer and counts to write, last
    """
    prepare_process(threads)
    saved, found = load_model(model), choose_device(device)
    network, size_px = restore_network(saved), saved.preprocess.size_px

    def predict_subset(
        data: SplitImages, subset: str, *, mirrored: bool = False
    ) -> tuple[Predictions, NDArray[np.float32]]:
        check_classes(saved, data, model)
        rows, size = data.rows[subset], settings.batch_size
        probabilities, vectors = predict(
            network, saved.backbone, data.images, rows, device=found, batch_size=size, mirrored=mirrored
        )
        image_ids, patient_ids = ([ids[row] for row in rows] for ids in (data.image_ids, data.patient_ids))
        return Predictions(image_ids, patient_ids, data.labels_of(subset), probabilities, data.class_names), vectors

    known = open_split_images(images, split, size_px)
    validated, _ = predict_subset(known, "val")
    model_id = ModelId(saved.dataset, saved.backbone, saved.init, saved.variant, saved.seed)
    data = open_test_rows(test_images, test, size_px, opener=model_id.path, opener_sha256=sha256_file(model))
    tested, vectors = predict_subset(data, "test")
    annotated = join_annotations(data, tested, read_records(index, IndexRow), read_records(regions, RegionRow), folder)
    write_predictions(val_predictions, validated)
    write_predictions(val_mirrored, predict_subset(known, "val", mirrored=True)[0])
    write_predictions(predictions, tested)
    write_predictions(mirrored, predict_subset(data, "test", mirrored=True)[0])
    write_array(features, vectors)
    print(f"{len(validated.labels)} validation and {len(tested.labels)} test images through {model}", end=" ")
    print(f"on {describe_device(found)}, epoch {saved.epoch}")
    explainer = Explainer(network, find_map_layer(network, saved.backbone, size_px), found, explain.engine)
    gallery = collect_gallery(explainer, annotated, explain.images_per_class, explain.seed)
    save_figure(draw_gallery(gallery, title, explainer.layer, explain.images_per_class), gradcam_png)
    scores = score_images(explainer, annotated, explain.scored_images, explain.seed)
    write_records(gradcam_csv, LocalizationRow, scores)
    content = summarize_rows(scores, explainer.layer)
    write_json(gradcam_json, content)
    print(f"{explainer.layer}; {content['n_scored']} annotated test images scored")


if __name__ == "__main__":
    run_stage(evaluate_model)
