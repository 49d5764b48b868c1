"""Cautions about the images: whose they are, how many of how many, and what is known to be wrong with them."""

from cxrflow.checks.verdicts import PASS, WARN, Verdict, check
from cxrflow.compare.collect import Results
from cxrflow.config.readers import READERS
from cxrflow.files.formats import join_words

FEW_PATIENTS = 20  # below this many test patients the intervals of a percentile bootstrap are too narrow


@check("caution", "Do these numbers say anything about patients?")
def patients(results: Results) -> Verdict:
    """Synthetic X-rays say nothing; real ones say little about another hospital."""
    if results.study.settings.phantoms:
        return Verdict(
            WARN,
            "No: all X-rays of this study are synthetic, made by a program to show that everything runs. No number on"
            " this page says anything about patients, diseases or the published datasets.",
        )
    return Verdict(
        WARN,
        "Not about their care: these models are research objects, not medical devices. They were tested on images of"
        " the same collections that they were trained on; nothing here shows how they would do in another hospital.",
        remedy="Test the chosen model on images of another hospital before drawing any conclusion from it.",
    )


@check("caution", "Are these the whole published datasets?", needs=("index",))
def whole_datasets(results: Results) -> Verdict:
    """Fewer images than were published are a sample."""
    if results.study.settings.phantoms:
        return Verdict(PASS, "There is no published dataset to compare synthetic X-rays with.")
    known = [d for d in results.datasets.values() if d.n_published]
    smaller = [d for d in known if d.n_images < (d.n_published or 0)]
    if not smaller:
        return Verdict(PASS, "Yes, wherever the size of the published dataset is known.")
    cap = results.study.settings.index.max_images_per_class
    why = f" (the settings keep at most {cap:,} per class)" if cap else ""
    listed = join_words([f"{d.title} has {d.n_images:,} of {d.n_published:,} images" for d in smaller])
    return Verdict(
        WARN,
        f"No: {listed}{why}. Scores on the whole datasets will differ.",
        value=min(d.n_images / (d.n_published or 1) for d in smaller),
        threshold=1.0,
        remedy="Put the whole datasets in place and set index.max_images_per_class to null.",
    )


@check("caution", "Do the datasets have known weaknesses?")
def known_weaknesses(results: Results) -> Verdict:
    """What the reader of each published dataset knows about it."""
    if results.study.settings.phantoms:
        return Verdict(PASS, "None that matter to synthetic X-rays.")
    read = [(READERS[results.reader_of(name)], dataset.title) for name, dataset in results.datasets.items()]
    found = [f"{r.weakness.rstrip('.')}: {title} {r.caution}" for r, title in read if r.weakness]
    if not found:
        return Verdict(PASS, "None is known of these datasets.")
    return Verdict(WARN, " ".join(["Yes.", *found]))


@check("caution", "Are all images of a patient in the same subset?", needs=("index",))
def patients_known(results: Results) -> Verdict:
    """Where every image counts as a patient of its own, nobody knows."""
    nameless = [d for d in results.datasets.values() if d.index["n_patients"] == d.n_images]
    if not nameless:
        return Verdict(PASS, "Yes: whole patients, and all images with equal pixels, are in one subset.")
    names = join_words([dataset.title for dataset in nameless])
    return Verdict(
        WARN,
        f"Perhaps not: in {names} every image counts as a patient of its own. If a patient has several, they can be in"
        " both training and test, which flatters the scores and narrows the intervals.",
        remedy="If the patients are known, give them in the dataset's table (reader: csv).",
    )


@check("caution", "Are there enough test patients?", needs=("split",))
def enough_patients(results: Results) -> Verdict:
    """A percentile bootstrap over few patients gives intervals that are too narrow."""
    few = [d for d in results.datasets.values() if d.patients["test"] < FEW_PATIENTS]
    least = min(d.patients["test"] for d in results.datasets.values())
    if not few:
        return Verdict(PASS, f"Yes: at least {least:,} in each dataset.", value=least, threshold=FEW_PATIENTS)
    listed = join_words([f"{d.title} is tested on {d.patients['test']}" for d in few])
    return Verdict(
        WARN,
        f"No: {listed}. With fewer than {FEW_PATIENTS}, intervals are too narrow.",
        value=least,
        threshold=FEW_PATIENTS,
        remedy="Use more images (index.max_images_per_class), or give the test subset a larger share (split).",
    )
