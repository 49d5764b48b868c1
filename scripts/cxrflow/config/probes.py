"""Classifiers without a network that every study fits: what its models have to beat. A plan reads their names.

Two kinds, kept apart. A trivial baseline may see the disease, and a network that is not above it is not worth its cost.
A shortcut must not be able to tell the classes: where it can, so could a network, without looking at the lungs.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """One classifier without a network; `_PROBES` of results/probes.py has its features and its classifier."""

    title: str  # its name in tables
    note: str  # what it sees, a sentence
    is_baseline: bool = False  # it stands in Table 3
    is_shortcut: bool = False  # the gate holds it against the model


THUMBNAIL = "thumbnail"  # what every model is compared with
PROBES = {
    "majority": Probe("Most frequent class", "Always says the most frequent class of the train subset.", True),
    THUMBNAIL: Probe("16 px thumbnail", "Logistic regression on the image shrunk to 16 x 16 grey values.", True),
    "frame": Probe(
        "Outer frame", "Logistic regression on the outer 9 % of the image, without its middle.", True, is_shortcut=True
    ),
    "metadata": Probe(
        "Metadata", "Boosted trees on view, sex, age and follow-up number, without the image.", True, is_shortcut=True
    ),
    "histogram": Probe(
        "Histogram", "Logistic regression on how often each grey value occurs, wherever it is.", is_shortcut=True
    ),
    "header": Probe(
        "File header", "Boosted trees on the file's bytes, width, height and colour mode, unopened.", is_shortcut=True
    ),
    "silhouette": Probe(
        "Lung silhouette", "Logistic regression on the outline of the lungs, 32 x 32 px, without a grey value in it.",
        is_shortcut=True,
    ),
    "lungless": Probe(
        "Lungs blacked out", "Logistic regression on the 16 px thumbnail of the image with a black box over the lungs.",
        is_shortcut=True,
    ),
}  # fmt: skip
BASELINES = {name: probe for name, probe in PROBES.items() if probe.is_baseline}
SHORTCUTS = {name: probe for name, probe in PROBES.items() if probe.is_shortcut}
