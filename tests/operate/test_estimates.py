"""Estimates whose answers are known by hand; what was never measured, or on another kind of device, has none."""

import json
from pathlib import Path
from typing import Any

import pytest

from cxrflow.operate.estimates import (
    NEVER,
    NO_COUNT,
    NO_RATE,
    Estimator,
    JobTime,
    count_images,
    read_benchmark,
)
from cxrflow.operate.jobs import Job
from tests.operate.conftest import make_study, model_job, write, write_profile, write_record, write_training

INDEX = Job("index", outputs=("results/new/data/covid/index.csv",), wildcards={"dataset": "covid"})
ON_GPU = {"resources": {"device": "cuda", "gpu": 1}}

pytestmark = pytest.mark.usefixtures("folder")


def estimate(job: Job, has_gpu: bool = False, **changes: Any) -> JobTime:
    return Estimator(make_study(**changes), has_gpu=has_gpu).estimate(job)


def seconds(job: Job, **changes: Any) -> float:
    found = estimate(job, **changes)
    assert found.seconds is not None, found
    return found.seconds


def write_index(study: str, reader: str, n: int, seconds: float) -> None:
    write(Path(f"results/{study}/data/covid/index.json"), json.dumps({"reader": reader, "counts": {"a": n}}))
    write_record(f"results/{study}/data/covid/index.csv", "index", seconds)


def test_what_was_never_measured_has_no_estimate() -> None:
    assert estimate(model_job()) == estimate(model_job("evaluate")) == JobTime(None, NO_RATE)
    assert estimate(model_job("score")) == estimate(INDEX) == JobTime(None, NEVER)


def test_a_training_takes_its_epochs_at_the_rates_that_profile_backbone_measured() -> None:
    write_profile()
    assert seconds(model_job()) == pytest.approx(4 * (210 / 20 + 45 / 80))
    assert seconds(model_job("evaluate")) == pytest.approx((45 + 45) / 80)
    assert estimate(model_job()).source == "profile_backbone on Some CPU"


def test_precise_statistics_take_as_long_as_inference() -> None:
    precise = {"epochs": 4, "batch_size": 16, "precise_batch_norm_images": 64}
    write_profile()
    assert seconds(model_job(), train=precise) == pytest.approx(4 * (210 / 20 + (45 + 64) / 80))
    write_training(infer=50.0, settings={"precision": "float32", **precise})  # 100 train and 10 validation images
    assert seconds(model_job("evaluate"), train=precise) == pytest.approx((45 + 45) / (50 * (10 + 64) / 10))


def test_rates_of_a_cpu_say_nothing_of_a_gpu() -> None:
    """A GPU study was planned as 33 days by the rates of a demo on a CPU."""
    write_profile()
    write_training()
    assert estimate(model_job(**ON_GPU)) == estimate(model_job("evaluate", **ON_GPU)) == JobTime(None, NO_RATE)
    write_profile(device="cuda")
    assert seconds(model_job(**ON_GPU)) == pytest.approx(4 * (210 / 20 + 45 / 80))


@pytest.mark.parametrize(
    "change", [{"batch_size": 32}, {"size_px": 64}, {"precision": "bfloat16"}, {"device": "cuda"}, {"study": "other"}]
)
def test_rates_of_another_load_or_study_are_not_taken(change: dict[str, Any]) -> None:
    write_profile(**change)
    assert estimate(model_job()) == JobTime(None, NO_RATE)


def test_inference_is_measured_in_float32_whatever_the_training_is() -> None:
    write_profile(precision="float32")
    training = {"epochs": 4, "batch_size": 16, "precision": "bfloat16"}
    assert estimate(model_job(), train=training) == JobTime(None, NO_RATE)
    path = Path("results/new/backbones/resnet34.json")
    write(path, path.read_text().replace("float32", "bfloat16", 1))
    assert seconds(model_job(), train=training) > 0


def test_a_profile_without_rates_is_not_a_measurement() -> None:
    write(Path("results/new/backbones/resnet34.json"), '{"params": 1000, "latency_ms": {"median": 3}}')
    assert estimate(model_job()) == JobTime(None, NO_RATE)


def test_finished_trainings_of_the_study_come_before_the_profile() -> None:
    write_profile()
    write_training(train=10, infer=50)
    write_training(train=30, infer=50, seed=1)
    assert seconds(model_job(), seeds=[0, 1]) == pytest.approx(4 * (210 / 20 + 45 / 50)), "the median of 10 and 30"
    assert estimate(model_job()).source == "1 finished training(s) on Some CPU"


def test_another_number_of_gpus_is_another_load() -> None:
    two = {"resources": {"device": "cuda", "gpu": 2, "processes": 2}}
    write_training(device="cuda", gpus=1)
    assert estimate(model_job(**two)) == JobTime(None, NO_RATE)
    write_training(device="cuda", gpus=2)
    assert seconds(model_job(**two)) > 0
    write_training(gpus=2)
    assert seconds(model_job(resources={"device": "cpu", "gpu": 0, "processes": 2})) > 0, "two processes on the CPU"


def test_the_device_auto_is_a_gpu_where_there_is_one() -> None:
    write_profile()
    auto = model_job(resources={"device": "auto", "gpu": 1})
    assert estimate(auto).seconds
    assert estimate(auto, has_gpu=True) == JobTime(None, NO_RATE)


def test_index_takes_as_long_an_image_as_the_same_reader_took() -> None:
    write_index("other", "covid_radiography", 50, seconds=5)
    assert seconds(INDEX) == pytest.approx(300 * 5 / 50)
    assert estimate(INDEX, phantoms={}).seconds is None, "real images say nothing of synthetic ones"
    write_index("other", "nih", 50, seconds=5)
    assert estimate(INDEX) == JobTime(None, NEVER)


def test_other_jobs_take_as_long_as_they_took_here_else_elsewhere() -> None:
    for study, took_s in (("other", 9.0), ("new", 3.5)):
        write_record(model_job("score").outputs[0].replace("/new/", f"/{study}/"), "score", took_s)
        assert seconds(model_job("score")) == took_s
    write(Path(model_job("score").outputs[0]).with_name("score.tsv"), "s\th:m:s\n2.5\t0:00:02\n")
    assert seconds(model_job("score")) == 2.5, "a table of Snakemake's benchmark does not count the wait in a queue"
    write_record("elsewhere/a", "score", 1)
    write(Path(".snakemake/metadata/bm9uZQ=="), '{"rule": "score", "start')  # a running Snakemake is writing it
    assert seconds(model_job("score")) == 2.5


def test_a_benchmark_without_a_time_is_not_a_measurement(folder: Path) -> None:
    assert read_benchmark(write(folder / "a.tsv", "s\th:m:s\nNA\tNA\n")) is None
    assert read_benchmark(folder / "b.tsv") is None


def test_images_are_counted_or_published_and_capped_or_unknown() -> None:
    capped, whole = count_images(make_study(), "covid"), count_images(make_study(index={}), "covid")
    assert capped is not None
    assert whole is not None
    assert (capped.total, capped.subsets) == (300, {"train": 210, "val": 45, "test": 45})
    assert whole.total == 3616 + 10192 + 1345
    own = make_study(datasets={"covid": {"reader": "folders", "folder": "covid"}})
    assert count_images(own, "covid") is None
    assert Estimator(own, has_gpu=False).estimate(model_job()) == JobTime(None, NO_COUNT)
    write_index("new", "folders", 10, seconds=1)
    head = "image_id,label,patient_id,group,subset,decided_by\n"
    write(Path("results/new/data/covid/split.csv"), f"{head}1,a,1,1,train,seed\n2,a,2,2,train,seed\n")
    write(Path("results/new/data/covid/test.csv"), f"{head}3,a,3,3,test,seed\n")
    counted = count_images(own, "covid")
    assert counted is not None
    assert (counted.total, counted.subsets) == (10, {"train": 2, "val": 0, "test": 1})


def test_synthetic_images_are_counted_as_phantom_makes_them() -> None:
    phantoms = {"images_per_class": 20, "images_per_class_of": {"xray8": 12}}
    datasets = {
        "covid": {"reader": "covid_radiography", "folder": "covid"},
        "chest": {"reader": "nih", "folder": "xray8"},
    }
    study = make_study(datasets=datasets, phantoms=phantoms, transfer={})
    found = {name: count_images(study, name) for name in datasets}
    assert {name: count and count.total for name, count in found.items()} == {"covid": 3 * 20, "chest": 7 * 12}


def test_files_of_another_version_are_no_measurements() -> None:
    """They stopped plan and status, though that version's trainings are repeated anyway."""
    write_training()
    folder = Path(model_job().log).parent
    write(folder / "training.json", '{"n_train": 3}')
    assert estimate(model_job()) == JobTime(None, NO_RATE)
    write_training()
    write(folder / "history.csv", "epoch,loss\n1,0.5\n")
    assert estimate(model_job()) == JobTime(None, NO_RATE)
    write(Path("results/other/data/covid/index.json"), json.dumps({"counts": {"a": 50}}))
    write_record("results/other/data/covid/index.csv", "index", 5)
    assert estimate(INDEX) == JobTime(None, NEVER)


def test_a_run_of_a_search_takes_the_epochs_from_its_rung_to_the_next() -> None:
    write_profile()
    search = {"dataset": "covid", "backbone": "resnet34", "generations": 1, "per_generation": 2, "rungs": [1, 4]}
    tune = {"tuned": {**search, "space": {"batch_size": [8, 16]}}}
    jobs = [Job("trial", wildcards={"search": "tuned", "run": f"{i:04d}"}, resources={"device": "cpu"}) for i in (0, 2)]
    epoch_s = seconds(model_job()) / 4
    assert [seconds(job, tune=tune) for job in jobs] == [epoch_s, 3 * epoch_s]
    estimator = Estimator(make_study(tune=tune), has_gpu=True)
    assert not estimator.is_profiled(Job("index"))
    assert estimator.is_profiled(jobs[0])
