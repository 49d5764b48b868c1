"""What a study goes without: datasets that are left out, models that are not finished, and why."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cxrflow.config.layout import Layout, ModelId
from cxrflow.config.loading import load_study
from cxrflow.config.missing import list_missing, list_models, name_shared_jobs, read_error
from cxrflow.config.study import Study
from cxrflow.errors import CxrflowError

FIRST, SECOND = ModelId("first", "resnet34"), ModelId("second", "resnet34")
MOVED = ModelId("second", "resnet34", "from_first")


def study(**config: Any) -> Study:
    datasets = {name: {"reader": "folders", "folder": name} for name in ("first", "second")}
    transfer = {"second": {"init": "from_first", "backbone": "resnet34"}}
    return load_study({"study": "s", "datasets": datasets, "backbones": ["resnet34"], "transfer": transfer, **config})


def finish(layout: Layout, model: ModelId) -> None:
    files = [layout.index(model.dataset), layout.split(model.dataset)]
    files += [layout.model_file(model, name) for name in ("model.pt", "predictions.csv", "metrics.json")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_a_dataset_is_left_out_with_its_models_and_those_that_start_from_it() -> None:
    assert study().models() == [FIRST, SECOND, MOVED]
    assert study(leave_out=["first"]).models() == [SECOND]
    assert study(leave_out=["second"]).models() == [FIRST]
    assert study(leave_out=["first"]).datasets() == ["second"]


@pytest.mark.parametrize(
    ("leave_out", "words"), [(["thrid"], "'thrid' is not known"), (["first", "second"], "every dataset is left out")]
)
def test_what_cannot_be_left_out_is_named(leave_out: list[str], words: str) -> None:
    with pytest.raises(CxrflowError, match=words):
        study(leave_out=leave_out)


def test_unfinished_models_are_missing_with_the_error_of_what_stopped_them(tmp_path: Path) -> None:
    layout, partial = Layout(tmp_path), study(leave_out=["unfinished"])
    for model in (FIRST, SECOND, MOVED):
        finish(layout, model)
    assert list_models(partial, layout) == [FIRST, SECOND, MOVED]
    assert list_missing(partial, layout, [FIRST, SECOND, MOVED]) == {}
    layout.split("first").unlink()
    log = layout.split("first").with_suffix(".log")
    log.write_text("warning: odd\nerror: class 'b' is too small to split: add images.\nmore\n")
    assert list_models(partial, layout) == [SECOND], "what starts from an unfinished dataset is not finished either"
    why = f"class 'b' is too small to split: add images. See {log}"
    assert list_missing(partial, layout, [SECOND]) == {FIRST: why, MOVED: why}
    layout.model_file(SECOND, "metrics.json").unlink()
    assert list_missing(partial, layout, [])[SECOND] == f"{layout.model_file(SECOND, 'metrics.json')} is not there yet"
    left_out = study(leave_out=["first"])
    assert list_missing(left_out, layout, [SECOND])[MOVED] == f"first is left out ({why})"


def test_an_old_error_of_a_stage_that_has_succeeded_since_is_no_reason(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    finish(layout, FIRST)
    layout.index("first").with_suffix(".log").write_text("error: long ago\n")
    layout.model_file(FIRST, "model.pt").unlink()
    layout.model_file(FIRST, "train.log").write_text("Traceback:\n  File x\ntorch.OutOfMemoryError: 3 GiB\n")
    (why,) = (each for model, each in list_missing(study(), layout, [SECOND, MOVED]).items() if model == FIRST)
    assert why.startswith("torch.OutOfMemoryError: 3 GiB See ")


@pytest.mark.parametrize("text", ["", "all well\n", "no error: here\n"])
def test_a_log_without_an_error_gives_no_reason(tmp_path: Path, text: str) -> None:
    (tmp_path / "log").write_text(text)
    assert read_error(tmp_path / "log") == read_error(tmp_path / "no log") == ""


def test_models_share_slurm_jobs_and_what_starts_from_others_is_in_later_ones() -> None:
    whole = study(seeds=[0, 1], compute={"trainings_per_job": 3})
    models = whole.models()
    shared = name_shared_jobs(whole, models)
    jobs = {model: shared["train", model] for model in models}
    assert max(Counter(jobs.values()).values()) == 3
    later = {jobs[model] for model in models if model.init.startswith("from_")}
    assert later
    assert not later & {jobs[model] for model in models if not model.init.startswith("from_")}
    assert all(shared["evaluate", model] == job != shared["score", model] for model, job in jobs.items())
    assert not name_shared_jobs(study(), models)
