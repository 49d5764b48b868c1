r"""Turn a file of pretrained weights into what models of this study start from.

Reads the file that the config names under `weights`, fetched where it is missing and has a url, and checked by its
SHA-256; writes weights/<name>.pth with its checksum. Never runs code in the file.

    python scripts/convert_weights.py --name medmae --settings '{"file": "medmae.safetensors", ...}' \
        --folder data/weights --weights results/lungs/weights/medmae.pth
"""

from pathlib import Path

from cxrflow.config.stages import Output, importing_much, leave_on_sigterm, run_stage

with importing_much():
    from cxrflow.config.settings import WeightsSettings
    from cxrflow.models.checkpoints import save_checked
    from cxrflow.models.converting import convert_weights, read_tensors
    from cxrflow.models.weights import fetch_file


def convert(*, name: str, settings: WeightsSettings, folder: Path, weights: Output) -> None:
    """Write the weights of one entry of the config.

    name: of the entry
    settings: the entry, as JSON.
    folder: weights_root, which studies share
    weights: file to write
    """
    leave_on_sigterm()
    source = folder / settings.file
    if settings.url:
        fetch_file(settings.url, source, settings.sha256)
    tensors = convert_weights(read_tensors(source, settings), settings, source)
    save_checked(weights, {"name": name, "backbone": settings.backbone, "head": settings.head, "state_dict": tensors})
    n_values = sum(tensor.numel() for tensor in tensors.values())
    print(f"{weights}: {len(tensors)} tensors, {n_values / 1e6:.2f} M values, as {settings.backbone} without its head")


if __name__ == "__main__":
    run_stage(convert)
