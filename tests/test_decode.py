"""Files of any format become the right pixels, once, and a bad file is told from a good one."""

import hashlib
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from imbalance_cli.data import decode as decode_module
from imbalance_cli.data.decode import (
    BadImage,
    Content,
    ImageFile,
    decode_files,
    default_image_size,
    is_image,
)
from imbalance_cli.errors import printable

RANDOM = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


def decode(path: Path, size: int = 16) -> tuple[NDArray[np.uint8], Content | BadImage]:
    """Pixels [height, width, 3] and content of one file."""
    pixels = np.zeros((3, size, size), np.uint8)
    (content,) = decode_files(path.parent, [ImageFile(path.name, 0, 0)], [pixels])
    return pixels.transpose(1, 2, 0), content


def conversions(path: Path) -> tuple[str, ...]:
    content = decode(path)[1]
    assert isinstance(content, Content), content
    return content.conversions


@pytest.mark.fault("D13")
@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP", "JPEG", "GIF"])
def test_formats_are_told_apart_by_content_not_by_suffix(tmp_path: Path, format: str) -> None:
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    Image.fromarray(flat).save(tmp_path / "image.txt", format, lossless=True)
    pixels, content = decode(tmp_path / "image.txt")
    assert isinstance(content, Content)
    assert np.abs(pixels.astype(int) - flat).max() <= (3 if format == "JPEG" else 0)


def test_lossless_pixels_of_the_right_size_arrive_unchanged(tmp_path: Path) -> None:
    Image.fromarray(RANDOM).save(tmp_path / "a.png")
    pixels, content = decode(tmp_path / "a.png")
    assert np.array_equal(pixels, RANDOM)
    assert isinstance(content, Content) and content.conversions == ()


def test_the_digest_is_the_sha256_of_the_file(tmp_path: Path) -> None:
    Image.fromarray(RANDOM).save(tmp_path / "a.png")
    content = decode(tmp_path / "a.png")[1]
    data = (tmp_path / "a.png").read_bytes()
    assert isinstance(content, Content) and content.digest == hashlib.sha256(data).hexdigest()


@pytest.mark.fault("D14")
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    wide = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    expected = np.repeat((wide / 257)[..., None], 3, axis=2)
    for name in ("grey.png", "grey.tiff"):
        Image.fromarray(wide).save(tmp_path / name)
        assert np.abs(decode(tmp_path / name)[0] - expected).max() <= 1
        assert conversions(tmp_path / name) == ("16-bit grey: scaled to 8 bits",)


def test_float_grey_is_read_from_0_to_1_and_refused_outside(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "float.tiff")
    assert np.array_equal(decode(tmp_path / "float.tiff")[0][..., 0].ravel(), np.arange(256))
    for wrong in (values * 300, values - 1, values * np.nan):
        Image.fromarray(wrong).save(tmp_path / "float.tiff")
        content = decode(tmp_path / "float.tiff")[1]
        assert isinstance(content, BadImage) and "0 to 1" in str(content)


@pytest.mark.fault("D15")
def test_grey_palette_1_bit_and_cmyk_become_rgb_and_say_so(tmp_path: Path) -> None:
    grey = Image.fromarray(RANDOM[..., 0])
    grey.save(tmp_path / "grey.png")
    assert np.array_equal(decode(tmp_path / "grey.png")[0], np.repeat(RANDOM[..., :1], 3, axis=2))
    assert "grey" in conversions(tmp_path / "grey.png")[0]

    palette = Image.fromarray(RANDOM).quantize(64)
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(decode(tmp_path / "palette.png")[0], np.asarray(palette.convert("RGB")))
    assert "palette" in conversions(tmp_path / "palette.png")[0]

    Image.fromarray(RANDOM[..., 0] > 127).save(tmp_path / "bits.png")
    assert np.array_equal(decode(tmp_path / "bits.png")[0][..., 0], (RANDOM[..., 0] > 127) * np.uint8(255))
    assert "1-bit" in conversions(tmp_path / "bits.png")[0]

    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    assert np.abs(decode(tmp_path / "cmyk.jpg")[0] - np.array([255.0, 0, 0])).max() <= 3
    assert "CMYK" in conversions(tmp_path / "cmyk.jpg")[0]


@pytest.mark.fault("D15")
def test_transparency_is_composed_on_white(tmp_path: Path) -> None:
    alpha = np.linspace(0, 255, 256).astype(np.uint8).reshape(16, 16, 1)
    Image.fromarray(np.concatenate([RANDOM, alpha], axis=2)).save(tmp_path / "rgba.png")
    opacity = alpha / 255
    expected = RANDOM * opacity + 255 * (1 - opacity)
    assert np.abs(decode(tmp_path / "rgba.png")[0] - expected).max() <= 1
    assert conversions(tmp_path / "rgba.png") == ("transparency: composed on white",)

    Image.new("LA", (16, 16), (0, 0)).save(tmp_path / "la.png")
    assert decode(tmp_path / "la.png")[0].min() == 255

    clear = Image.new("P", (16, 16), 0)
    clear.putpalette([10, 20, 30])
    clear.save(tmp_path / "p.png", transparency=bytes([0]))
    assert decode(tmp_path / "p.png")[0].min() == 255

    Image.new("RGB", (16, 16), (1, 2, 3)).save(tmp_path / "key.png", transparency=(1, 2, 3))
    assert decode(tmp_path / "key.png")[0].min() == 255


@pytest.mark.fault("D16")
def test_exif_orientation_turns_the_image_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the first row is the right-hand side
    for name in ("photo.png", "photo.tiff", "photo.webp"):
        Image.fromarray(RANDOM).save(tmp_path / name, exif=exif, lossless=True)
        assert np.array_equal(decode(tmp_path / name)[0], np.rot90(RANDOM, -1)), name


@pytest.mark.fault("D17")
def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    colours = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    frames = [Image.new("RGB", (16, 16), colour) for colour in colours]
    for name in ("anim.gif", "anim.png", "anim.webp", "pages.tiff"):
        options: dict[str, Any] = {"lossless": True} if name.endswith("webp") else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert np.array_equal(decode(tmp_path / name)[0][0, 0], colours[0])
        assert "animated: first frame of 3" in conversions(tmp_path / name)


def test_other_sizes_keep_their_proportions_and_lose_the_ends_of_the_longer_side(tmp_path: Path) -> None:
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = 255  # the middle square is white, what is cut off is black
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert decode(tmp_path / "wide.png")[0][:, 2:-2].min() > 240
    Image.fromarray(wide.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    assert decode(tmp_path / "tall.png")[0][2:-2].min() > 240
    Image.fromarray(RANDOM).save(tmp_path / "small.png")
    assert decode(tmp_path / "small.png", size=24)[0].std() > 0


def test_scaling_down_averages_instead_of_dropping_pixels(tmp_path: Path) -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    for name in ("stripes.png", "stripes.jpg"):
        Image.fromarray(stripes).save(tmp_path / name)
        assert np.abs(decode(tmp_path / name)[0].astype(int) - 127).max() <= 6


def test_what_is_no_image_says_so(tmp_path: Path) -> None:
    for name, data in {"text.png": b"hi", "empty.png": b"", "x.svg": b"<svg/>"}.items():
        (tmp_path / name).write_bytes(data)
        content = decode(tmp_path / name)[1]
        assert isinstance(content, BadImage) and "not an image" in str(content)
        assert not is_image(tmp_path / name)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_truncated_images_are_bad_and_leave_nothing_on_stderr(
    tmp_path: Path, format: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a"
    options = {"compression": "tiff_lzw"} if format == "TIFF" else {}
    Image.fromarray(RANDOM).save(path, format, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert isinstance(decode(path)[1], BadImage)
    assert capfd.readouterr() == ("", "")


def test_pillow_logs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(RANDOM).save(tmp_path / "a.tif")
    whole = (tmp_path / "a.tif").read_bytes()
    samples = struct.pack("<HHI", 277, 3, 1)  # the tag of the samples per pixel: one short number
    assert whole.count(samples) == 1
    (tmp_path / "a.tif").write_bytes(whole.replace(samples + b"\x03\x00", samples + b"\x03\x88"))
    assert isinstance(decode(tmp_path / "a.tif")[1], BadImage)
    assert caplog.messages == []


def test_damaged_bytes_never_escape_as_an_exception(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    for format in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        path = tmp_path / format
        Image.fromarray(RANDOM).save(path, format)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(30):
            damaged = whole.copy()
            damaged[generator.integers(0, len(whole), 3)] = generator.integers(0, 256, 3)
            path.write_bytes(damaged.tobytes())
            assert isinstance(decode(path)[1], Content | BadImage)


def test_a_file_that_vanished_says_so(tmp_path: Path) -> None:
    content = decode(tmp_path / "gone.png")[1]
    assert isinstance(content, BadImage) and "gone since" in str(content)


@pytest.mark.parametrize(("size", "reason"), [((1, 1), "minimum"), ((300, 1), "minimum"), ((400, 10), "20")])
def test_images_too_small_or_too_narrow_are_bad(tmp_path: Path, size: tuple[int, int], reason: str) -> None:
    Image.new("RGB", size).save(tmp_path / "a.png")
    content = decode(tmp_path / "a.png")[1]
    assert isinstance(content, BadImage)
    assert f"{size[0]} x {size[1]}" in str(content) and reason in str(content)


def bomb(path: Path, side: int = 20_000) -> None:
    """A 1-bit PNG of side x side pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((side // 8 + 1) * side))
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


@pytest.mark.fault("D18")
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    bomb(tmp_path / "bomb.png")
    limit = Image.MAX_IMAGE_PIXELS
    content = decode(tmp_path / "bomb.png")[1]
    assert isinstance(content, BadImage)
    assert "400000000" in str(content) and "limit is 100000000" in str(content)
    assert Image.MAX_IMAGE_PIXELS == limit


# The most memory that this process has held, in MiB; `resource` would count that of the process that started it.
PEAK_MEMORY = (
    "from pathlib import Path; peak_memory = lambda: "
    "int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) / 1024"
)
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")


@needs_proc
@pytest.mark.fault("D18")
def test_a_decompression_bomb_takes_no_memory_and_pillow_says_nothing(tmp_path: Path) -> None:
    bomb(tmp_path / "bomb.png")
    code = (
        f"{PEAK_MEMORY}; import sys, numpy as np\n"
        "from imbalance_cli.data.decode import ImageFile, decode_files, default_image_size\n"
        "folder, files = Path(sys.argv[1]), [ImageFile('bomb.png', 0, 0)]\n"
        "default_image_size(folder, files, lambda _: None)\n"
        "print(decode_files(folder, files, [np.zeros((3, 32, 32), np.uint8)])[0])\n"
        "print(peak_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    reason, mebibytes = done.stdout.splitlines()
    assert "the limit is" in reason and float(mebibytes) < 200 and done.stderr == ""


def test_large_images_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[int] = []

    def watched(image: Image.Image) -> tuple[Image.Image, list[str]]:
        running.append(1)
        time.sleep(0.01)
        assert len(running) == 1
        running.pop()
        return image, []

    monkeypatch.setattr(decode_module, "_LARGE", 0)
    monkeypatch.setattr(decode_module, "_CHUNK", 1)
    monkeypatch.setattr(decode_module, "_to_rgb", watched)
    Image.fromarray(RANDOM).save(tmp_path / "a.png")
    pixels = [np.zeros((3, 16, 16), np.uint8) for _ in range(8)]
    found = decode_files(tmp_path, [ImageFile("a.png", 10_000, 0)] * 8, pixels)
    assert all(isinstance(content, Content) for content in found)


def test_many_files_keep_their_order_across_threads(tmp_path: Path) -> None:
    files = []
    for value in range(150):
        Image.new("RGB", (16, 16), (value, 0, 0)).save(tmp_path / f"{value}.png")
        files.append(ImageFile(f"{value}.png", 100_000, 0))  # so large that several threads are worth it
    pixels = np.zeros((150, 3, 16, 16), np.uint8)
    decode_files(tmp_path, files, list(pixels))
    assert pixels[:, 0, 0, 0].tolist() == list(range(150))


# ---------------------------------------------------------------------------------- the default image size


@pytest.mark.parametrize(
    ("sides", "expected"),
    [([10, 12], 32), ([32, 32], 32), ([48, 48], 32), ([64, 64], 64), ([20, 100, 500], 96), ([500, 900], 224)],
)
def test_the_default_size_is_a_usual_one_not_above_the_median(tmp_path: Path, sides: list[int], expected: int) -> None:
    files = []
    for index, side in enumerate(sides):
        Image.new("RGB", (side + 7, side)).save(tmp_path / f"{index}.png")
        files.append(ImageFile(f"{index}.png", 0, 0))
    said: list[str] = []
    assert default_image_size(tmp_path, files, said.append) == expected
    assert f"{expected} x {expected}" in said[0] and str(sides[0]) in said[0] and "--image-size" in said[0]


def test_the_default_size_keeps_many_images_within_a_gibibyte(tmp_path: Path) -> None:
    Image.new("RGB", (500, 500)).save(tmp_path / "a.png")
    assert default_image_size(tmp_path, [ImageFile("a.png", 0, 0)] * 20_000, print) == 128


def test_printable_escapes_what_would_break_a_line_or_an_encoding() -> None:
    assert printable("naïve cat") == "naïve cat"
    assert printable("a\nb\x1b") == r"a\nb\x1b"
    assert printable(os.fsdecode(b"\xff.png")).encode() == rb"\udcff.png"


def test_a_file_that_would_be_read_whole_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "x.webp"
    path.write_bytes(b"RIFF\xff\xff\xff\x7fWEBPVP8 \xff\xff\xff\x7f")
    os.truncate(path, decode_module.MAX_BYTES + 1)
    assert not decode_module.is_image(path)
    assert str(decode(path)[1]) == "1,073,741,825 bytes, the limit is 1,073,741,824"
