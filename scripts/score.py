r"""Score the saved test predictions of one model and map its features, without network and GPU.

Reads predictions.csv and features.npy, row for row; writes metrics.json (every metric with its 95 % interval over
patients), confusion.png, and the t-SNE map of the features: tsne.csv (image_id, label, predicted, x, y) and tsne.png.

    python scripts/score.py --predictions predictions.csv --features features.npy \
        --settings '{"bootstrap_resamples": 2000}' --embed '{"perplexity": 30}' \
        --title "ResNet-34 on COVID-19 Radiography" --confusion confusion.png \
        --tsne-csv tsne.csv --tsne-png tsne.png --metrics metrics.json
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrflow.config.settings import EmbedSettings, ScoreSettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.errors import CxrflowError
from cxrflow.files.atomic import read_array, write_json
from cxrflow.files.figures import save_figure
from cxrflow.files.records import Predictions, read_predictions
from cxrflow.files.tables import write_table
from cxrflow.results.embedding import describe_embedding, draw_embedding, embed_features
from cxrflow.results.metrics import METRICS
from cxrflow.results.scoring import draw_confusion, format_interval, score_predictions


def score_model(
    *,
    predictions: Path,
    features: Path,
    settings: ScoreSettings,
    embed: EmbedSettings,
    title: str,
    confusion: Output,
    tsne_csv: Output,
    tsne_png: Output,
    metrics: Output,
) -> None:
    """Compute every metric of one model's test predictions, plot its confusion matrix, and map its features.

    predictions: predictions.csv of the model
    features: features.npy of the model, the same rows
    settings: how the intervals are resampled, as JSON.
    embed: engine, perplexity and seed of t-SNE, as JSON.
    title: shown above the figures
    confusion: PNG to write
    tsne_csv: tsne.csv to write
    tsne_png: PNG to write
    metrics: metrics.json to write, last
    """
    outcomes, vectors = read_predictions(predictions), read_array(features)
    if len(vectors) != len(outcomes.labels):
        raise CxrflowError(
            f"{features} has {len(vectors)} rows and {predictions} has {len(outcomes.labels)}:"
            " they are of different runs; run evaluate again"
        )
    write_map(vectors, outcomes, embed, title, tsne_csv, tsne_png)
    scores = score_predictions(outcomes, settings.bootstrap_resamples, settings.bootstrap_seed)
    save_figure(draw_confusion(scores, title), confusion)
    write_json(metrics, scores)
    print(f"{scores['n_images']} test images of {scores['n_patients']} patients")
    for name, metric in METRICS.items():
        if not metric.per_class:
            print(f"{metric.title}: {format_interval(scores[name])}")
    print(f"macro F1 of guessing without looking: {scores['chance_macro_f1']:.3f}")


def write_map(
    features: NDArray[np.float32], outcomes: Predictions, settings: EmbedSettings, title: str, table: Path, figure: Path
) -> None:
    """Write the t-SNE map of the test features, float32 (n, d), as a table and a figure."""
    embedding = embed_features(features, settings)
    labels, predicted = outcomes.labels[embedding.rows], outcomes.predicted[embedding.rows]
    save_figure(draw_embedding(embedding, labels, predicted, outcomes.class_names, title), figure)
    names, columns = outcomes.class_names, ["image_id", "label", "predicted", "x", "y"]
    found = zip(embedding.rows, labels, predicted, embedding.points.tolist(), strict=True)
    rows = ([outcomes.image_ids[row], names[label], names[guess], *point] for row, label, guess, point in found)
    write_table(table, columns, (dict(zip(columns, row, strict=True)) for row in rows))
    print(describe_embedding(embedding))


if __name__ == "__main__":
    run_stage(score_model)
