"""The table of backbones. Add one here; nothing else names a backbone. Read without importing torch.

Published numbers are the report's and torchvision's (docs of each weights entry: parameters, ImageNet top-5).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Backbone:
    """One network family of torchvision.

    Attributes:
        title: its name in tables and figures.
        torchvision_name: what `torchvision.models.get_model` takes.
        weights_file: file of the ImageNet weights; its name ends with the first 8 hex digits of its SHA-256.
        weights_name: torchvision's name of those weights.
        head: dotted path of the last linear layer, replaced by one with as many outputs as classes.
        gradcam_layer: dotted path of the last layer with spatial extent.
        n_features: length of the vector that enters the head.
        imagenet_top5: accuracy of those weights, percent.
        reported_params_m: the report's parameter count, millions.
        reported_gflops: the report's FLOPS column, 1e9.
        reported_layers: the report's layer count.
    """

    title: str
    torchvision_name: str
    weights_file: str
    weights_name: str
    head: str
    gradcam_layer: str
    n_features: int
    imagenet_top5: float
    reported_params_m: float
    reported_gflops: float
    reported_layers: int


BACKBONES = {
    "mobilenet_v3_large": Backbone(
        title="MobileNetV3-Large",
        torchvision_name="mobilenet_v3_large",
        weights_file="mobilenet_v3_large-5c1a4163.pth",
        weights_name="IMAGENET1K_V2",
        head="classifier.3",
        gradcam_layer="features.16",
        n_features=1280,
        imagenet_top5=92.566,
        reported_params_m=5.5,
        reported_gflops=8.7,
        reported_layers=18,
    ),
    "efficientnet_b1": Backbone(
        title="EfficientNet-B1",
        torchvision_name="efficientnet_b1",
        weights_file="efficientnet_b1-c27df63c.pth",
        weights_name="IMAGENET1K_V2",
        head="classifier.1",
        gradcam_layer="features.8",
        n_features=1280,
        imagenet_top5=94.934,
        reported_params_m=7.8,
        reported_gflops=25.8,
        reported_layers=25,
    ),
    "resnet34": Backbone(
        title="ResNet-34",
        torchvision_name="resnet34",
        weights_file="resnet34-b627a593.pth",
        weights_name="IMAGENET1K_V1",
        head="fc",
        gradcam_layer="layer4",
        n_features=512,
        imagenet_top5=91.420,
        reported_params_m=21.8,
        reported_gflops=153.9,
        reported_layers=34,
    ),
}
