r"""Learn where the lungs are from the datasets that come with their masks, and find them in the images of all.

Reads index.csv, regions.csv, split.csv and thumbnails.npy of each dataset, and the lung masks of its train images, to
learn from, and of its validation images, to see how well it was learned; writes lungs.csv (a box per image) and
lungs.json (the Dice coefficient on validation images). Where no dataset has masks lungs.csv has no row.

    python scripts/lungs.py --datasets covid pneumonia --indexes covid/index.csv pneumonia/index.csv \
        --regions covid/regions.csv pneumonia/regions.csv --splits covid/split.csv pneumonia/split.csv \
        --thumbnails covid/thumbnails.npy pneumonia/thumbnails.npy --masks data/covid data/pneumonia \
        --settings '{"bootstrap_resamples": 2000}' --threads 2 --scores lungs.json --lungs lungs.csv
"""

from pathlib import Path

import cv2
import numpy as np

from cxrflow.config.settings import ScoreSettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.files.atomic import read_mapped, write_json
from cxrflow.files.formats import KINDS
from cxrflow.files.records import IndexRow, LungsRow, RegionRow, SplitRow
from cxrflow.files.tables import read_records, write_records
from cxrflow.models.devices import prepare_process
from cxrflow.results.bootstrap import average_images
from cxrflow.results.lungs import MOST_MASKS, SIDE_PX, LungFinder, Shown, measure_dice, train_finder
from cxrflow.results.probes import read_lungs

SUBSETS = ("train", "val")  # to learn from, and to see how well; no mask of a test image is read


def find_lungs(
    *,
    datasets: list[str],
    indexes: list[Path],
    regions: list[Path],
    splits: list[Path],
    thumbnails: list[Path],
    masks: list[Path],
    settings: ScoreSettings,
    threads: int,
    scores: Output,
    lungs: Output,
) -> None:
    """Train the network and look for the lungs.

    datasets: their names
    indexes: index.csv of each
    regions: regions.csv of each
    splits: split.csv of each
    thumbnails: thumbnails.npy of each
    masks: the folder of each, which the paths of masks are relative to
    settings: how the interval is resampled, as JSON.
    threads: that read masks and compute
    scores: lungs.json to write
    lungs: lungs.csv to write
    """
    prepare_process(threads)
    cv2.setNumThreads(1)
    rows = [read_records(path, IndexRow) for path in indexes]
    shown: dict[str, list[Shown]] = {subset: [] for subset in SUBSETS}
    for name, index, *paths in zip(datasets, rows, regions, splits, thumbnails, masks, strict=True):
        for subset, of in read_shown(name, index, *paths, threads=threads).items():
            shown[subset] += of
    if not all(shown.values()):
        write_json(scores, {"absent": "no dataset of the study has enough to learn from"})
        write_records(lungs, LungsRow, [])
        print("no dataset has lung masks to learn from: nothing is looked for")
        return
    finder = train_finder([each.thumbnail for each in shown["train"]], [each.mask for each in shown["train"]], seed=0)
    write_json(scores, score_finder(finder, shown, settings))
    found = [
        LungsRow(name, row.image_id, *(finder.find_box(mask) or (0.0, 0.0, 0.0, 0.0)))
        for name, index, path in zip(datasets, rows, thumbnails, strict=True)
        for row, mask in zip(index, finder.find_masks(read_mapped(path)), strict=True)
    ]
    for name in datasets:
        boxes = [bool(row.width) for row in found if row.dataset == name]
        print(f"{name}: lungs found in {sum(boxes):,} of {len(boxes):,} images")
    write_records(lungs, LungsRow, found)


def read_shown(
    dataset: str, index: list[IndexRow], regions: Path, split: Path, thumbnails: Path, folder: Path, *, threads: int
) -> dict[str, list[Shown]]:
    """Return the thumbnails and masks of a dataset's images that have masks, MOST_MASKS of a subset, evenly spaced."""
    annotated = [row for row in read_records(regions, RegionRow) if row.kind == "lungs"]
    named, pictures = {row.image_id for row in annotated}, read_mapped(thumbnails)
    numbers = {row.image_id: number for number, row in enumerate(index) if row.image_id in named}
    shown: dict[str, list[Shown]] = {}
    for subset in SUBSETS:
        rows = [row for row in read_records(split, SplitRow) if row.subset == subset and row.image_id in numbers]
        places = np.linspace(0, len(rows) - 1, min(len(rows), MOST_MASKS[subset])).astype(int)
        chosen = [numbers[rows[place].image_id] for place in places]
        masks = read_lungs([index[number] for number in chosen], annotated, folder, threads, SIDE_PX)
        shown[subset] = [
            Shown(
                dataset,
                index[number].patient_id,
                pictures[number],
                np.asarray(masks[index[number].image_id] / 255, np.float32),
            )
            for number in chosen
        ]
    return shown


def score_finder(finder: LungFinder, shown: dict[str, list[Shown]], settings: ScoreSettings) -> dict[str, object]:
    """Return the mean Dice coefficient on the held-out images, with its interval over patients, and print it."""
    held_out = shown["val"]
    found = finder.find_masks([each.thumbnail for each in held_out])
    values = measure_dice(found, np.stack([each.mask > 0.5 for each in held_out]))
    patients = [f"{each.dataset}/{each.patient_id}" for each in held_out]
    dice = average_images({"dice": values}, patients, settings.bootstrap_resamples, settings.bootstrap_seed)["dice"]
    datasets = sorted({each.dataset for each in held_out})
    said = KINDS["score"].show_interval(dice.value, dice.low, dice.high, dice.n_patients)
    print(
        f"learned from {len(shown['train']):,} masks: Dice {said} on {len(held_out):,} others of {', '.join(datasets)}"
    )
    return {
        "dice": {"value": dice.value, "low": dice.low, "high": dice.high, "n_patients": dice.n_patients},
        "n_trained": len(shown["train"]),
        "n_tested": len(held_out),
        "datasets": datasets,
    }


if __name__ == "__main__":
    run_stage(find_lungs)
