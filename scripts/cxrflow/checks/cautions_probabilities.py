"""Whether probabilities that were calibrated on validation images can be believed on others."""

from cxrflow.checks.verdicts import PASS, UNKNOWN, WARN, Verdict, check, is_clear
from cxrflow.compare.collect import Results
from cxrflow.compare.reliability import measure_calibration_change
from cxrflow.files.formats import KINDS, join_words
from cxrflow.results.families import ALPHA


@check(
    "caution",
    "Does calibration on validation images help on the test images, too?",
    needs=("index", "split", "training", "predictions"),
)
def calibrated_on_test(results: Results) -> Verdict:
    """Calibration must not make the test images' log loss worse; mean of a dataset's models, all at 5 % together."""
    names = {name: models for name in results.datasets if (models := results.select(results.base_models, dataset=name))}
    changes = {name: measure_calibration_change(results, each, ALPHA / len(names)) for name, each in names.items()}
    told = {name: change for name, change in changes.items() if change["low"] is not None}
    show = KINDS["difference"].show_interval
    texts = [
        f"{results.dataset_title(name)}: {show(change['value'], change['low'], change['high'])}."
        for name, change in told.items()
    ]
    if not told:
        return Verdict(UNKNOWN, "No dataset has enough test patients to tell.")
    decisive = max(told.values(), key=lambda change: change["low"])  # type: ignore[arg-type, return-value]
    value, low, high = decisive["value"], decisive["low"], decisive["high"]
    worse = [results.dataset_title(name) for name, change in told.items() if is_clear(change["low"])]  # type: ignore[arg-type]
    numbers = f"Change of their log loss, below 0 is better: {' '.join(texts)}"
    if not worse:
        answer = "Yes, better than the network's own" if high < 0 else "No loss can be told"  # type: ignore[operator]
        return Verdict(PASS, f"{answer}. {numbers}", value, (low, high), 0.0)  # type: ignore[arg-type]
    return Verdict(
        WARN,
        f"Not on {join_words(worse)}: worse there than the network's own, so test and validation images differ."
        f" {numbers}",
        value,
        (low, high),  # type: ignore[arg-type]
        0.0,
        remedy="Calibrate on images of the place where a model will be used; until then do not take its percentages at"
        " their word.",
    )
