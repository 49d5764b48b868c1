"""Transformers of timm: their sizes, their maps, their pretrained weights, and one from its training to its export."""

import hashlib
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from cxrflow.config.backbones import BACKBONES, Backbone, find_size_problem
from cxrflow.config.parsing import parse_settings
from cxrflow.config.settings import PreprocessSettings, TrainSettings, WeightsSettings
from cxrflow.deliver.delivered import DeliveredModel
from cxrflow.deliver.exporting import check_export, describe_model, export_model, join_cards
from cxrflow.errors import CxrflowError
from cxrflow.models import networks
from cxrflow.models.checkpoints import SavedModel, load_init, restore_network, save_checked, save_model
from cxrflow.models.converting import convert_weights, read_tensors, rename_tensors
from cxrflow.models.cost import count_gmac
from cxrflow.models.epochs import run_epoch
from cxrflow.models.networks import build_network, find_head, fit_to_size, forward_with_features, to_network_input
from cxrflow.models.probing import fit_head
from cxrflow.results.enlarging import enlarge
from cxrflow.results.gradcam import ENGINES, MapLayer, as_maps, find_map_layer, iterate_maps
from tests.models.toy import CPU, NEEDS_TIMM, equal_weights, toy_data, toy_training

pytestmark = NEEDS_TIMM

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE_PX = 32
WIDTH = 24
THIN = {"depth": 2, "embed_dim": WIDTH, "num_heads": 3}
# The two kinds there are: one answers by its class token, one by the average of its patches.
BY_CLASS = Backbone("Thin ViT", library="timm", published="vit_base_patch14_dinov2", options={**THIN, "patch_size": 8})
BY_PATCHES = Backbone(
    "Thin EVA", library="timm", published="eva02_tiny_patch14_224",
    options={**THIN, "patch_size": 8, "ref_feat_shape": (28, 28)},
)  # fmt: skip


@pytest.fixture(autouse=True)
def _thin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "thin_patch8", BY_CLASS)
    monkeypatch.setitem(BACKBONES, "thin_eva_patch8", BY_PATCHES)


KINDS = pytest.mark.parametrize("name", ["thin_patch8", "thin_eva_patch8"])


def build(name: str, size_px: int = SIZE_PX) -> nn.Module:
    return fit_to_size(build_network(name, 2, 0.1, seed=1), name, size_px).eval()


def draw(size_px: int = SIZE_PX, n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size_px, size_px), dtype=np.uint8)


@KINDS
def test_a_transformer_trains_is_saved_and_answers_as_its_export(name: str, tmp_path: Path) -> None:
    data = toy_data(12, 6, 3, size_px=SIZE_PX)
    training = toy_training(TrainSettings(epochs=1, batch_size=4), data, backbone=name)
    before = {key: value.clone() for key, value in training.network.state_dict().items()}
    run_epoch(training, 1)
    assert not [key for key, value in training.network.named_parameters() if torch.equal(before[key], value)]
    preprocess = PreprocessSettings(size_px=SIZE_PX, blur_px=3)
    best = training.best.state_dict
    saved = SavedModel(best, "toy", name, "scratch", "base", 0, data.class_names, preprocess, 1, 0.5, 0.1)
    assert equal_weights(restore_network(saved).state_dict(), best)
    save_model(tmp_path / "model.pt", saved)
    content = export_model([saved], join_cards([describe_model(saved, tmp_path / "model.pt", None)], flip=False))
    assert check_export(content, [saved], tmp_path) < 1e-5
    maps = DeliveredModel(content, tmp_path, threads=1).run(draw(n=1), maps=True).maps
    if name == "thin_patch8":  # it answers by its class token, which is no average of maps
        assert maps is None
        return
    assert maps is not None
    network = restore_network(saved)
    layer = find_map_layer(network, name, SIZE_PX, least_cells=1)
    for target in range(len(data.class_names)):
        (wanted,) = iterate_maps(network, layer, draw(n=1), [0], [target], CPU)
        np.testing.assert_allclose(enlarge(maps[0, target], (SIZE_PX, SIZE_PX)), wanted, atol=2e-3)
        assert np.ptp(wanted) > 0.9


@KINDS
def test_a_transfer_to_another_size_interpolates_the_positions(name: str, tmp_path: Path) -> None:
    source, names = build(name, 48), ["a", "b"]
    preprocess = PreprocessSettings(size_px=48)
    save_model(
        tmp_path / "model.pt",
        SavedModel(source.state_dict(), "toy", name, "scratch", "base", 0, names, preprocess, 1, 0.5, 0.1),
    )
    network = build_network(name, 2, 0.1)
    load_init(network, name, "from_toy", tmp_path / "model.pt")
    assert torch.equal(network.pos_embed, source.pos_embed)
    fit_to_size(network, name, SIZE_PX)
    assert network.pos_embed.shape == (1, 1 + 4 * 4, WIDTH)
    assert torch.equal(network.pos_embed[:, 0], source.pos_embed[:, 0])  # the class token has no place
    grid = source.pos_embed[0, 1:].T.unflatten(1, (6, 6))
    smaller = nn.functional.interpolate(grid[None], (4, 4), mode="bicubic", antialias=True)[0].flatten(1).T
    torch.testing.assert_close(network.pos_embed[0, 1:], smaller)


@KINDS
def test_an_image_that_is_no_multiple_of_the_patches_is_refused(name: str) -> None:
    with pytest.raises(CxrflowError, match=rf"36 px is not a multiple of 8, the patches of {name}: 32 or 40 px is\."):
        build(name, 36)
    assert not find_size_problem(name, 40)


def test_a_transformer_of_torchvision_takes_its_own_size_only() -> None:
    network = nn.Identity()
    network.image_size = 224
    with pytest.raises(CxrflowError, match=r"vit_b_16 takes images of 224 px only\. Change preprocess\.size_px"):
        fit_to_size(network, "vit_b_16", 256)
    assert fit_to_size(network, "vit_b_16", 224) is network


def test_without_timm_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(CxrflowError, match=r"backbones of timm need the package .* `make setup` installs it"):
        build_network("thin_patch8", 2, 0.1)


def test_a_name_unknown_to_timm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "thick", Backbone("Thick", library="timm"))
    with pytest.raises(CxrflowError, match=r"timm .* has no network of this name: Unknown model \(thick\)"):
        build_network("thick", 2, 0.1)


def test_attention_is_counted() -> None:
    """By hand, per block: qkv, the two products of attention, the projection, two layers of four times the width."""
    tokens, width, patches = 1 + 16, WIDTH, 16
    block = tokens * width * (3 * width + width + 2 * 4 * width) + 2 * tokens * tokens * width
    by_hand = patches * width * 3 * 8 * 8 + 2 * block + 2 * width
    assert count_gmac(build("thin_patch8"), SIZE_PX) * 1e9 == by_hand


# The deepest layer whose patches are read: behind the last block only the class token is.
LAYERS = {
    "thin_patch8": MapLayer("blocks.0", (4, 4), "LayerCAM"),
    "thin_eva_patch8": MapLayer("norm", (4, 4), "Grad-CAM"),
}


@KINDS
def test_maps_are_those_of_the_patches(name: str) -> None:
    network = build(name)
    layer = find_map_layer(network, name, SIZE_PX)
    assert layer == LAYERS[name]
    maps = {engine: [*iterate_maps(network, layer, draw(), range(3), [0, 1, 0], CPU, engine)] for engine in ENGINES}
    assert np.max(maps["direct"]) > 0.9
    np.testing.assert_allclose(maps["direct"], maps["pytorch_grad_cam"], atol=1e-5)


def test_tokens_become_maps_row_by_row() -> None:
    tokens = torch.arange(2 * (1 + 6) * 4.0).reshape(2, 7, 4)
    maps = as_maps(tokens, (2, 3))
    assert maps.shape == (2, 4, 2, 3)
    assert torch.equal(maps[1, :, 1, 2], tokens[1, 6])
    assert torch.equal(maps[0, :, 0, 0], tokens[0, 1])
    assert as_maps(maps, (2, 3)) is maps


def read_recipe(name: str, path: Path) -> WeightsSettings:
    """Return an entry of config/weights.md for a file."""
    block = re.search(r"```yaml\n(.*?)```", (REPOSITORY / "config" / "weights.md").read_text("utf-8"), re.DOTALL)
    entry = yaml.safe_load(block[1])["weights"][name]
    return parse_settings(WeightsSettings, entry | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}, name)


def shrink(monkeypatch: pytest.MonkeyPatch, backbone: str) -> None:
    entry = BACKBONES[backbone]
    monkeypatch.setitem(BACKBONES, backbone, replace(entry, options={**entry.options, **THIN}))


def draw_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes.items()}


def dinov2_shapes(width: int, depth: int, grid: int = 37) -> dict[str, tuple[int, ...]]:
    """Return the layers of transformers' Dinov2Model, as its model.safetensors has them."""
    shapes = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.mask_token": (1, width),
        "embeddings.position_embeddings": (1, 1 + grid * grid, width),
        "embeddings.patch_embeddings.projection.weight": (width, 3, 14, 14),
        "embeddings.patch_embeddings.projection.bias": (width,),
        "layernorm.weight": (width,),
        "layernorm.bias": (width,),
    }
    for number in range(depth):
        linear = {f"attention.attention.{part}": (width, width) for part in ("query", "key", "value")}
        linear |= {"attention.output.dense": (width, width)}
        linear |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        block = {f"{name}.weight": shape for name, shape in linear.items()}
        block |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
        block |= {f"norm{place}.{kind}": (width,) for place in (1, 2) for kind in ("weight", "bias")}
        block |= {f"layer_scale{place}.lambda1": (width,) for place in (1, 2)}
        shapes |= {f"encoder.layer.{number}.{name}": shape for name, shape in block.items()}
    return shapes


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return attention over (B, heads, n, d), as (B, n, heads * d)."""
    weights = (queries @ keys.transpose(2, 3) * queries.shape[3] ** -0.5).softmax(3)
    return (weights @ values).transpose(1, 2).flatten(2)


def split_heads(tokens: Tensor, heads: int = 3) -> Tensor:
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


def answer_as_dinov2(weights: dict[str, Tensor], inputs: Tensor, depth: int) -> Tensor:
    """Return the class token behind the last norm, (B, width): Dinov2Model's pooler_output, written by its layers."""

    def linear(name: str, tokens: Tensor) -> Tensor:
        return functional.linear(tokens, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, tokens: Tensor) -> Tensor:
        return functional.layer_norm(tokens, tokens.shape[2:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    kernel, bias = (weights[f"embeddings.patch_embeddings.projection.{kind}"] for kind in ("weight", "bias"))
    patches = functional.conv2d(inputs, kernel, bias, stride=14).flatten(2).transpose(1, 2)
    tokens = torch.cat((weights["embeddings.cls_token"].expand(len(inputs), -1, -1), patches), 1)
    tokens = tokens + weights["embeddings.position_embeddings"]
    for number in range(depth):
        layer = f"encoder.layer.{number}"
        normed = norm(f"{layer}.norm1", tokens)
        parts = [split_heads(linear(f"{layer}.attention.attention.{p}", normed)) for p in ("query", "key", "value")]
        attended = linear(f"{layer}.attention.output.dense", attend(*parts))
        tokens = tokens + attended * weights[f"{layer}.layer_scale1.lambda1"]
        hidden = functional.gelu(linear(f"{layer}.mlp.fc1", norm(f"{layer}.norm2", tokens)))
        tokens = tokens + linear(f"{layer}.mlp.fc2", hidden) * weights[f"{layer}.layer_scale2.lambda1"]
    return norm("layernorm", tokens)[:, 0]


def evax_shapes(width: int, depth: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Return the layers of EVA-02 tiny after its pretraining on masked images, 14 x 14 patches of 16 px."""
    head = width // 3
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "mask_token": (1, 1, width),
        "pos_embed": (1, 1 + 14 * 14, width),
        "patch_embed.proj.weight": (width, 3, 16, 16),
        "patch_embed.proj.bias": (width,),
        "rope.freqs_cos": (14 * 14, head),
        "rope.freqs_sin": (14 * 14, head),
        "norm.weight": (width,),
        "norm.bias": (width,),
        "lm_head.weight": (512, width),
        "lm_head.bias": (512,),
    }
    for number in range(depth):
        block: dict[str, tuple[int, ...]] = {
            "attn.q_bias": (width,),
            "attn.v_bias": (width,),
            "attn.qkv.weight": (3 * width, width),
            "attn.proj.weight": (width, width),
            "attn.proj.bias": (width,),
            "attn.rope.freqs_cos": (14 * 14, head),
            "attn.rope.freqs_sin": (14 * 14, head),
            "mlp.w12.weight": (2 * hidden, width),
            "mlp.w12.bias": (2 * hidden,),
            "mlp.w3.weight": (width, hidden),
            "mlp.w3.bias": (width,),
        }
        block |= {f"norm{place}.{kind}": (width,) for place in (1, 2) for kind in ("weight", "bias")}
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in block.items()}
    return shapes


def rotate(tokens: Tensor, grid: int = 14) -> Tensor:
    """Rotate pairs of the patches' values by their row, then by their column: EVA-02's rotary position embedding."""
    quarter = tokens.shape[3] // 4
    speeds = 10000 ** -(torch.arange(quarter) / quarter)
    angles = (torch.arange(grid)[:, None] * speeds).repeat_interleave(2, 1)
    rows, columns = angles[:, None].expand(-1, grid, -1), angles[None].expand(grid, -1, -1)
    angle = torch.cat((rows, columns), 2).flatten(0, 1)
    even, odd = tokens[..., ::2], tokens[..., 1::2]
    turned = torch.stack((-odd, even), 4).flatten(3)
    cosine, sine = torch.cat((torch.zeros(1, angle.shape[1]), angle)).cos(), angle.sin()
    return tokens * cosine + functional.pad(turned[:, :, 1:] * sine, (0, 0, 1, 0))  # the class token stays


def answer_as_evax(weights: dict[str, Tensor], inputs: Tensor, depth: int) -> Tensor:
    """Return the normed mean of the patches, (B, width): what enters EVA-X's head, written by its layers."""

    def linear(name: str, tokens: Tensor) -> Tensor:
        return functional.linear(tokens, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, tokens: Tensor) -> Tensor:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.layer_norm(tokens, tokens.shape[-1:], weight, bias, 1e-6)

    kernel, bias = weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"]
    patches = functional.conv2d(inputs, kernel, bias, stride=16).flatten(2).transpose(1, 2)
    tokens = torch.cat((weights["cls_token"].expand(len(inputs), -1, -1), patches), 1) + weights["pos_embed"]
    for number in range(depth):
        block = f"blocks.{number}"
        q_bias, v_bias = weights[f"{block}.attn.q_bias"], weights[f"{block}.attn.v_bias"]
        bias = torch.cat((q_bias, torch.zeros_like(q_bias), v_bias))
        joined = functional.linear(norm(f"{block}.norm1", tokens), weights[f"{block}.attn.qkv.weight"], bias)
        queries, keys, values = map(split_heads, joined.chunk(3, 2))
        tokens = tokens + linear(f"{block}.attn.proj", attend(rotate(queries), rotate(keys), values))
        gate, hidden = linear(f"{block}.mlp.w12", norm(f"{block}.norm2", tokens)).chunk(2, 2)
        tokens = tokens + linear(f"{block}.mlp.w3", functional.silu(gate) * hidden)
    return norm("norm", tokens[:, 1:].mean(1))


def start(recipe: str, path: Path, settings: WeightsSettings, tmp_path: Path) -> nn.Module:
    """Convert a file and return a network that starts from it."""
    tensors = convert_weights(read_tensors(path, settings), settings, path)
    content = {"name": recipe, "backbone": settings.backbone, "head": settings.head, "state_dict": tensors}
    save_checked(tmp_path / "ready.pth", content)
    network = build_network(settings.backbone, 2, 0.1)
    is_probe = load_init(network, settings.backbone, f"weights_{recipe}", tmp_path / "ready.pth")
    assert is_probe == (settings.head == "probe")
    return network.eval()


def assert_features(network: nn.Module, settings: WeightsSettings, size_px: int, answer: Callable[..., Tensor]) -> None:
    """The network's features of gray images are the owner's of the same images in the owner's scaling."""
    images = torch.from_numpy(draw(size_px, n=2))
    theirs = ((images[:, None] / 255 - settings.mean[0]) / settings.std[0]).expand(-1, 3, -1, -1)
    with torch.no_grad():
        _, features = forward_with_features(network, settings.backbone, to_network_input(images))
        torch.testing.assert_close(features, answer(theirs), rtol=1e-3, atol=1e-3)


def test_rad_dino_gives_the_features_of_its_own_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, "vit_base_patch14_dinov2")
    weights, path = draw_weights(dinov2_shapes(WIDTH, 2)), tmp_path / "model.safetensors"
    save_file(weights, path)
    settings = read_recipe("rad_dino", path)
    network = start("rad_dino", path, settings, tmp_path)
    assert_features(network, settings, 518, lambda inputs: answer_as_dinov2(weights, inputs, 2))
    settings.keys["^layernorm\\."] = "norm2."
    with pytest.raises(CxrflowError, match=r'Missing key\(s\) in state_dict: "norm\.weight"'):
        convert_weights(read_tensors(path, settings), settings, path)


@pytest.mark.parametrize("part", ["", "module"])
def test_eva_x_gives_the_features_of_its_own_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    shrink(monkeypatch, "eva02_tiny_patch16")
    weights, path = draw_weights(evax_shapes(WIDTH, 2, 64)), tmp_path / "eva.pt"
    torch.save({part: weights} if part else weights, path)
    settings = replace(read_recipe("eva_x_ti", path), part=part)
    network = start("eva_x_ti", path, settings, tmp_path)
    assert_features(network, settings, 224, lambda inputs: answer_as_evax(weights, inputs, 2))


@pytest.mark.parametrize(
    ("recipe", "backbone", "shapes", "n_params"),
    [
        ("rad_dino", "vit_base_patch14_dinov2", dinov2_shapes(768, 12), 86_579_712),
        ("eva_x_ti", "eva02_tiny_patch16", evax_shapes(192, 12, 512), 5_525_184),
    ],
)
def test_every_layer_of_the_published_size_finds_its_place(
    tmp_path: Path, recipe: str, backbone: str, shapes: dict[str, tuple[int, ...]], n_params: int
) -> None:
    (tmp_path / "none").touch()
    with torch.device("meta"):
        tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
        renamed = rename_tensors(tensors, read_recipe(recipe, tmp_path / "none").keys)
        network = networks.build_published(backbone)
    head = find_head(network, backbone)
    body = {name: value.shape for name, value in network.state_dict().items() if not name.startswith(head)}
    assert {name: value.shape for name, value in renamed.items()} == body
    assert sum(map(torch.Size.numel, body.values())) == n_params


def test_a_probe_on_frozen_features_learns_what_a_thin_transformer_sees() -> None:
    data = toy_data(30, 12, 3, size_px=SIZE_PX)
    training = toy_training(TrainSettings(batch_size=8), data, backbone="thin_eva_patch8")
    before = {name: value.clone() for name, value in training.network.state_dict().items()}
    row = fit_head(training, data, "thin_eva_patch8")
    assert row.train_macro_f1 > 0.9
    changed = [name for name, value in training.network.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["head.weight", "head.bias"]
