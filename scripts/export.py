"""Export a trained model to one file that reads new X-rays without PyTorch.

Reads model.pt (checked against model.pt.sha256) and, if it is there, training.json; writes model.onnx with the class
names, the preprocessing and the model's origin inside. The export is compared with PyTorch before it is written.

    python scripts/export.py --model model.pt --training training.json --onnx model.onnx
"""

from pathlib import Path

from cxrflow.config.stages import Output, run_stage
from cxrflow.deliver.exporting import check_export, describe_model, export_model
from cxrflow.files.atomic import write_bytes
from cxrflow.models.checkpoints import load_model
from cxrflow.models.devices import prepare_process


def export(*, model: Path, training: Path | None = None, onnx: Output) -> None:
    """Write one model as ONNX.

    model: model.pt; its checksum lies beside it
    training: training.json of the same training, which names the data it saw
    onnx: model.onnx to write
    """
    prepare_process(threads=1)
    saved = load_model(model)
    card = describe_model(saved, model, training)
    content = export_model([saved], card)
    difference = check_export(content, [saved], onnx)
    write_bytes(onnx, content)
    print(f"{card.name}, epoch {card.epoch}: {', '.join(card.class_names)}")
    print(f"{onnx}: {len(content) / 2**20:.1f} MiB, opset {card.opset}, equal to PyTorch to {difference:.1e}")


if __name__ == "__main__":
    run_stage(export)
