r"""Measure what a backbone costs: parameters, multiply-adds, layers, the time of one X-ray, and images per second.

Reads nothing; writes one JSON. Parameters and multiply-adds are exact; times are those of the machine it names. The
time of one X-ray is that of a delivered network, from the file to the answer, on one CPU core, and of each form in
which several may be delivered together. Training and inference are measured for a few seconds on random images, by the
code that does both in a study.

    python scripts/profile_backbone.py --backbone resnet34 --preprocess '{"size_px": 256}' --batch-size 32 \
        --precision float32 --forms 1 1/flip 3 3/flip --settings '{"repeats": 30}' --device cuda --threads 2 \
        --profile resnet34.json
"""

import platform

from cxrflow.config.stages import Output, importing_much, run_stage

with importing_much():
    import torch

    from cxrflow.config.backbones import BACKBONES
    from cxrflow.config.layout import FLIP
    from cxrflow.config.settings import PreprocessSettings, ProfileSettings
    from cxrflow.deliver.timing import time_answers
    from cxrflow.files.atomic import write_json
    from cxrflow.files.formats import KINDS
    from cxrflow.files.timings import describe_times
    from cxrflow.models.cost import N_CLASSES, count_cost, measure_speed
    from cxrflow.models.devices import choose_device, describe_device, prepare_process
    from cxrflow.models.networks import build_network, fit_to_size, list_versions


def profile(
    *,
    backbone: str,
    preprocess: PreprocessSettings,
    batch_size: int,
    precision: str = "float32",
    forms: list[str],
    settings: ProfileSettings,
    device: str = "auto",
    threads: int,
    profile: Output,
) -> None:
    """Write the cost of one backbone.

    backbone: a name in scripts/cxrflow/config/backbones.py
    preprocess: resizing, equalization and blur, as JSON
    batch_size: images per step of the training that is measured
    precision: of that training: float32 or bfloat16
    forms: how many networks answer, "/flip" where for the mirror image, too; "1" is one of them
    settings: number of timed answers, as JSON.
    device: auto (a GPU if there is one), cpu or cuda
    threads: CPU threads
    profile: JSON to write
    """
    prepare_process(threads)
    found = choose_device(device)
    cost = count_cost(backbone, preprocess.size_px)
    cost |= measure_speed(backbone, preprocess.size_px, batch_size, precision, found, threads)
    cost["latency_ms"] = {form: describe_times(time_form(form, backbone, preprocess, settings)) for form in forms}
    cost |= {"repeats": settings.repeats, "cpu": describe_device(torch.device("cpu")), "host": platform.node()}
    cost["versions"] = list_versions(backbone)
    write_json(profile, cost)
    latency, speed = cost["latency_ms"]["1"], cost["training"]
    print(
        f"{BACKBONES[backbone].title} at {preprocess.size_px} px: {cost['params'] / 1e6:.2f} M parameters, "
        f"{cost['gmac']:.3f} GMAC per image, {cost['layers']} layers; "
        f"one X-ray {KINDS['amount'].show_interval(latency['median'], latency['low'], latency['high'])} ms of a core of"
        f" {cost['cpu']}; on {speed['device_name']} ({threads} threads): training {speed['images_per_s']:.1f} images/s,"
        f" inference {cost['inference']['images_per_s']:.1f} images/s (batches of {speed['batch_size']})"
    )


def time_form(form: str, backbone: str, preprocess: PreprocessSettings, settings: ProfileSettings) -> list[float]:
    """Return the milliseconds of each answer by new networks in one graph, of a form, `CandidateId.form`.

    Each has weights of its own: ONNX Runtime would compute equal networks once.
    """
    networks = [
        fit_to_size(build_network(backbone, N_CLASSES, 0.1, seed), backbone, preprocess.size_px).eval()
        for seed in range(int(form.removesuffix(FLIP)))
    ]
    return time_answers(networks, backbone, preprocess, settings.repeats, flip=form.endswith(FLIP))


if __name__ == "__main__":
    run_stage(profile)
