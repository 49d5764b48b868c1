"""Estimates from result folders whose answers are known by hand; what was never measured has none."""

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrflow.errors import CxrflowError
from cxrflow.operate.dry_run import Job
from cxrflow.operate.estimate import Estimate, Known, NotMeasured, estimate_jobs
from cxrflow.operate.image_counts import count_all, count_images
from cxrflow.operate.measurements import find_studies, read_benchmark, read_measurements
from tests.operate.measured import make_study, train_job, write_benchmark, write_index, write_training

INDEX = Job(2, "index", outputs=("index.csv",), wildcards={"dataset": "covid"})
EVALUATE = train_job(3, rule="evaluate")


def estimate(job: Job, known: Known) -> Estimate:
    found = estimate_jobs([job], known)[job.jobid]
    assert isinstance(found, Estimate), found
    return found


@pytest.mark.parametrize("job", [train_job(), INDEX, EVALUATE, train_job(rule="score")])
def test_what_was_never_measured_has_no_estimate(know: Callable[..., Known], job: Job) -> None:
    assert estimate_jobs([job], know()) == {job.jobid: NotMeasured("never measured")}


def test_a_training_scales_with_images_epochs_and_pixels(results: Path, know: Callable[..., Known]) -> None:
    write_training(results / "other", train_s=0.1, val_s=0.02, size_px=64, startup_s=5)
    found = estimate(train_job(), know())
    assert found.seconds == pytest.approx(4 * (210 * 0.1 + 45 * 0.02) * (128 / 64) ** 2 + 5)
    assert found.low == found.high == found.seconds
    assert "x 4 for pixels, 64 to 128 px" in found.basis.remarks[0]
    assert "errs high" in found.basis.remarks[0]
    assert found.basis.places == "Some CPU on node1"
    assert found.basis.measured == "1 training of other"


def test_an_evaluation_runs_at_the_speed_of_validation(results: Path, know: Callable[..., Known]) -> None:
    write_training(results / "other", val_s=0.02, size_px=128, startup_s=5)
    assert estimate(EVALUATE, know()).seconds == pytest.approx(45 * 0.02 + 5)


def test_several_trainings_give_the_median_and_the_spread(results: Path, know: Callable[..., Known]) -> None:
    for seed, train_s in enumerate((0.1, 0.2, 0.6)):
        write_training(results / "other", train_s=train_s, val_s=0, size_px=128, startup_s=0, seed=seed)
    found = estimate(train_job(), know())
    assert [found.low, found.seconds, found.high] == pytest.approx([84, 168, 504])
    assert found.basis.spread == "1.67 to 10 images/s"


def test_the_nearest_size_is_taken(results: Path, know: Callable[..., Known]) -> None:
    write_training(results / "far", train_s=9, size_px=32)
    write_training(results / "near", train_s=0.1, size_px=128)
    assert estimate(train_job(), know()).basis.measured == "1 training of near"


def test_this_study_comes_before_others(results: Path, know: Callable[..., Known]) -> None:
    write_training(results / "other", size_px=128)
    write_training(results / "new", size_px=128)
    assert estimate(train_job(), know()).basis.measured == "1 training of new"


def test_another_device_is_said(results: Path, know: Callable[..., Known]) -> None:
    write_training(results / "other", size_px=128)
    assert not estimate(train_job(), know()).basis.is_other_device
    on_gpu = estimate(train_job(), know(compute={"device": "cuda"}))
    assert on_gpu.basis.is_other_device
    assert "measured on cpu, and cuda will compute: ANOTHER DEVICE" in on_gpu.basis.remarks
    asked = estimate(train_job(resources={"gpu": 1}), know(compute={"device": "auto"}))
    assert asked.basis.is_other_device, "auto takes the GPU that the job asks for"
    unknown = estimate(train_job(), know(compute={"device": "auto"}))
    assert "device is auto: holds where cpu computes again" in unknown.basis.remarks


def test_as_many_gpus_come_before_the_same_size_and_another_number_is_said(
    results: Path, know: Callable[..., Known]
) -> None:
    write_training(results / "alone", size_px=128)
    together = {"device": "cpu", "gpus": 2}
    assert (
        "compute.gpus: 1 there, 2 here; the time is not divided by them"
        in estimate(train_job(), know(compute=together)).basis.remarks
    )
    write_training(results / "together", size_px=64, gpus=2)
    assert estimate(train_job(), know(compute=together)).basis.measured == "1 training of together"
    assert estimate(train_job(), know()).basis.measured == "1 training of alone"


def test_an_interrupted_training_tells_no_startup(results: Path, know: Callable[..., Known]) -> None:
    write_training(results / "other", train_s=0.1, val_s=0, size_px=128, startup_s=-15)  # the last attempt was short
    found = estimate(train_job(), know())
    assert found.seconds == pytest.approx(4 * 210 * 0.1)
    assert "start-up not measured" in found.basis.remarks


def test_index_scales_with_images_of_the_same_reader(results: Path, know: Callable[..., Known]) -> None:
    write_index(results / "other", "covid_radiography", {"a": 30, "b": 20}, seconds=5)
    assert estimate(INDEX, know()).seconds == pytest.approx(300 * 5 / 50)
    write_index(results / "other", "nih", {"a": 30, "b": 20}, seconds=5)
    assert estimate_jobs([INDEX], know()) == {2: NotMeasured("never measured")}


def test_drawn_images_say_nothing_of_real_ones(results: Path, know: Callable[..., Known]) -> None:
    write_index(results / "other", "covid_radiography", {"a": 50}, seconds=5)
    (results / "other" / "phantoms").mkdir()
    (results / "other" / "phantoms" / "manifest.json").write_text(json.dumps({"settings": {"size_scale": 0.25}}))
    assert estimate_jobs([INDEX], know()) == {2: NotMeasured("never measured")}
    assert isinstance(estimate_jobs([INDEX], know(phantoms={"size_scale": 0.25}))[2], Estimate)
    assert isinstance(estimate_jobs([INDEX], know(phantoms={"size_scale": 0.5}))[2], NotMeasured)


def test_snakemakes_records_tell_what_keeps_no_table(results: Path, know: Callable[..., Known]) -> None:
    metrics = write_training(results / "other") / "metrics.json"
    metrics.write_text("{}")
    record = (
        results.parent
        / ".snakemake/metadata"
        / urlsafe_b64encode(os.fsencode(metrics.relative_to(results.parent))).decode()
    )
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"rule": "score", "starttime": 100.0, "endtime": 103.5}))
    assert estimate(train_job(rule="score"), know()).seconds == 3.5
    record.write_text('{"rule": "score", "start')  # a running Snakemake is writing it
    assert isinstance(estimate_jobs([train_job(rule="score")], know())[1], NotMeasured)


def test_images_are_counted_or_published_and_capped_or_unknown(results: Path) -> None:
    capped = count_images(make_study(), "covid")
    assert capped is not None
    assert (capped.total, capped.subsets) == (300, {"train": 210, "val": 45, "test": 45})
    whole = count_images(make_study(index={}), "covid")
    assert whole is not None
    assert whole.total == 3616 + 10192 + 1345
    own = make_study(datasets={"covid": {"reader": "folders", "folder": "covid"}})
    assert count_images(own, "covid") is None
    write_index(results / "new", "folders", {"a": 7, "b": 3}, seconds=1)
    (results / "new/data/covid/split.csv").write_text("image_id,subset\n1,train\n2,train\n3,test\n")
    counted = count_images(own, "covid")
    assert counted is not None
    assert (counted.total, counted.subsets) == (10, {"train": 2, "val": 0, "test": 1})


def test_drawn_images_are_counted_as_phantom_draws_them(results: Path) -> None:
    phantoms = {"images_per_class": 20, "images_per_class_of": {"xray8": 12}}
    datasets = {
        "covid": {"reader": "covid_radiography", "folder": "covid"},
        "chest": {"reader": "nih", "folder": "xray8"},
    }
    study = make_study(datasets=datasets, phantoms=phantoms, transfer={})
    totals = {name: counts.total for name, counts in count_all(study, datasets).items()}
    assert totals == {"covid": 3 * 20, "chest": 7 * 12}


def test_an_unknown_number_of_images_has_no_estimate(results: Path, know: Callable[..., Known]) -> None:
    write_training(results / "other")
    found = estimate_jobs([train_job()], know(datasets={"covid": {"reader": "folders", "folder": "covid"}}))[1]
    assert isinstance(found, NotMeasured)
    assert "before index has run" in found.reason


def test_a_benchmark_without_a_time_is_no_measurement(tmp_path: Path) -> None:
    write_benchmark(tmp_path / "a.tsv", "NA")
    assert read_benchmark(tmp_path / "a.tsv") is None
    assert read_benchmark(tmp_path / "b.tsv") is None


def test_wrong_folders_and_old_files_are_named(results: Path) -> None:
    with pytest.raises(CxrflowError, match="no results of a study"):
        find_studies([results], results / "new")
    folder = write_training(results / "other")
    (folder / "training.json").write_text('{"n_train": 3}')
    with pytest.raises(CxrflowError, match=r"training\.json lacks device, device_name"):
        read_measurements([results / "other"])
