r"""Measure what a backbone costs: parameters, multiply-adds, layers, the time of one image, and images per second.

Reads nothing; writes one JSON. Parameters and multiply-adds are exact; times are those of the machine it names.
Training and inference are measured for a few seconds on random images, by the code that does both in a study.

    python scripts/profile_backbone.py --backbone resnet34 --size-px 256 --batch-size 32 --precision float32 \
        --settings '{"repeats": 30}' --device cuda --threads 2 --profile resnet34.json
"""

from cxrflow.config.stages import Output, importing_much, run_stage

with importing_much():
    from cxrflow.config.backbones import BACKBONES
    from cxrflow.config.settings import ProfileSettings
    from cxrflow.files.atomic import write_json
    from cxrflow.files.formats import KINDS
    from cxrflow.models.cost import measure_speed, profile_backbone
    from cxrflow.models.devices import choose_device, prepare_process


def profile(
    *,
    backbone: str,
    size_px: int,
    batch_size: int,
    precision: str = "float32",
    settings: ProfileSettings,
    device: str = "auto",
    threads: int,
    profile: Output,
) -> None:
    """Write the cost of one backbone.

    backbone: a name in scripts/cxrflow/config/backbones.py
    size_px: side of the square image, px
    batch_size: images per step of the training that is measured
    precision: of that training: float32 or bfloat16
    settings: number of timed passes, as JSON.
    device: auto (a GPU if there is one), cpu or cuda
    threads: CPU threads
    profile: JSON to write
    """
    prepare_process(threads)
    found = choose_device(device)
    cost = profile_backbone(backbone, size_px, found, settings.repeats, threads)
    cost |= measure_speed(backbone, size_px, batch_size, precision, found, threads)
    write_json(profile, cost)
    latency = cost["latency_ms"]
    print(
        f"{BACKBONES[backbone].title} at {size_px} px: {cost['params'] / 1e6:.2f} M parameters, "
        f"{cost['gmac']:.3f} GMAC per image, {cost['layers']} layers; on {cost['device_name']} ({threads} threads): "
        f"one image {KINDS['amount'].show_interval(latency['median'], latency['low'], latency['high'])} ms, "
        f"training {cost['training']['images_per_s']:.1f} images/s, "
        f"inference {cost['inference']['images_per_s']:.1f} images/s (batches of {cost['training']['batch_size']})"
    )


if __name__ == "__main__":
    run_stage(profile)
