r"""Score the saved predictions of one model, with 95 % intervals over patients.

Reads predictions.csv; writes confusion.png and metrics.json. Needs no model and no GPU.

    python scripts/score.py --predictions predictions.csv --settings '{"bootstrap_resamples": 2000}' \
        --title "COVID-19 Radiography, ResNet-34" --metrics metrics.json --confusion confusion.png
"""

from pathlib import Path

from cxrflow.config.settings import ScoreSettings
from cxrflow.config.stages import run_stage
from cxrflow.files.atomic import write_json
from cxrflow.files.figures import save_figure
from cxrflow.files.records import read_predictions
from cxrflow.results.confusion import draw_confusion, format_interval
from cxrflow.results.metrics import METRICS
from cxrflow.results.scoring import score_predictions


def score_model(*, predictions: Path, settings: ScoreSettings, title: str, metrics: Path, confusion: Path) -> None:
    """Compute every metric of one model's test predictions, and draw its confusion matrix.

    predictions: predictions.csv of the model
    settings: how the intervals are drawn, as JSON.
    title: shown above the figure
    metrics: metrics.json to write
    confusion: PNG to write
    """
    scores = score_predictions(read_predictions(predictions), settings.bootstrap_resamples, settings.bootstrap_seed)
    save_figure(draw_confusion(scores, title), confusion)
    write_json(metrics, scores)
    print(f"{scores['n_images']} test images of {scores['n_patients']} patients")
    for name, metric in METRICS.items():
        if not metric.per_class:
            print(f"{metric.title}: {format_interval(scores[name])}")
    print(f"macro F1 of guessing without looking: {scores['chance_macro_f1']:.3f}")


if __name__ == "__main__":
    run_stage(score_model)
