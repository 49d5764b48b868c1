"""The table of backbones: any classification network of torchvision or timm is one entry. Read without importing torch.

To add one, add an entry under the name that `torchvision.models.get_model` or, with `library="timm"`,
`timm.create_model` takes; a title is enough. Its head, the last linear layer, and the layer that Grad-CAM explains are
found in the network. With `imagenet`, models can start from torchvision's weights: file, name and accuracy are in its
documentation of each weights entry. The tests of the table (tests/models/test_backbones.py) try every entry from its
first weights to its export.

Networks with auxiliary heads (googlenet, inception_v3, distilled transformers) cannot be trained here. Vision
transformers of timm take images of any size that is a multiple of their patches, their position embeddings being
interpolated; those of torchvision take one size only, by `options={"image_size": 256}` another than 224 px.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ImageNetWeights:
    """Torchvision's weights of a network.

    Attributes:
        file: its name ends with the first 8 hex digits of its SHA-256.
        name: torchvision's name of these weights.
        top5: ImageNet accuracy with them, percent.
    """

    file: str
    name: str
    top5: float


@dataclass(frozen=True)
class PaperFigures:
    """What the paper says about a backbone.

    Attributes:
        params_m: parameters, millions.
        gflops: its FLOPS column, 1e9.
        layers: its layer count.
    """

    params_m: float
    gflops: float
    layers: int


@dataclass(frozen=True)
class Backbone:
    """One classification network.

    Attributes:
        title: its name in tables and figures.
        library: torchvision, or timm, which is imported only where one of its networks is named.
        published: its name there; without, the key of this table.
        options: further arguments of the library's builder.
        imagenet: the weights that a transfer from ImageNet starts from; without, it cannot be transferred from there.
        head: dotted path of the linear layer that is replaced by one with as many outputs as classes; without, the last
            linear layer of the network.
        gradcam_layer: dotted path of the layer whose maps are weighed; without, the deepest of at least 7x7 cells at
            the study's image size.
        paper: the paper's figures; without, tables show a dash.
        batch_norm_momentum: that the library builds it with; None: it has no BatchNorm.
    """

    title: str
    library: str = "torchvision"
    published: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    imagenet: ImageNetWeights | None = None
    head: str | None = None
    gradcam_layer: str | None = None
    paper: PaperFigures | None = None
    batch_norm_momentum: float | None = 0.1


BACKBONES = {
    "mobilenet_v3_large": Backbone(
        title="MobileNetV3-Large",
        imagenet=ImageNetWeights("mobilenet_v3_large-5c1a4163.pth", "IMAGENET1K_V2", top5=92.566),
        paper=PaperFigures(params_m=5.5, gflops=8.7, layers=18),
        batch_norm_momentum=0.01,
    ),
    "efficientnet_b1": Backbone(
        title="EfficientNet-B1",
        imagenet=ImageNetWeights("efficientnet_b1-c27df63c.pth", "IMAGENET1K_V2", top5=94.934),
        paper=PaperFigures(params_m=7.8, gflops=25.8, layers=25),
    ),
    "resnet34": Backbone(
        title="ResNet-34",
        imagenet=ImageNetWeights("resnet34-b627a593.pth", "IMAGENET1K_V1", top5=91.420),
        paper=PaperFigures(params_m=21.8, gflops=153.9, layers=34),
    ),
    "resnet50": Backbone(
        title="ResNet-50",
        imagenet=ImageNetWeights("resnet50-11ad3fa6.pth", "IMAGENET1K_V2", top5=95.434),
    ),
    "densenet121": Backbone(
        title="DenseNet-121",
        imagenet=ImageNetWeights("densenet121-a639ec97.pth", "IMAGENET1K_V1", top5=91.972),
    ),
    "convnext_tiny": Backbone(
        title="ConvNeXt-Tiny",
        imagenet=ImageNetWeights("convnext_tiny-983f1562.pth", "IMAGENET1K_V1", top5=96.146),
        batch_norm_momentum=None,
    ),
    "vit_base_patch14_dinov2": Backbone(title="ViT-B/14", library="timm", batch_norm_momentum=None),
    # EVA-X-Ti: 6 M parameters, rotary positions, SwiGLU; EVA-02's own is of 14-px patches
    "eva02_tiny_patch16": Backbone(
        title="EVA-02-Ti/16",
        library="timm",
        published="eva02_tiny_patch14_224",
        options={"patch_size": 16, "ref_feat_shape": (14, 14)},
        batch_norm_momentum=None,
    ),
}
# Paul Tol's "vibrant", and black: other colours than the classes', so that a backbone is never read as a class.
BACKBONE_COLORS = ("#ee7733", "#0077bb", "#009988", "#ee3377", "#33bbee", "#cc3311", "#bbbbbb", "#000000")
BACKBONE_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")  # distinct without colour


def describe_network(backbone: str) -> str:
    """Return what decides a backbone's network; its title, published numbers and the layer that is explained do not."""
    entry = BACKBONES[backbone]
    options = "".join(f" {key}={value}" for key, value in entry.options.items())
    return f"{entry.published or backbone} of {entry.library}{options} with head {entry.head or 'found'}"


def find_size_problem(backbone: str, size_px: int) -> str:
    """Return why a backbone cannot see all of an image of this size, or nothing.

    The side of a transformer's patches is in its name, as in timm's: 14 of vit_base_patch14_dinov2.
    """
    named = re.search(r"_patch(\d+)", backbone)
    patch_px = int(named[1]) if named else 1
    if size_px % patch_px == 0:
        return ""
    below = size_px // patch_px * patch_px
    sizes = [str(size) for size in (below, below + patch_px) if size]
    return f"{size_px} px is not a multiple of {patch_px}, the patches of {backbone}: {' or '.join(sizes)} px is"


def backbone_color(backbone: str) -> str:
    """Return the colour of a key of BACKBONES, by its place in that table."""
    return BACKBONE_COLORS[list(BACKBONES).index(backbone) % len(BACKBONE_COLORS)]


def backbone_marker(backbone: str) -> str:
    """Return the marker of a key of BACKBONES, by its place in that table."""
    return BACKBONE_MARKERS[list(BACKBONES).index(backbone) % len(BACKBONE_MARKERS)]
