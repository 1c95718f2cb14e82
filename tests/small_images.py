"""Small images in every format, depth and kind that is read."""

import io

import numpy as np
from PIL import Image


def every_kind() -> list[bytes]:
    """One file of each: its content."""
    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8)
    rgb, rgba = Image.fromarray(colours[..., :3]), Image.fromarray(colours)
    grey, palette = rgb.convert("L"), rgb.convert("P")
    wide = Image.fromarray(colours[..., 0].astype(np.uint16) * 257)
    real = Image.fromarray(colours[..., 0].astype(np.float32) / 255)
    turned = Image.Exif()
    turned[0x0112] = 6
    frames = {"save_all": True}
    saved = []
    for image, format, options in (
        *((image, "PNG", {}) for image in (rgb, rgba, grey, grey.convert("1"), grey.convert("LA"), wide)),
        *((palette, "PNG", {"transparency": 3}), (rgb, "PNG", {"exif": turned}), (rgb, "PNG", frames)),
        *((rgb, "JPEG", {"exif": turned}), (rgb, "JPEG", {"progressive": True}), (grey, "JPEG", {})),
        *((rgb.convert("CMYK"), "JPEG", {}), (rgb, "MPO", frames)),
        *((palette, "GIF", {}), (rgb, "GIF", frames), (rgba, "GIF", {})),
        *((rgb, "BMP", {}), (palette, "BMP", {}), (grey.convert("1"), "BMP", {}), (rgba, "BMP", {})),
        *((rgb, "WEBP", {}), (rgba, "WEBP", {"lossless": True}), (rgb, "WEBP", frames)),
        *((image, "TIFF", {}) for image in (rgb, rgba, grey, wide, real, palette, rgb.convert("LAB"))),
        *((rgb, "TIFF", {"compression": kind}) for kind in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")),
        *((grey.convert("1"), "TIFF", {"compression": "group4"}), (rgb, "TIFF", frames)),
    ):
        if options is frames:  # fresh ones each time: saving leaves its settings on an image
            options = {"append_images": [rgb.rotate(90), rgb.rotate(180)], **frames}
        image.copy().save(buffer := io.BytesIO(), format, **options)
        saved.append(buffer.getvalue())
    return saved
