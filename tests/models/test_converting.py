import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from cxrflow.config.settings import WeightsSettings
from cxrflow.errors import CxrflowError
from cxrflow.models.checkpoints import load_init, save_checked
from cxrflow.models.converting import convert_weights, read_tensors
from cxrflow.models.networks import build_network, to_network_input

ENTRY = WeightsSettings(file="weights.safetensors", sha256="", backbone="tiny")


def build_random(backbone: str, seed: int = 1) -> nn.Module:
    """Build a torchvision network whose BatchNorms have seen something."""
    torch.manual_seed(seed)
    network = torchvision.models.get_model(backbone, weights=None).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    return network


def write(path: Path, tensors: dict[str, Tensor], **changes: object) -> WeightsSettings:
    save_file(tensors, path)
    return replace(ENTRY, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), **changes)


def convert(path: Path, settings: WeightsSettings) -> dict[str, Tensor]:
    return convert_weights(read_tensors(path, settings), settings, path)


def test_resnet50_with_the_names_of_timm(tmp_path: Path) -> None:
    """As `1aurent/resnet50.medmae_*` on the Hugging Face Hub: timm's names are torchvision's, and there is no head."""
    source = build_random("resnet50")
    body = {name: value for name, value in source.state_dict().items() if not name.startswith("fc.")}
    settings = write(tmp_path / "medmae.safetensors", body, backbone="resnet50")
    found = convert(tmp_path / "medmae.safetensors", settings)
    assert found.keys() == body.keys()
    assert all(torch.equal(found[name], body[name]) for name in body)


def test_densenet_of_one_channel_with_another_normalization(tmp_path: Path) -> None:
    """As TorchXRayVision's: gray -1024 to 1024, one channel, extra entries; inside the border its values are kept."""
    source = build_random("densenet121")
    kernel = source.features.conv0.weight.detach().sum(dim=1, keepdim=True)
    tensors = {f"model.{name}": value for name, value in source.state_dict().items() if "num_batches" not in name}
    tensors |= {"model.features.conv0.weight": kernel, "op_threshs": torch.zeros(18)}
    tensors |= {f"model.{name}": value for name, value in source.state_dict().items() if "num_batches" in name}
    changes = {"backbone": "densenet121", "keys": {"^model\\.": "", "^(op_threshs|classifier\\..*)$": ""}}
    settings = write(tmp_path / "x.safetensors", tensors, mean=(0.5,), std=(1 / 2048,), **changes)
    network = build_network("densenet121", 2, 0.1).eval()
    load_body(network, convert(tmp_path / "x.safetensors", settings))
    images = torch.randint(0, 256, (2, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    theirs = nn.functional.conv2d((images[:, None] / 255) * 2048 - 1024, kernel, stride=2, padding=3)
    expected = source.features.norm0(theirs)
    ours = network.features.norm0(network.features.conv0(to_network_input(images)))
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(ours[inside], expected[inside], rtol=1e-4, atol=1e-2)


def load_body(network: nn.Module, body: dict[str, Tensor]) -> None:
    missing, unexpected = network.load_state_dict(body, strict=False)
    assert {name.split(".")[0] for name in missing} == {"classifier"}
    assert not unexpected


def test_a_convolution_with_a_bias_takes_up_another_mean(tmp_path: Path) -> None:
    """ConvNeXt has no padding there, so the values are the same everywhere."""
    source = build_random("convnext_tiny")
    settings = write(
        tmp_path / "c.safetensors", dict(source.state_dict()), backbone="convnext_tiny", mean=(0.2,), std=(0.7,)
    )
    network = build_network("convnext_tiny", 2, 0.1).eval()
    load_body(network, convert(tmp_path / "c.safetensors", settings))
    images = torch.randint(0, 256, (1, 32, 32), dtype=torch.uint8)
    expected = source.features[0]((images[:, None].expand(-1, 3, -1, -1) / 255 - 0.2) / 0.7)
    torch.testing.assert_close(network.features[0](to_network_input(images)), expected, rtol=1e-4, atol=1e-4)


def test_a_part_of_a_state_dict_of_pytorch(tmp_path: Path) -> None:
    source = build_network("tiny", 1000, 0.1, seed=3)
    path = tmp_path / "checkpoint.pth"
    torch.save({"epoch": 7, "teacher": {"module": source.state_dict()}}, path)
    settings = replace(ENTRY, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), part="teacher.module")
    assert torch.equal(convert(path, settings)["middle.weight"], source.state_dict()["middle.weight"])
    with pytest.raises(CxrflowError, match="has no part student: it has epoch, teacher"):
        read_tensors(path, replace(settings, part="student"))
    with pytest.raises(CxrflowError, match="holds no weights, but epoch, teacher: name one"):
        read_tensors(path, replace(settings, part=""))


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code in a file of weights was run",))


def test_code_in_a_file_is_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"conv.weight": Evil()}, protocol=2))
    settings = replace(ENTRY, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(CxrflowError, match="is not a file of weights that PyTorch can read"):
        read_tensors(path, settings)
    torch.save({"conv.weight": Evil()}, path)
    with pytest.raises(CxrflowError, match="is not a file of weights that PyTorch can read"):
        read_tensors(path, replace(settings, sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
    assert "was run" not in capsys.readouterr().out


def test_another_file_a_cut_file_and_other_layers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    settings = write(path, {"conv1.weight": torch.zeros(2, 3, 3, 3)})
    with pytest.raises(CxrflowError, match=r"does not fit tiny: Missing key\(s\)"):
        convert(path, settings)
    with pytest.raises(CxrflowError, match="is another file"):
        read_tensors(path, replace(settings, sha256="0" * 64))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CxrflowError, match="is not a whole file of safetensors"):
        read_tensors(path, replace(settings, sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
    with pytest.raises(CxrflowError, match=r"does not exist, and weights\.url names no address"):
        read_tensors(tmp_path / "absent", settings)


def test_a_model_starts_from_the_weights_of_its_init_only(tmp_path: Path) -> None:
    source, path = build_network("tiny", 2, 0.1, seed=3), tmp_path / "mae.pth"
    body = {name: value for name, value in source.state_dict().items() if not name.startswith("classifier")}
    save_checked(path, {"name": "mae", "backbone": "tiny", "head": "probe", "state_dict": body})
    network = build_network("tiny", 2, 0.1, seed=0)
    assert load_init(network, "tiny", "weights_mae", path), "only the head is to be fitted"
    assert torch.equal(network.state_dict()["middle.weight"], body["middle.weight"])
    with pytest.raises(CxrflowError, match="holds mae, a tiny, and init weights_other of a tiny was asked for"):
        load_init(network, "tiny", "weights_other", path)
