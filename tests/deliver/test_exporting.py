import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cxrflow.deliver import exporting
from cxrflow.deliver.delivered import DeliveredModel, open_model
from cxrflow.deliver.exporting import check_export, describe_model, export_model, join_cards
from cxrflow.deliver.tool import Tool
from cxrflow.errors import CxrflowError
from cxrflow.models.checkpoints import SavedModel, restore_network
from cxrflow.models.inference import predict
from cxrflow.results.calibration import softmax
from cxrflow.results.enlarging import enlarge
from cxrflow.results.gradcam import find_map_layer, iterate_maps
from tests.deliver.conftest import CLASS_NAMES, SIZE_PX, make_noise, make_saved
from tests.models.toy import AT_64_PX, CPU


def export_saved(members: list[SavedModel], place: Path, *, flip: bool = False) -> bytes:
    """Export models whose files are empty ones."""
    (place / "model.pt").write_bytes(b"")
    cards = [describe_model(saved, place / "model.pt", None) for saved in members]
    return export_model(members, join_cards(cards, flip=flip))


@pytest.mark.parametrize("backbone", AT_64_PX)
def test_every_backbone_answers_as_pytorch_does(backbone: str, tmp_path: Path) -> None:
    saved = make_saved(backbone, size_px=64)
    content = export_saved([saved], tmp_path)
    model = DeliveredModel(content, tmp_path, threads=1)
    images = make_noise(5, 64)
    wanted, features = predict(restore_network(saved), backbone, images, np.arange(5), device=CPU, batch_size=5)
    assert np.ptp(wanted, axis=0).max() > 1e-3, "the images must not all look alike to the network"
    outputs = model.run(images)
    atol = 5e-5 if backbone == "resnet50" else 1e-5  # its untrained float32 is off by 2e-5 of float64 itself
    np.testing.assert_allclose(outputs.probabilities, wanted, atol=atol)
    np.testing.assert_allclose(outputs.features, features, atol=1e-3 * np.abs(features).max())
    np.testing.assert_allclose(model.run(images[:1]).probabilities, wanted[:1], atol=atol)
    check_export(content, [saved], tmp_path)


def test_the_same_model_gives_the_same_bytes(model: Path) -> None:
    saved = make_saved()
    card = describe_model(saved, model, None)
    assert export_model([saved], card) == export_model([saved], card)


def test_the_file_says_what_it_is(exported: Path, model: Path) -> None:
    card = open_model(exported, threads=1).card
    assert card.class_names == CLASS_NAMES
    assert card.preprocess == make_saved().preprocess
    assert (card.name, card.epoch) == ("toy/tiny/scratch/base/seed4", 7)
    assert (card.training_key, card.n_train) == ("0123456789abcdef", 1234)
    assert card.model_sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert card.torch_version == torch.__version__
    assert card.opset == 17
    assert "not a medical device" in card.notice


def test_nothing_of_the_machine_is_in_the_file(exported: Path) -> None:
    content = exported.read_bytes()
    assert b"secret-node" not in content
    assert str(Path(exporting.__file__).parent).encode() not in content


def test_an_export_that_differs_is_refused(model: Path) -> None:
    saved = make_saved()
    content = export_model([saved], describe_model(saved, model, None))
    other = {name: value + 0.01 if name == "middle.weight" else value for name, value in saved.state_dict.items()}
    with pytest.raises(CxrflowError, match=r"model.onnx: the export differs from PyTorch by .*nothing was written"):
        check_export(content, [replace(saved, state_dict=other)], Path("model.onnx"))


def test_an_export_is_not_refused_for_rounding_that_pytorch_has_too(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = make_saved()
    content = export_model([saved], describe_model(saved, model, None))
    exact = exporting.answer_by
    off = {torch.float32: 2e-4, torch.float64: 1e-3}  # as a network that magnifies rounding
    monkeypatch.setattr(
        exporting, "answer_by", lambda nets, images, dtype, flip: exact(nets, images, dtype, flip) + off[dtype]
    )
    assert check_export(content, [saved], Path("model.onnx")) == pytest.approx(1e-3, rel=0.1)
    off[torch.float64] = 4e-3
    off[torch.float32] = 4e-3 + 2e-4
    with pytest.raises(CxrflowError, match=r"by 0.004 in a probability, more than 0.002"):
        check_export(content, [saved], Path("model.onnx"))


def test_an_export_that_gives_no_numbers_is_refused(model: Path) -> None:
    saved = make_saved()
    weights = {name: value * np.nan if name == "middle.weight" else value for name, value in saved.state_dict.items()}
    broken = replace(saved, state_dict=weights)
    with pytest.raises(CxrflowError, match="differs from PyTorch by nan in a probability"):
        check_export(export_model([broken], describe_model(broken, model, None)), [broken], Path("model.onnx"))


def test_a_network_that_onnx_cannot_express_is_named(model: Path) -> None:
    saved = make_saved(size_px=16)  # features of 5x5, pooled to 2x1
    with pytest.raises(CxrflowError, match="cannot export tiny at"):
        export_model([saved], describe_model(saved, model, None))


def test_without_onnx_the_remedy_is_told(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    saved = make_saved()
    with pytest.raises(CxrflowError, match="pip install onnx"):
        export_model([saved], describe_model(saved, model, None))


def test_inputs_of_the_check_are_of_every_kind() -> None:
    images = exporting.make_inputs(6, SIZE_PX)
    assert images.dtype == np.uint8
    assert [bool(image.std(axis=1).max() < 1) for image in images] == [False] * 5 + [True]


@pytest.mark.parametrize(
    "backbone",
    [
        "mobilenet_v3_large",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet34", "efficientnet_b1", "convnext_tiny")),
    ],
)
def test_maps_of_the_graph_are_those_of_gradients(backbone: str, tmp_path: Path) -> None:
    saved = make_saved(backbone, size_px=224)
    model = DeliveredModel(export_saved([saved], tmp_path), tmp_path, threads=1)
    images, network = make_noise(2, 224), restore_network(saved)
    layer = find_map_layer(network, backbone, 224)
    assert (layer.method, layer.grid, model.grid) == ("Grad-CAM", (7, 7), (7, 7))
    maps = model.run(images, maps=True).maps
    assert maps is not None
    for target in range(3):
        wanted = [*iterate_maps(network, layer, images, [0, 1], [target, target], CPU)]
        found = [enlarge(maps[row, target], (224, 224)) for row in (0, 1)]
        np.testing.assert_allclose(found, wanted, atol=2e-3)
        assert np.ptp(wanted[0]) > 0.9
    answer = Tool(model).read("film", cv2.imencode(".png", images[0])[1].tobytes(), pictures=True)
    assert answer.image is not None
    assert answer.probabilities is not None
    cells = model.run(answer.image[None], maps=True).maps
    assert cells is not None
    shown = enlarge(cells[0, answer.probabilities.argmax()], (224, 224))
    np.testing.assert_array_equal(answer.heatmap, np.rint(255 * shown))


@pytest.mark.parametrize("backbone", ["tiny", pytest.param("densenet121", marks=pytest.mark.slow)])
def test_a_network_of_another_kind_has_no_maps_and_answers_all_the_same(backbone: str, tmp_path: Path) -> None:
    saved = make_saved(backbone, size_px=18 if backbone == "tiny" else 64)
    model = DeliveredModel(export_saved([saved], tmp_path), tmp_path, threads=1)
    assert model.grid is None
    assert model.run(make_noise(1, saved.preprocess.size_px), maps=True).maps is None


@pytest.mark.slow
def test_an_ensemble_with_flip_answers_as_the_mean_of_its_members_and_their_mirror_images(tmp_path: Path) -> None:
    """In one graph: probabilities, features one behind the other, and maps, those of mirror images turned back."""
    members = [make_saved("mobilenet_v3_large", 64, seed=seed) for seed in (3, 4)]
    content = export_saved(members, tmp_path, flip=True)
    model = DeliveredModel(content, tmp_path, threads=1)
    images = make_noise(3, 64)
    views = [images, images[:, :, ::-1].copy()]
    how = {"device": CPU, "batch_size": 3}
    answers = [
        predict(restore_network(saved), "mobilenet_v3_large", view, np.arange(3), **how)
        for view in views
        for saved in members
    ]
    outputs = model.run(images, maps=True)
    each = np.stack([probabilities for probabilities, _ in answers])
    assert np.abs(each - each.mean(0)).max() > 0.01, "members must differ, and so must an image and its mirror image"
    np.testing.assert_allclose(outputs.probabilities, each.mean(0), atol=1e-5)
    np.testing.assert_allclose(softmax(outputs.logits.astype(np.float64)), each.mean(0), atol=1e-5)
    features = np.concatenate([found for _, found in answers], axis=1)
    np.testing.assert_allclose(outputs.features, features, atol=1e-3 * np.abs(features).max())
    alone = [DeliveredModel(export_saved([saved], tmp_path), tmp_path, threads=1) for saved in members]
    maps = [one.run(views[0], maps=True).maps for one in alone]
    mirrored = [one.run(views[1], maps=True).maps[..., ::-1] for one in alone]
    np.testing.assert_allclose(outputs.maps, np.mean([*maps, *mirrored], axis=0), atol=1e-5)
    check_export(content, members, tmp_path)
    with pytest.raises(CxrflowError, match="differs from PyTorch"):
        check_export(content, members[:1], tmp_path)
    assert model.card.name == "toy/mobilenet_v3_large/scratch/base/seed3+4/flip"
    assert "epochs 7 and 7" in model.card.describe()
