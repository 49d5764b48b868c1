r"""Measure what a backbone costs: parameters, multiply-adds, layers, and the time of one image.

Reads nothing; writes one JSON. Parameters and multiply-adds are exact; the time is that of the machine it names.

    python scripts/profile_backbone.py --backbone resnet34 --size-px 256 --settings '{"repeats": 30}' --threads 2 \
        --profile resnet34.json
"""

from pathlib import Path

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.settings import ProfileSettings
from cxrflow.config.stages import run_stage
from cxrflow.files.atomic import write_json
from cxrflow.models.cost import profile_backbone
from cxrflow.models.devices import choose_device, prepare_process


def profile(
    *, backbone: str, size_px: int, settings: ProfileSettings, device: str = "auto", threads: int, profile: Path
) -> None:
    """Write the cost of one backbone.

    backbone: a name in scripts/cxrflow/config/backbones.py
    size_px: side of the square image, px
    settings: number of timed passes, as JSON.
    device: auto (a GPU if there is one), cpu or cuda
    threads: CPU threads
    profile: JSON to write
    """
    prepare_process(threads)
    cost = profile_backbone(backbone, size_px, choose_device(device), settings.repeats, threads)
    write_json(profile, cost)
    latency = cost["latency_ms"]
    print(
        f"{BACKBONES[backbone].title} at {size_px} px: {cost['params'] / 1e6:.2f} M parameters, "
        f"{cost['gmac']:.3f} GMAC per image, {cost['layers']} layers; "
        f"one image on {cost['device_name']} ({threads} threads): {latency['median']:.1f} ms "
        f"({latency['low']:.1f}-{latency['high']:.1f})"
    )


if __name__ == "__main__":
    run_stage(profile)
