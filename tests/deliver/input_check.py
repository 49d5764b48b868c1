"""Print how well the delivered input check tells wrong pictures from X-rays, beside two other distances, as Markdown.

Reads the packed images and tables of a dataset, a model.onnx, and folders of other X-rays; nothing is written.

    python -m tests.deliver.input_check results/quick/data/covid/96px-equalized-blur3 model.onnx \
        data/covid other=data/xray8 > table.md
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

from cxrflow.data.decode import Decoded, decode_image, measure_colour
from cxrflow.data.preprocessing import preprocess_image
from cxrflow.data.readers.base import walk_images
from cxrflow.deliver.delivered import open_model
from cxrflow.files.records import IndexRow, SplitRow
from cxrflow.files.tables import read_records
from cxrflow.results.bootstrap import average_images
from cxrflow.results.calibration import Floats
from cxrflow.results.input_check import fit_input_check
from tests.deliver.wrong_inputs import CHANGED, DRAWN

N_OF_KIND = 200


def main(packed: Path, onnx: Path, raw: Path, others: dict[str, Path]) -> None:
    model = open_model(onnx, threads=1)
    rows = read_records(packed.parent / "split.csv", SplitRow)
    images = np.load(packed / "images.npy")
    subset = np.array([row.subset for row in rows])
    train, val = (np.flatnonzero(subset == name) for name in ("train", "val"))
    check = fit_input_check(images, train, val, longest_sides=1.0)
    labels = np.unique([rows[n].label for n in train], return_inverse=True)[1]
    network = fit_features(get_features(model, images[train]), labels)
    index = {row.image_id: row for row in read_records(packed.parent / "index.csv", IndexRow)}
    tests = read_records(packed.parent / "test.csv", SplitRow)
    films = [decode_image((raw / index[row.image_id].path).read_bytes()) for row in tests]
    generator = np.random.default_rng(0)
    sets: dict[str, list[Decoded]] = {f"test images, as they are ({raw.name})": films}
    for name, draw in DRAWN.items():
        sets[name] = [to_film(draw(generator)) for _ in range(N_OF_KIND)]
    for name, change in CHANGED.items():
        sets[name] = [to_film(change(film.gray, generator)) for film in films[:N_OF_KIND]]
    for name, folder in others.items():
        found = [*walk_images(folder)]
        chosen = generator.choice(len(found), min(N_OF_KIND, len(found)), replace=False)
        sets[f"X-rays of another source: {name}"] = [decode_image((folder / found[n]).read_bytes()) for n in chosen]
    known = images[val], check.measure(images[val]), network(get_features(model, images[val]))
    print(
        "| pictures | n | warned of (95 %) | distance: passed, FPR at 95 % | AUROC | network's features: FPR, AUROC |"
    )
    print("|---|---|---|---|---|---|")
    for name, films_of in sets.items():
        seen = np.stack([preprocess_image(film.gray, model.card.preprocess) for film in films_of])
        warned = [
            bool(
                check.list_warnings(
                    SimpleNamespace(image=image, width_px=film.width, height_px=film.height, colour=film.colour)
                )
            )
            for image, film in zip(seen, films_of, strict=True)
        ]
        ids = [row.patient_id for row in tests] if films_of is films else [str(n) for n in range(len(seen))]
        share = average_images({"warned": [*map(float, warned)]}, ids, 2000, 0)["warned"]
        own, deep = check.measure(seen), network(get_features(model, seen))
        passed, deep_passed = (own <= 1).mean(), (deep <= np.quantile(known[2], 0.95)).mean()
        print(
            f"| {name} | {len(seen)} | {share.value:.3f} ({share.low:.3f}-{share.high:.3f}) | {passed:.2f} |"
            f" {compare(known[1], own):.3f} | {deep_passed:.2f}, {compare(known[2], deep):.2f} |"
        )


def to_film(picture: NDArray[np.uint8]) -> Decoded:
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if picture.ndim == 3 else picture
    return Decoded(
        np.ascontiguousarray(gray, np.uint8), picture.shape[1], picture.shape[0], "", colour=measure_colour(picture)
    )


def get_features(model, images):  # type: ignore[no-untyped-def]
    return np.concatenate([model.run(images[n : n + 64]).features for n in range(0, len(images), 64)]).astype(float)


def fit_features(features, labels):  # type: ignore[no-untyped-def]
    """Return the Mahalanobis distance to the nearest class mean, with a shared covariance (Lee et al. 2018)."""
    means = np.stack([features[labels == k].mean(axis=0) for k in np.unique(labels)])
    values, vectors = np.linalg.eigh(ledoit_wolf(features - means[labels], assume_centered=True)[0])
    whitening = vectors / np.sqrt(np.maximum(values, 1e-12))
    return lambda rows: np.min([np.linalg.norm((rows - mean) @ whitening, axis=1) for mean in means], axis=0)


def compare(low: Floats, high: Floats) -> float:
    return float((high[:, None] > low[None]).mean() + (high[:, None] == low[None]).mean() / 2)


if __name__ == "__main__":
    named = dict(argument.split("=", 1) for argument in sys.argv[4:])
    main(*map(Path, sys.argv[1:4]), {name: Path(place) for name, place in named.items()})
