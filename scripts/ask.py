r"""Ask the settings that a generation of a search tries, from what the generations before gave.

Reads their trial files; writes one file with a question for each run. Equal files give equal questions.

    python scripts/ask.py --generation 0 --trials --asked generation0.json --preprocess '{}' --train '{}' \
        --tune '{"dataset": "covid", "backbone": "resnet34", "rungs": [8], "space": {"batch_size": [16, 32]}}'
"""

from pathlib import Path

from cxrflow.config.settings import PreprocessSettings, TrainSettings, TuneSettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.config.tuning import Base
from cxrflow.files.atomic import write_json
from cxrflow.select.tuning import ask_generation, read_answers


def ask_settings(
    *,
    tune: TuneSettings,
    preprocess: PreprocessSettings,
    train: TrainSettings,
    generation: str,
    trials: list[Path],
    asked: Output,
) -> None:
    """Ask a generation's settings.

    tune: the search, as JSON.
    preprocess: the study's preprocessing, as JSON.
    train: the study's training, as JSON.
    generation: which one, from 0
    trials: the trial files of all generations before
    asked: JSON file to write
    """
    base: Base = {"preprocess": preprocess, "train": train}
    questions = ask_generation(tune, base, int(generation), read_answers(trials))
    write_json(asked, questions)
    for question in questions:
        trial, epochs, parameters = (question[key] for key in ("trial", "epochs", "parameters"))
        print(f"run {question['run']}: trial {trial}, {epochs} epochs, {parameters}")


if __name__ == "__main__":
    run_stage(ask_settings)
