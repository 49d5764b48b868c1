r"""Choose the best settings of a finished search, by macro F1 on validation at its last rung.

Reads all of its trial files; writes best.json and a picture. Checkpoints of the search are then removed. The study
trains what was found anew, with seeds that the search has not seen, and reports those scores alone.

    python scripts/choose_settings.py --trials results/lungs/tune/tuned/trials/*.json --resume resume \
        --preprocess '{}' --train '{}' --picture tuning.png \
        --tune '{"dataset": "covid", "backbone": "resnet34", "rungs": [8], "space": {"batch_size": [16, 32]}}' \
        --best best.json
"""

import shutil
from pathlib import Path

from cxrflow.config.settings import PreprocessSettings, TrainSettings, TuneSettings
from cxrflow.config.stages import Output, run_stage
from cxrflow.config.tuning import Base, parse_space
from cxrflow.files.atomic import write_json
from cxrflow.report.figures_tuning import draw_tuning
from cxrflow.select.tuning import choose_settings, describe_trials, measure_importance, read_answers


def choose_study_settings(
    *,
    tune: TuneSettings,
    preprocess: PreprocessSettings,
    train: TrainSettings,
    trials: list[Path],
    resume: Path,
    picture: Output,
    best: Output,
) -> None:
    """Write the best settings.

    tune: the search, as JSON.
    preprocess: the study's preprocessing, as JSON.
    train: the study's training, as JSON.
    trials: the trial files of all generations
    resume: folder of the search's checkpoints, removed at the end
    picture: PNG file to write
    best: JSON file to write
    """
    answers = read_answers(trials)
    found = choose_settings(answers, len(tune.rungs))
    base: Base = {"preprocess": preprocess, "train": train}
    draw_tuning(answers, parse_space(tune, base), measure_importance(tune, base, answers), picture)
    write_json(best, {**found, "trials": describe_trials(answers)})
    shutil.rmtree(resume, ignore_errors=True)
    print(f"trial {found['trial']}, validation macro F1 {found['value']:.4f}: {found['parameters']}")


if __name__ == "__main__":
    run_stage(choose_study_settings)
