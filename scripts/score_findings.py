r"""Score the saved test predictions of one model of findings, without network and GPU.

Reads predictions.csv; writes metrics.json: AUROC and average precision of every finding, and their means, with 95 %
intervals over patients.

    python scripts/score_findings.py --predictions predictions.csv --settings '{"bootstrap_resamples": 2000}' \
        --metrics metrics.json
"""

from pathlib import Path

from cxrflow.config.settings import ScoreSettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.files.atomic import write_json
from cxrflow.results.findings import FINDING_METRICS, read_findings, score_findings
from cxrflow.results.scoring import format_interval


def score_model(*, predictions: Path, settings: ScoreSettings, metrics: Output) -> None:
    """Compute the metrics of one model's test predictions.

    predictions: predictions.csv of the model
    settings: how the intervals are resampled, as JSON.
    metrics: metrics.json to write
    """
    scores = score_findings(read_findings(predictions), settings.bootstrap_resamples, settings.bootstrap_seed)
    write_json(metrics, scores)
    print(f"{scores['n_images']} test images of {scores['n_patients']} patients, {len(scores['per_class'])} findings")
    for name, title in FINDING_METRICS.items():
        print(f"Mean {title}: {format_interval(scores[f'mean_{name}'])}")


if __name__ == "__main__":
    run_stage(score_model)
