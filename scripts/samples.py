r"""Draw the data of one dataset: samples of every class, and what each step of preprocessing does.

Reads index.csv, images.npy and the files of three images; writes two PNG files.

    python scripts/samples.py --folder data/covid --index index.csv --images images.npy --settings '{}' \
        --preprocess '{"size_px": 256}' --title "COVID-19 Radiography" \
        --samples samples.png --before-after before_after.png
"""

from pathlib import Path

from cxrflow.config.settings import PreprocessSettings, SamplesSettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.data.images import open_images
from cxrflow.data.samples import choose_examples, choose_samples, draw_samples, draw_steps
from cxrflow.files.figures import save_figure
from cxrflow.files.records import IndexRow
from cxrflow.files.tables import read_records


def draw_dataset(
    *,
    folder: Path,
    index: Path,
    images: Path,
    settings: SamplesSettings,
    preprocess: PreprocessSettings,
    samples: Output,
    before_after: Output,
    title: str,
) -> None:
    """Draw one dataset.

    folder: the dataset's folder
    index: index.csv of the dataset
    images: images.npy of the dataset
    settings: how many images are shown, as JSON.
    preprocess: how images.npy was made, as JSON.
    samples: PNG to write, samples by class
    before_after: PNG to write, three images step by step
    title: the dataset's name, shown above the figures
    """
    packed = open_images(images)
    here = {row.image_id for row in packed.rows}  # the test images are packed apart, and are not shown
    rows = packed.join([row for row in read_records(index, IndexRow) if row.image_id in here])
    chosen = choose_samples(rows, settings.images_per_class, settings.seed)
    packed.check(number for numbers in chosen.values() for number in numbers)
    save_figure(draw_samples(packed.pixels, rows, chosen, title), samples)
    examples = [rows[number] for number in choose_examples(chosen)]
    save_figure(draw_steps(folder, examples, preprocess, title), before_after)
    n_drawn = sum(len(numbers) for numbers in chosen.values())
    print(f"drew {n_drawn} samples of {len(chosen)} classes, and {len(examples)} images step by step")


if __name__ == "__main__":
    run_stage(draw_dataset)
