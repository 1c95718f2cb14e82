"""The building blocks of the models."""

import torch.nn.functional as F
from torch import Tensor, nn


def convolution(in_channels: int, out_channels: int, stride: int = 1) -> list[nn.Module]:
    """A 3x3 convolution with batch norm and ReLU."""
    return [
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


class GlobalAverage(nn.Module):
    """The mean over height and width: [batch, channels, h, w] to [batch, channels].

    Unlike `AdaptiveAvgPool2d`, its gradient is deterministic on a GPU.
    """

    def forward(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))


class Residual(nn.Module):
    """Two convolutions around a shortcut without parameters (He et al., 2016, option A)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        first = convolution(in_channels, out_channels, stride)
        second = convolution(out_channels, out_channels)[:2]  # the ReLU comes after the sum
        self.residual = nn.Sequential(*first, *second)
        self.stride = stride
        self.missing = out_channels - in_channels

    def forward(self, images: Tensor) -> Tensor:
        # Every second pixel as pooling takes it: the gradient of slices would leave channels-last memory.
        shortcut = F.avg_pool2d(images, 1, self.stride) if self.stride > 1 else images
        if self.missing:
            before = self.missing // 2
            shortcut = F.pad(shortcut, (0, 0, 0, 0, before, self.missing - before))
        return F.relu(self.residual(images) + shortcut, inplace=True)
