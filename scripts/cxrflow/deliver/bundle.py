"""What a delivered folder says about its model: metadata.json, for programs, and README.md, the model card, for people.

metadata.json has the keys of a MONAI bundle (https://docs.monai.io/en/stable/mb_specification.html; newer versions of
its schema call `optional_packages_version` `required_packages_version`, so both are there). README.md begins with the
metadata of a Hugging Face model card (https://huggingface.co/docs/hub/model-cards); its sections are those of Mitchell
et al. 2019, Model Cards for Model Reporting, FAT*.
"""

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import yaml

from cxrflow.config.backbones import BACKBONES
from cxrflow.config.parsing import settings_dict
from cxrflow.config.readers import READERS, Reader
from cxrflow.config.settings import StudySettings
from cxrflow.data.preprocessing import preprocessing_steps
from cxrflow.deliver.delivered import (
    FEATURES,
    INPUT,
    INPUT_MEANING,
    LOGITS,
    MAPS,
    MEMBER_FACTS,
    NOTICE,
    PROBABILITIES,
    DeliveredModel,
    ModelCard,
)
from cxrflow.deliver.packaging import REQUIRED
from cxrflow.files.formats import KINDS

AUTHORS, COPYRIGHT = "The cxrflow developers", "MIT licence, see LICENSE; the images it learned from have owners' terms"
PHANTOMS = (
    "It was trained and tested on synthetic X-rays, drawn by a program. It shows that the workflow works, and knows"
    " nothing about patients."
)
INTENDED = "Research: comparing classifiers, and second readings of images whose diagnosis is known."
NOT_INTENDED = (
    "It is not a medical device. Nothing it says is a diagnosis, and nobody's care should depend on it. It knows"
    " its classes alone: where none of them fits, it may warn or name no class, and it may not. It"
    " does not recognise a lateral view, unless the View Position of a DICOM file says that it is one."
)
LIMITS = (
    "The intervals are 95 % intervals over the patients of one test subset: they do not cover another hospital, another"
    " device, another age group, or errors in the labels."
)


@dataclass(frozen=True)
class Delivery:
    """One delivered model and all that is known about it.

    Attributes:
        card: of the ONNX file.
        reader: of its dataset.
        is_synthetic: it was trained on phantoms.
        training: content of training.json.
        metrics: content of metrics.json, of the test subset.
        reason: why it was chosen.
        grid: rows and columns of its maps, or None: it has none.
    """

    card: ModelCard
    reader: Reader
    is_synthetic: bool
    training: dict[str, Any]
    metrics: dict[str, Any]
    reason: str
    grid: tuple[int, int] | None = None

    @property
    def data_name(self) -> str:
        """The dataset, for people."""
        synthetic = "synthetic X-rays laid out as " if self.is_synthetic else ""
        return f"{synthetic}{self.reader.title}"

    @property
    def data_terms(self) -> str:
        """The dataset's weakness and terms; what is known of the published set does not hold for phantoms."""
        if self.is_synthetic:
            return PHANTOMS
        weakness = f"The dataset {self.reader.caution} " if self.reader.caution else ""
        return f"{weakness}{self.reader.terms}".strip() or "Its terms are its owners'."


def describe_delivery(
    model: DeliveredModel, config: StudySettings, training: dict[str, Any], metrics: dict[str, Any], reason: str
) -> Delivery:
    """Put what is known about a model together."""
    reader = READERS[config.datasets[model.card.dataset].reader]
    return Delivery(model.card, reader, config.phantoms is not None, training, metrics, reason, model.grid)


def write_bundle(delivery: Delivery) -> dict[str, bytes]:
    """Return metadata.json and README.md, {path in the folder: content}."""
    metadata = json.dumps(make_metadata(delivery), indent=2, ensure_ascii=False, allow_nan=False)
    return {"metadata.json": f"{metadata}\n".encode(), "README.md": write_card(delivery).encode()}


def make_metadata(delivery: Delivery) -> dict[str, Any]:
    """Return the content of metadata.json."""
    card, packages = delivery.card, {name: version(name) for name in REQUIRED}
    return {
        "version": card.cxrflow_version,
        "changelog": {card.cxrflow_version: f"{card.name}, exported by cxrflow"},
        "monai_version": "none",  # it was made without MONAI, whose keys these are
        "pytorch_version": card.torch_version,
        "numpy_version": packages["numpy"],
        "python_version": platform.python_version(),
        "optional_packages_version": packages,
        "required_packages_version": packages,
        "name": card.name,
        "task": f"Classify frontal chest X-rays as {', '.join(card.class_names)}",
        "description": f"{describe_kind(card)}, {describe_training(delivery)} {delivery.reason}",
        "authors": AUTHORS,
        "copyright": COPYRIGHT,
        "intended_use": f"{INTENDED} {NOT_INTENDED}",
        "data_source": f"{delivery.data_name}. {delivery.data_terms}",
        "data_type": "png, jpeg, tiff, dicom and others, read by `run`",
        "image_classes": INPUT_MEANING,
        "pred_classes": card.output,
        "eval_metrics": delivery.metrics,
        "preprocess": settings_dict(card.preprocess),
        "normalization": card.normalization,
        "training": {key: delivery.training[key] for key in sorted(TRAINING_FACTS & delivery.training.keys())},
        "model_sha256": card.model_sha256,
        "members": [{key: getattr(card, key) for key in MEMBER_FACTS}, *card.others],
        "flip": card.flip,
        "notice": NOTICE,
        "network_data_format": {
            "inputs": {INPUT: describe_input(card)},
            "outputs": describe_outputs(card, delivery.grid),
        },
    }


# Of training.json; its host and times are not for others.
TRAINING_FACTS = {
    "n_train",
    "n_val",
    "class_weights",
    "epoch_kept",
    "epochs",
    "val_loss",
    "settings",
    "versions",
    "key",
}


def describe_input(card: ModelCard) -> dict[str, Any]:
    """Return the graph's input in MONAI's terms; it has no channel dimension."""
    side = card.preprocess.size_px
    return _tensor("image", "magnitude", 1, [side, side], "uint8", [0, 255], {"0": "gray, preprocessed"})


def describe_outputs(card: ModelCard, grid: tuple[int, int] | None) -> dict[str, Any]:
    """Return the graph's outputs in MONAI's terms; grid: rows and columns of its maps."""
    classes = {str(number): name for number, name in enumerate(card.class_names)}
    n = len(classes)
    return {
        PROBABILITIES: _tensor("probabilities", "classes", n, [], "float64", [0, 1], classes),
        LOGITS: _tensor("tuples", "classes", n, [], "float32", [], classes),
        FEATURES: _tensor("tuples", "latent", 1, ["*"], "float32", [], {"0": "what enters the network's head"}),
        **({MAPS: _tensor("image", "gradcam", n, [*grid], "float32", [], classes)} if grid else {}),
    }


def _tensor(
    kind: str, form: str, channels: int, shape: list[Any], dtype: str, span: list[int], meaning: dict[str, str]
) -> dict[str, Any]:
    return {
        "type": kind,
        "format": form,
        "modality": "XR",
        "num_channels": channels,
        "spatial_shape": shape,
        "dtype": dtype,
        "value_range": span,
        "is_patch_data": False,
        "channel_def": meaning,
    }


def describe_kind(card: ModelCard) -> str:
    """Return what answers: `ResNet-34`, or `the mean of 3 networks (ResNet-34), of the image and ...`."""
    title, n = BACKBONES[card.backbone].title, 1 + len(card.others)
    mean = f"the mean of {n} networks ({title})" if n > 1 else title
    return mean + ", of the image and of its mirror image" * card.flip


def describe_training(delivery: Delivery) -> str:
    """Return in a sentence what the model was trained on."""
    card, training = delivery.card, delivery.training
    start = {"scratch": "from scratch", "imagenet": "from ImageNet weights"}.get(
        card.init, f"from the weights of {card.init}"
    )
    return (
        f"trained {start} on {training['n_train']:,} images of {delivery.data_name}; {card.epochs} of"
        f" {training['epochs']} {'were' if card.others else 'was'} kept, by {training['n_val']:,} validation images."
    )


def write_card(delivery: Delivery) -> str:
    """Return the text of README.md."""
    card, preprocess = delivery.card, delivery.card.preprocess
    steps = preprocessing_steps(np.zeros((preprocess.size_px, preprocess.size_px), np.uint8), preprocess)
    front = yaml.safe_dump(make_front_matter(delivery), sort_keys=False, allow_unicode=True)
    return f"""---
{front}---

# {BACKBONES[card.backbone].title} for chest X-rays: {", ".join(card.class_names)}

**{NOTICE}**{f" **{PHANTOMS}**" if delivery.is_synthetic else ""}

The model `{card.name}`, {describe_kind(card)}, {describe_training(delivery)} {delivery.reason}

## Run it

```
python -m pip install -r requirements.txt      # once; no PyTorch, no GPU
python run check                               # every file, and the answers for the golden images
python run read film.png folder/ --csv answers.csv
python run serve                               # a page in the browser of this computer
```

It reads PNG, JPEG, TIFF, DICOM and other image files, as the training did. Each start checks every file against
SHA256SUMS and reads the drawn images in `golden/`; a model that answers otherwise than it did is not used.

## Intended use

{INTENDED} {NOT_INTENDED}

## How good it is

On {delivery.metrics["n_images"]:,} test images of {delivery.metrics["n_patients"]:,} patients whom it was not
trained on, with 95 % intervals:

{write_scores(delivery.metrics)}

By chance, macro F1 would be {KINDS["score"].show(delivery.metrics["chance_macro_f1"])}. {LIMITS}

{write_reliability(delivery.metrics["reliability"])}

## The data

{delivery.data_name[0].upper()}{delivery.data_name[1:]}. {delivery.data_terms}

## How images are prepared

To 8-bit grey, then: {", ".join(steps).lower()}. `run` does it,
and the graph itself does the rest. The ONNX file's metadata says the same.
"""


def write_reliability(found: dict[str, Any]) -> str:
    """Return how far the percentages hold on the test images."""
    before, after = (
        KINDS["loss"].show_interval(*(found[name]["log_loss"][end] for end in ("value", "low", "high")))
        for name in ("raw", "calibrated")
    )
    is_worse = (found["log_loss_change"]["low"] or 0) > 0
    return (
        f"Its percentages were calibrated on {found['n_val_images']:,} validation images. On the test images their log"
        f" loss is {after}, where the network's own has {before}; less is better."
        + " **They are worse there: do not take them at their word on images from elsewhere.**"
        * is_worse
    )


def write_scores(metrics: dict[str, Any]) -> str:
    """Return the test scores as a Markdown table."""
    rows = [("all classes", {"f1": metrics["macro_f1"], "auroc": metrics["macro_auroc"]}, metrics["n_images"])]
    rows += [(name, each, each["support"]) for name, each in metrics["per_class"].items()]
    lines = ["| class | F1 | precision | recall | AUROC | images |", "|---|---|---|---|---|---|"]
    for name, scores, n_images in rows:
        cells = [_show(scores.get(key)) for key in ("f1", "precision", "recall", "auroc")]
        lines.append(f"| {' | '.join([name.replace('|', '/'), *cells, str(n_images)])} |")
    return "\n".join([*lines, "", f"Accuracy: {_show(metrics['accuracy'])}. ‡: fewer than 30 patients of a class."])


def _show(score: dict[str, Any] | None) -> str:
    if score is None or score["value"] is None:
        return "–"
    return KINDS["score"].show_interval(score["value"], score["low"], score["high"], score["n_patients"])


def make_front_matter(delivery: Delivery) -> dict[str, Any]:
    """Return the metadata of the model card in the form of the Hugging Face hub."""
    card, metrics = delivery.card, delivery.metrics
    scores = {
        "f1": ("Macro F1", "macro_f1"),
        "accuracy": ("Accuracy", "accuracy"),
        "roc_auc": ("Macro AUROC", "macro_auroc"),
    }
    results = [
        {"type": kind, "name": name, "value": metrics[key]["value"]}
        for kind, (name, key) in scores.items()
        if metrics[key]["value"] is not None
    ]
    own_terms = delivery.reader.terms and not delivery.is_synthetic
    licence = {"license": "other", "license_name": "mit-and-the-terms-of-the-images", "license_link": "LICENSE"}
    return {
        "language": ["en"],
        **(licence if own_terms else {"license": "mit"}),
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["medical", "chest-x-ray", "radiology", "onnx", "cxrflow"],
        "metrics": [*scores],
        "model-index": [
            {
                "name": card.name,
                "results": [
                    {
                        "task": {"type": "image-classification", "name": "Chest X-ray classification"},
                        "dataset": {"type": card.dataset, "name": delivery.data_name, "split": "test"},
                        "metrics": results,
                    }
                ],
            }
        ],
    }


def write_refusal(dataset: str, reason: str) -> str:
    """Return the text of README.md in the folder of a dataset for which no model was chosen."""
    return f"# No model is delivered for {dataset}\n\n{reason}\n"
