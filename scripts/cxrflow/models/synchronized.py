"""Layers that see the whole batch though each process computes only some of its rows.

Two kinds of layer in a network look beyond one image: BatchNorm, whose mean and variance are those of the batch, and
noise (dropout, stochastic depth), which is drawn for all images of a batch in one go. In the forms here both give what
one process would give for these rows, to rounding; the names of the weights stay the same.

torch.nn.SyncBatchNorm refuses tensors on a CPU, so no test without GPUs could run it. The one here is made of
operations that CPU and GPU both have, and is the same on both: what the tests compare is what GPUs run.
"""

from typing import Any, Protocol, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from cxrflow.errors import CxrflowError


class Rows(Protocol):
    """Which rows of the batch under way this process has."""

    batch_size: int  # rows of the whole batch
    own_rows: slice  # of this process


class SynchronizedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm with the mean and variance of the whole batch, however many rows each process has."""

    def _check_input_dim(self, _input: Tensor) -> None:
        """Take any (B, C, ...)."""

    def forward(self, images: Tensor) -> Tensor:
        """Normalize (b, C, ...), b may be 0; in training mode every process must call it."""
        if not self.training:
            return super().forward(images)
        output, mean, variance, n_values = _Normalize.apply(images, self.weight, self.bias, self.eps)
        self._follow(mean, variance * n_values / (n_values - 1))
        return cast(Tensor, output)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of a batch, the variance unbiased."""
        self.get_buffer("num_batches_tracked").add_(1)
        self.get_buffer("running_mean").lerp_(mean, cast(float, self.momentum))
        self.get_buffer("running_var").lerp_(variance, cast(float, self.momentum))


class _Normalize(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, and its derivative, with sums over all processes.

    Ioffe & Szegedy 2015, Batch Normalization (https://arxiv.org/abs/1502.03167), section 3.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        mean, variance, n_values = _pool_statistics(*_local_statistics(images))
        ctx.save_for_backward(images, weight, mean, variance, n_values)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance, n_values)
        output = functional.batch_norm(images, mean, variance, weight, bias, False, 0.0, eps)
        return output, mean, variance, n_values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, mean, variance, n_values = ctx.saved_tensors
        fixed, weight_sum, bias_sum = _fixed_gradients(gradients[0], images, weight, mean, variance, ctx.eps)
        sums = torch.stack([weight_sum, bias_sum])
        distributed.all_reduce(sums)
        scale = weight / torch.sqrt(variance + ctx.eps) / n_values
        slope = scale * sums[0] / torch.sqrt(variance + ctx.eps)
        centred = images - _per_channel(mean, images)
        through_statistics = _per_channel(slope, images) * centred + _per_channel(scale * sums[1], images)
        # the weights' own gradients stay local: DistributedDataParallel adds them up, as those of all other layers
        return (fixed - through_statistics).to(images.dtype), weight_sum, bias_sum, None


def _local_statistics(images: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return mean and variance (C,) in float32 or better, and how many values each is of; zeros of no rows."""
    n_channels, n_values = images.shape[1], images.numel() // images.shape[1]
    values = images if images.dtype == torch.float64 else images.float()
    if n_values == 0:
        nothing = values.new_zeros(n_channels)
        return nothing, nothing, 0
    dimensions = [dim for dim in range(images.dim()) if dim != 1]
    variance, mean = torch.var_mean(values, dimensions, correction=0)
    return mean, variance, n_values


def _pool_statistics(mean: Tensor, variance: Tensor, n_values: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,), variance (C,) and count (1,) of all processes' values together.

    From means and variances, weighted by counts: sums of squares would cancel where a mean is far from zero. Chan,
    Golub & LeVeque 1979, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances.
    """
    packed = torch.cat([mean, variance, mean.new_full((1,), n_values)])
    parts = [torch.empty_like(packed) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, packed)
    means, variances, counts = torch.split(torch.stack(parts), [len(mean), len(mean), 1], dim=1)
    total = counts.sum(0)
    pooled = (means * counts).sum(0) / total
    return pooled, ((variances + (means - pooled) ** 2) * counts).sum(0) / total, total


def _fixed_gradients(
    gradient: Tensor, images: Tensor, weight: Tensor, mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of images, weight and bias as if mean and variance were constants: BatchNorm in eval mode.

    PyTorch's own operation for it reads the images once, and ends the process where there are none.
    """
    if images.numel() == 0:
        return torch.zeros_like(images), torch.zeros_like(weight), torch.zeros_like(weight)
    fixed: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        gradient, images, weight, mean, variance, None, None, False, eps, [True, True, True]
    )
    return fixed


def _per_channel(values: Tensor, images: Tensor) -> Tensor:
    return values.view(1, -1, *(1,) * (images.dim() - 2))


class SharedNoise(nn.Module):
    """A layer that multiplies by noise, drawn for the whole batch by every process, each of which takes its rows.

    All processes draw from equal random states, so the rows together are what one process draws, and so is the next
    draw. What a layer makes of ones is its noise.
    """

    def __init__(self, layer: nn.Module, rows: Rows, per_image: bool) -> None:
        """Take the layer, the rows, and whether one number is drawn for all of an image."""
        super().__init__()
        self.layer = layer
        self._rows = rows
        self._per_image = per_image

    def forward(self, values: Tensor) -> Tensor:
        """Return (b, ...) times its noise."""
        if not self.training:
            return values
        of_image = (1,) * (values.dim() - 1) if self._per_image else values.shape[1:]
        noise: Tensor = self.layer(values.new_ones((self._rows.batch_size, *of_image)))
        return values * noise[self._rows.own_rows]


def synchronize_layers(network: nn.Module, rows: Rows) -> None:
    """Exchange a network's layers that look beyond one image for those here; the weights are the same objects.

    Raises:
        CxrflowError: a layer draws noise or normalizes in a way that is not known here.
    """
    for name, layer in [*network.named_modules()]:
        if isinstance(layer, UNKNOWN_NOISE) or _lacks_statistics(layer):
            raise CxrflowError(
                f"the backbone's layer {name} ({type(layer).__name__}) cannot be divided between GPUs: "
                "set compute.gpus to 1, or add the layer to scripts/cxrflow/models/synchronized.py"
            )
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            network.set_submodule(name, _synchronize_batch_norm(layer))
        elif isinstance(layer, (*PER_VALUE_NOISE, *PER_IMAGE_NOISE)):
            network.set_submodule(name, SharedNoise(layer, rows, isinstance(layer, PER_IMAGE_NOISE)))


PER_VALUE_NOISE = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
PER_IMAGE_NOISE = (StochasticDepth,)
UNKNOWN_NOISE = (nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU)


def _lacks_statistics(layer: nn.Module) -> bool:
    """Whether it is a BatchNorm without weights, running statistics or a momentum; no backbone has such a one."""
    if not isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return False
    return not (layer.affine and layer.track_running_stats and layer.momentum is not None)


def _synchronize_batch_norm(layer: nn.modules.batchnorm._BatchNorm) -> SynchronizedBatchNorm:
    synchronized = SynchronizedBatchNorm(layer.num_features, layer.eps, layer.momentum)
    synchronized.weight, synchronized.bias = layer.weight, layer.bias
    for name, buffer in layer.named_buffers():
        setattr(synchronized, name, buffer)
    return synchronized.train(layer.training)
