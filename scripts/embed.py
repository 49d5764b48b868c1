r"""Map the test features of one model to two dimensions with t-SNE.

Reads features.npy and predictions.csv, row for row; writes tsne.png and tsne.csv (image_id, label, predicted, x, y).

    python scripts/embed.py --features features.npy --predictions predictions.csv --settings '{"perplexity": 30}' \
        --title "COVID-19 Radiography, ResNet-34" --table tsne.csv --figure tsne.png
"""

from pathlib import Path

import numpy as np

from cxrflow.config.settings import EmbedSettings
from cxrflow.config.stages import run_stage
from cxrflow.errors import CxrflowError
from cxrflow.files.figures import save_figure
from cxrflow.files.records import Predictions, read_predictions
from cxrflow.files.tables import write_table
from cxrflow.results.embedding import Embedding, embed_features
from cxrflow.results.embedding_figure import draw_embedding
from cxrflow.results.tsne import ENGINE_NAMES


def embed_test_images(
    *, features: Path, predictions: Path, settings: EmbedSettings, title: str, table: Path, figure: Path
) -> None:
    """Write the t-SNE map of one model's test images as a table and a figure.

    features: features.npy of the model
    predictions: predictions.csv of the model, the same rows
    settings: engine, perplexity and seed, as JSON.
    title: shown above the figure
    table: tsne.csv to write
    figure: PNG to write
    """
    outcomes = read_predictions(predictions)
    vectors = np.load(features, mmap_mode="r")
    if len(vectors) != len(outcomes.labels):
        raise CxrflowError(
            f"{features} has {len(vectors)} rows and {predictions} has {len(outcomes.labels)}:"
            " they are of different runs; run evaluate again"
        )
    embedding = embed_features(vectors, settings)
    rows = embedding.rows
    picture = draw_embedding(embedding, outcomes.labels[rows], outcomes.predicted[rows], outcomes.class_names, title)
    save_figure(picture, figure)
    write_points(table, embedding, outcomes)
    by = ENGINE_NAMES[embedding.engine]
    print(f"t-SNE of {len(rows)} test images by {by}, perplexity {embedding.perplexity:.3g},", end=" ")
    print(f"trustworthiness {embedding.trustworthiness}")


def write_points(path: Path, embedding: Embedding, outcomes: Predictions) -> None:
    """Write tsne.csv: one row per shown image."""
    names = outcomes.class_names
    rows = (
        {
            "image_id": outcomes.image_ids[row],
            "label": names[outcomes.labels[row]],
            "predicted": names[outcomes.predicted[row]],
            "x": float(x),
            "y": float(y),
        }
        for row, (x, y) in zip(embedding.rows, embedding.points, strict=True)
    )
    write_table(path, ["image_id", "label", "predicted", "x", "y"], rows)


if __name__ == "__main__":
    run_stage(embed_test_images)
