"""Operations on images that augmentations are made of, each image at its own magnitude.

An operation has the form `(images, magnitudes) -> Tensor`: images uint8 [batch, 3, height, width], channels last in
memory; magnitudes float [batch]. Each gives the pixels of the Pillow operation that the papers used, or of
torchvision's affine map, on an image by itself: sums over an image are of whole numbers, which come out alike in any
order, so an image never depends on the batch it is in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imbalance_cli.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
else:
    torch = lazy_import("torch")
    F = lazy_import("torch.nn.functional")


def identity(images: Tensor, magnitudes: Tensor) -> Tensor:
    """The images as they are."""
    return images


def shear_x(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Every row moved left by its distance from the top edge times the magnitude."""
    ones, zeros = torch.ones_like(magnitudes), torch.zeros_like(magnitudes)
    return warp(images, (ones, magnitudes, magnitudes * images.shape[2] / 2), (zeros, ones, zeros))


def shear_y(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Every column moved up by its distance from the left edge times the magnitude."""
    ones, zeros = torch.ones_like(magnitudes), torch.zeros_like(magnitudes)
    return warp(images, (ones, zeros, zeros), (magnitudes, ones, magnitudes * images.shape[3] / 2))


def translate_x(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Moved right by so many pixels, the fraction dropped."""
    ones, zeros = torch.ones_like(magnitudes), torch.zeros_like(magnitudes)
    return warp(images, (ones, zeros, -magnitudes.trunc()), (zeros, ones, zeros))


def translate_y(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Moved down by so many pixels, the fraction dropped."""
    ones, zeros = torch.ones_like(magnitudes), torch.zeros_like(magnitudes)
    return warp(images, (ones, zeros, zeros), (zeros, ones, -magnitudes.trunc()))


def rotate(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Turned counter-clockwise about the centre by so many degrees."""
    cosines, sines = magnitudes.deg2rad().cos(), magnitudes.deg2rad().sin()
    zeros = torch.zeros_like(magnitudes)
    return warp(images, (cosines, -sines, zeros), (sines, cosines, zeros))


def brightness(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Black at -1, unchanged at 0, twice as bright at 1."""
    return _away_from(images, torch.zeros_like(magnitudes).view(-1, 1, 1, 1), magnitudes)


def saturation(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Grey at -1, unchanged at 0, each pixel twice as far from its grey at 1."""
    return _away_from(images, _grey(images).unsqueeze(1), magnitudes)


def contrast(images: Tensor, magnitudes: Tensor) -> Tensor:
    """The mean grey of the image at -1, unchanged at 0, each pixel twice as far from it at 1."""
    return _away_from(images, _rounded_mean(_grey(images).unsqueeze(1)), magnitudes)


def sharpness(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Smoothed at -1, unchanged at 0, sharpened at 1; the pixels of the edge stay."""
    batch, channels, height, width = images.shape
    smooth = images.permute(0, 2, 3, 1).flatten(2).float()  # whole rows of pixels, as they lie in memory
    columns = smooth[:, :-2] + smooth[:, 1:-1] + smooth[:, 2:]
    boxes = columns[..., : -2 * channels] + columns[..., channels:-channels] + columns[..., 2 * channels :]
    smooth[:, 1:-1, channels:-channels].mul_(4).add_(boxes).div_(13).round_()
    return _away_from(images, smooth.view(batch, height, width, channels).permute(0, 3, 1, 2), magnitudes)


def posterize(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Only so many of the 8 bits kept, rounded to a whole number."""
    dropped = 8 - magnitudes.round().int()
    kept = torch.bitwise_left_shift(torch.full_like(dropped, 255), dropped) & 255
    return images & kept.to(torch.uint8).view(-1, 1, 1, 1)


def solarize(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Values inverted from the magnitude on: none at 256, all at 0."""
    inverted = images >= magnitudes.view(-1, 1, 1, 1)
    return images ^ (inverted.to(torch.uint8) * 255)  # the bits turned over


def autocontrast(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Each channel stretched to span 0 to 255."""
    batch, channels, height, width = images.shape
    rows = images.permute(0, 2, 3, 1).flatten(2)  # beside whole rows of pixels: a vector of three is slow to subtract
    darkest = rows.amin(1).view(batch, width, channels).amin(1).float()
    spread = rows.amax(1).view(batch, width, channels).amax(1) - darkest
    darkest, spread = darkest.where(spread > 0, 0.0), spread.where(spread > 0, 255.0)  # one value: as it is
    darkest, spread = (each.repeat(1, width).unsqueeze(1) for each in (darkest, spread))
    # A float32 quotient of whole numbers this small is never rounded up to a whole number.
    stretched = rows.float().sub_(darkest).mul_(255).div_(spread).to(torch.uint8)
    return stretched.view(batch, height, width, channels).permute(0, 3, 1, 2)


def equalize(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Each channel with its values spread so that all are about equally frequent."""
    values = images.contiguous().flatten(2).long()  # [batch, channels, pixels]
    histogram = torch.zeros(*values.shape[:2], 256, dtype=torch.int32, device=images.device)
    histogram.scatter_add_(2, values, histogram.new_ones(1).expand_as(values))
    below_brightest = values.shape[2] - histogram.gather(2, values.amax(2, keepdim=True))
    step = below_brightest.div(255, rounding_mode="floor")
    darker = histogram.cumsum(2, dtype=torch.int32) - histogram
    table = (darker + step // 2).div_(step.clamp(min=1), rounding_mode="floor").clamp_(max=255)
    table = table.where(step > 0, torch.arange(256, dtype=torch.int32, device=images.device)).to(torch.uint8)
    return table.gather(2, values).view(images.shape).contiguous(memory_format=torch.channels_last)


def invert(images: Tensor, magnitudes: Tensor) -> Tensor:
    """The negative."""
    return ~images


def hue(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Every colour moved around the colour wheel by so many turns."""
    planes = images.permute(1, 0, 2, 3).contiguous().float()
    red, green, blue = planes
    most, least = planes.amax(0), planes.amin(0)
    spread = most - least
    # Where on the wheel, in sixths of a turn: red at 0, green at 2, blue at 4.
    place = torch.where(most == green, (blue - red).add_(spread, alpha=2), (red - green).add_(spread, alpha=4))
    place = torch.where(most == red, green - blue, place).div_(spread.clamp(min=1))
    place = place.add_((6 * magnitudes).view(-1, 1, 1)).remainder_(6)
    shares = (place - 3).abs_().sub_(1), 2 - (place - 2).abs_(), 2 - (place - 4).abs_()
    turned = [share.clamp_(0, 1).mul_(spread).add_(least).round_().to(torch.uint8) for share in shares]
    return torch.stack(turned, 3).permute(0, 3, 1, 2)


def warp(images: Tensor, x: tuple[Tensor, Tensor, Tensor], y: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Images seen through an affine map, bilinear, black beyond the edge.

    The pixel at (column, row), counted from the centre, shows what was at x[0] * column + x[1] * row + x[2] and
    y[0] * column + y[1] * row + y[2]; each of them float [batch].
    """
    height, width = images.shape[2:]
    columns = (torch.arange(width, device=images.device) - (width - 1) / 2).view(1, 1, -1)
    rows = (torch.arange(height, device=images.device) - (height - 1) / 2).view(1, -1, 1)
    places = []
    for (by_column, by_row, shift), size in ((x, width), (y, height)):
        by_column, by_row, shift = (2 / size * each.view(-1, 1, 1) for each in (by_column, by_row, shift))
        places.append((by_column * columns + shift) + by_row * rows)
    # Two planes of coordinates: an interleaved grid is slower to make and to read.
    sampled: Tensor = F.grid_sample(images.float(), torch.stack(places, 1).permute(0, 2, 3, 1), align_corners=False)
    return sampled.round_().to(torch.uint8, memory_format=torch.channels_last)


def _away_from(images: Tensor, origin: Tensor, magnitudes: Tensor) -> Tensor:
    """Every value at (1 + magnitude) times its distance from `origin`, cut to 0..255, the fraction dropped."""
    moved = images.float().sub_(origin).mul_((1 + magnitudes).view(-1, 1, 1, 1)).add_(origin)
    return moved.clamp_(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """Luma as ITU-R 601-2 defines it, a whole number: int32 [batch, height, width]."""
    red, green, blue = images.permute(1, 0, 2, 3).contiguous().int().unbind()
    return red.mul_(19595).add_(green.mul_(38470)).add_(blue.mul_(7471)).add_(32768).bitwise_right_shift_(16)


def _rounded_mean(values: Tensor) -> Tensor:
    """The mean of each channel of whole `values` [batch, channels, height, width], rounded: [batch, channels, 1, 1]."""
    pixels = values.shape[2] * values.shape[3]
    return (values.sum((2, 3), keepdim=True) + pixels // 2) // pixels
