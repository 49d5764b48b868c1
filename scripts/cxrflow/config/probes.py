"""Classifiers without a network that every study fits: what its models have to beat. A plan reads their names.

A trivial baseline may see the disease, and a network that is not above it is not worth its cost. `frame` and `metadata`
must not be able to tell the classes: where they can, so could a network, without looking at the lungs.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """One classifier without a network; `results/probes.py` has the function of the same name that fits it."""

    title: str  # its name in tables
    note: str  # what it sees, a sentence


THUMBNAIL = "thumbnail"  # what every model is compared with
PROBES = {
    "majority": Probe("Most frequent class", "Always says the most frequent class of the train subset."),
    THUMBNAIL: Probe("16 px thumbnail", "Logistic regression on the image shrunk to 16 x 16 grey values."),
    "frame": Probe("Outer frame", "Logistic regression on the outer 9 % of the image, without its middle."),
    "metadata": Probe("Metadata", "Boosted trees on view, sex, age and follow-up number, without the image."),
}
