"""Cautions about the images: whose they are, how many of how many, and what is known to be wrong with them."""

from cxrflow.checks.verdicts import PASS, WARN, Verdict, check
from cxrflow.compare.collect import DatasetResult, Results
from cxrflow.config.readers import READERS
from cxrflow.files.formats import FEW_PATIENTS, FEW_SIGN, MIN_PATIENTS, count_words, join_words

NAMED = 3  # smallest classes that are named, of each dataset


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
    kept = {d.title: _count_kept(d) for d in known}
    smaller = [d for d in known if kept[d.title] < (d.n_published or 0)]
    if not smaller:
        return Verdict(PASS, "Yes, wherever the size of the published dataset is known.")
    cap = results.study.settings.index.max_images_per_class
    why = f" (the settings keep at most {cap:,} per class)" if cap else ""
    listed = join_words([f"{d.title} has {kept[d.title]:,} of {d.n_published:,} images" for d in smaller])
    return Verdict(
        WARN,
        f"No: {listed}{why}. Scores on the whole datasets will differ.",
        value=min(kept[d.title] / (d.n_published or 1) for d in smaller),
        threshold=1.0,
        remedy="Put the whole datasets in place and set index.max_images_per_class to 0.",
    )


def _count_kept(dataset: DatasetResult) -> int:
    """Return how many of the published images are here; more of one class do not make up for fewer of another."""
    return sum(min(dataset.index["counts"].get(label, 0), n) for label, n in dataset.published.items())


@check("caution", "Do the datasets have known weaknesses?")
def known_weaknesses(results: Results) -> Verdict:
    """What the reader of each published dataset knows about it."""
    if results.study.settings.phantoms:
        return Verdict(PASS, "None that matter to synthetic X-rays.")
    read = [(READERS[results.reader_of(name)], dataset.title) for name, dataset in results.datasets.items()]
    found = [(r, title) for r, title in read if r.weakness]
    if not found:
        return Verdict(PASS, "None is known of these datasets.")
    named = (f"{title}: {r.weakness[0].lower()}{r.weakness[1:]}" for r, title in found)
    return Verdict(WARN, " ".join(["Yes.", *named]), details=tuple(f"{title} {r.caution}" for r, title in found))


@check("caution", "Are all images of a patient in the same subset?", needs=("index",))
def patients_known(results: Results) -> Verdict:
    """Where every image counts as a patient of its own, nobody knows."""
    nameless = [d for d in results.datasets.values() if d.index["n_patients"] == d.n_images]
    if not nameless:
        return Verdict(PASS, "Yes: whole patients, and all images with equal pixels, are in one subset.")
    names = join_words([dataset.title for dataset in nameless])
    if results.study.settings.phantoms:
        return Verdict(PASS, f"Yes: in {names} the program drew every image as a patient of its own.")
    return Verdict(
        WARN,
        f"Perhaps not: in {names} every image counts as a patient of its own. If a patient has several, they can be in"
        " both training and test, which flatters the scores and narrows the intervals.",
        remedy="If the patients are known, give them in the dataset's table (reader: csv).",
    )


@check("caution", "Are there enough test patients of every class?", needs=("split",))
def enough_patients(results: Results) -> Verdict:
    """What rests on few patients is flagged; on fewer, it has no interval."""
    counts = {d.title: d.class_patients["test"] for d in results.datasets.values()}
    few = {title: sorted((n, label) for label, n in of.items() if n < FEW_PATIENTS) for title, of in counts.items()}
    least = min(min(of.values()) for of in counts.values())
    if not any(few.values()):
        return Verdict(PASS, f"Yes: at least {least:,} in each of them.", value=least, threshold=FEW_PATIENTS)
    titles = join_words([title for title, small in few.items() if small])
    return Verdict(
        WARN,
        f"No: in {titles} a class has fewer than {FEW_PATIENTS} test patients, the smallest {least}. Scores that rest"
        f" on so few are marked {FEW_SIGN}: other patients could change them much.",
        value=least,
        threshold=FEW_PATIENTS,
        remedy="Use more images (index.max_images_per_class), or give the test subset a larger share (split).",
        details=(
            *(f"{_name_smallest(title, small)}." for title, small in few.items() if small),
            f"Means over all classes are marked too. With fewer than {MIN_PATIENTS} patients of a class they have no"
            " interval, and nothing is concluded from them.",
        ),
    )


def _name_smallest(title: str, small: list[tuple[int, str]]) -> str:
    """Name a dataset's smallest classes, all that have no interval among them, and count the others."""
    n_named = max(NAMED, sum(n < MIN_PATIENTS for n, _ in small))
    named = [f"{n} of {label}" for n, label in small[:n_named]]
    others = [f"fewer than {FEW_PATIENTS} of {count_words(len(small) - n_named, 'other')}"] * (len(small) > n_named)
    return f"{title} is tested on {join_words([*named, *others])}"
