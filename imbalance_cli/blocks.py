"""The building blocks of the models."""

import torch
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


class CosineClassifier(nn.Module):
    """30 times the cosine between features [batch, features] and each class's row: logits [batch, classes].

    No class gets larger logits by a longer row or a bias; LDAM's margins are set in it (Cao et al., 2019).
    """

    SCALE = 30.0

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the rows anew."""
        nn.init.normal_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 would round the cosines to 0.01
            return self.SCALE * F.linear(F.normalize(features.float()), F.normalize(self.weight))
