"""A folder of images becomes exactly the samples that its owner means, or an error that names the place."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_data import new_run, settings_for
from test_decode import PEAK_MEMORY, bomb, needs_proc
from typer.testing import CliRunner, Result

from imbalance_cli.cli import app
from imbalance_cli.data import listing
from imbalance_cli.data.folder import load_folder
from imbalance_cli.data.image_set import Dataset
from imbalance_cli.data.listing import list_folder
from imbalance_cli.data.manifest import read_manifest
from imbalance_cli.errors import DataError, SettingError

Loader = Callable[..., tuple[Dataset, list[str]]]
numbers = iter(range(1, 10_000_000))


def image(path: Path, number: int | None = None) -> Path:
    """A 16x16 PNG at `path`, of a content of its own unless `number` says which."""
    number = next(numbers) if number is None else number
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (number % 256, number // 256 % 256, number // 65536)).save(path, "PNG")
    return path


def images(folder: Path, *names: str) -> None:
    for name in names:
        image(folder / name)


@pytest.fixture
def load(tmp_path: Path) -> Loader:
    def load_from(path: Path, **options: Any) -> tuple[Dataset, list[str]]:
        said: list[str] = []
        dataset = load_folder(path, cache_dir=tmp_path / "cache", notice=said.append, **options)
        return dataset, said

    return load_from


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A good dataset: two classes, one test and two training images each."""
    root = tmp_path / "pets"
    images(root, "train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "train/dog/2.png")
    images(root, "test/cat/3.png", "test/dog/3.png")
    return root


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """Two classes of ten images, without train/ and test/."""
    root = tmp_path / "alone"
    images(root, *(f"{name}/{index}.png" for name in ("cat", "dog") for index in range(10)))
    return root


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMBALANCE_DATA", str(tmp_path / "data"))


def imbalance(*args: object, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(arg) for arg in args], prog_name="imbalance")
    assert result.exit_code == exit_code, result.output
    return result


def refused(path: Path, *parts: str, flags: Sequence[str] = ()) -> None:
    """The command refuses `path` in one line that mentions all `parts`, and writes nothing."""
    result = imbalance("make-subset", path, *flags, "-o", "refused.yaml", "--quiet", exit_code=3)
    assert result.stdout == "" and not Path("refused.yaml").exists()
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and line.isprintable()
    for part in parts:
        assert part in line, line


# ------------------------------------------------------------------------------------------------- layouts


def test_train_and_test_folders_hold_one_folder_per_class(load: Loader, root: Path) -> None:
    dataset, said = load(root, image_size=16)
    assert dataset.name == str(root)
    assert dataset.train.class_names == dataset.test.class_names == ("cat", "dog")
    assert dataset.train.items == ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")
    assert dataset.train.labels.tolist() == [0, 0, 1, 1]
    assert dataset.test.items == ("cat/3.png", "dog/3.png")
    assert dataset.train.images.shape == (4, 3, 16, 16)
    assert said == []


def test_pixels_belong_to_their_items(load: Loader, tmp_path: Path) -> None:
    root = tmp_path / "colours"
    for number in range(20):
        image(
            root / ("train" if number % 2 else "test") / ("cat" if number < 10 else "dog") / f"{number}",
            number,
        )
    for _ in range(2):  # decoded, then from the cache
        dataset, _ = load(root, image_size=16)
        for split in (dataset.train, dataset.test):
            numbers = [int(item.split("/")[1]) for item in split.items]
            assert split.images[:, 0, 0, 0].tolist() == numbers


def test_classes_come_in_the_order_given_and_only_they_are_read(load: Loader, root: Path) -> None:
    images(root, "train/rat/1.png", "test/rat/2.png")
    (root / "train/rat/broken.png").write_text("never read")
    dataset, _ = load(root, classes=["dog", "cat"])
    assert dataset.train.class_names == ("dog", "cat")
    assert dataset.train.items == ("dog/1.png", "dog/2.png", "cat/1.png", "cat/2.png")
    assert dataset.train.labels.tolist() == [0, 0, 1, 1]


def test_an_unknown_class_gets_the_nearest_name(load: Loader, root: Path) -> None:
    refused(root, "'cats'", "did you mean 'cat'", flags=["--classes", "cats", "dog"])
    with pytest.raises(SettingError, match="class 'dog' is named twice"):
        load(root, classes=["dog", "dog"])


def test_sub_folders_of_a_class_belong_to_it_and_a_folder_is_no_image(load: Loader, root: Path) -> None:
    images(root, "train/cat/2024/may.png")
    (root / "train/cat/dir.png").mkdir()
    dataset, _ = load(root)
    assert dataset.train.items[:3] == ("cat/1.png", "cat/2.png", "cat/2024/may.png")


def test_other_folders_beside_train_and_test_are_said_to_be_unread(load: Loader, root: Path) -> None:
    images(root, "val/cat/1.png")
    assert any("val" in line for line in load(root)[1])


def test_one_of_train_and_test_alone_is_refused_with_the_way_out(load: Loader, root: Path) -> None:
    for path in sorted(root.glob("test/**/*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / "test").rmdir()
    refused(root, "no test/", str(root / "train"))
    dataset, _ = load(root / "train")
    assert dataset.train.class_names == ("cat", "dog")


def test_a_class_may_be_called_train(load: Loader, tmp_path: Path) -> None:
    images(tmp_path / "vehicles", "train/1.png", "train/2.png", "bus/1.png", "bus/2.png")
    assert load(tmp_path / "vehicles")[0].train.class_names == ("bus", "train")


def test_files_beside_the_class_folders_that_are_no_images_do_not_matter(load: Loader, root: Path) -> None:
    (root / "README.md").write_text("about these pets")
    (root / "train/labels.json").write_text("{}")
    assert len(load(root)[0].train) == 4


# -------------------------------------------------------------------------------------- drawing test images


def test_class_folders_alone_are_split_by_seed_and_the_counts_are_said(load: Loader, alone: Path) -> None:
    dataset, said = load(alone)
    assert dataset.train.counts().tolist() == [8, 8]
    assert dataset.test.counts().tolist() == [2, 2]
    assert not set(dataset.train.items) & set(dataset.test.items)
    assert any("16 to train + 4 to test" in line and "cat 8 + 2" in line for line in said)


def test_the_same_seed_draws_the_same_images_and_another_seed_others(load: Loader, alone: Path) -> None:
    drawn = {seed: load(alone, seed=seed)[0] for seed in (0, 0, 1)}
    assert load(alone, seed=0)[0].test.items == drawn[0].test.items
    assert drawn[1].test.items != drawn[0].test.items
    assert drawn[1].identity != drawn[0].identity


def test_new_images_do_not_reshuffle_the_others(load: Loader, alone: Path) -> None:
    before = set(load(alone)[0].test.items)
    image(alone / "cat/new.png")
    after = set(load(alone)[0].test.items)
    assert len(before - after) <= 1


def test_every_class_with_two_images_has_one_in_each_split(load: Loader, tmp_path: Path) -> None:
    images(tmp_path / "few", *(f"{name}/{index}.png" for name in ("a", "b") for index in range(2)))
    dataset, _ = load(tmp_path / "few")
    assert dataset.train.counts().tolist() == dataset.test.counts().tolist() == [1, 1]


def test_a_single_image_cannot_be_in_both_splits(alone: Path) -> None:
    image(alone / "rat/1.png")
    refused(alone, "rat", "0 images for test")


def test_copies_of_an_image_in_one_class_stay_together(load: Loader, tmp_path: Path) -> None:
    for index in range(40):
        copy = image(tmp_path / f"copies/cat/{index}.png", 300 + index // 4)
        if index % 4 == 3:
            Image.open(copy).save(copy, "BMP")  # a copy in another format is one too
        image(tmp_path / f"copies/dog/{index}.png", 600 + index)
    dataset, _ = load(tmp_path / "copies")
    assert dataset.test.counts().tolist() == [8, 8]


# ------------------------------------------------------------------------------------ what is not a dataset


def test_nothing_there(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no dataset or folder called", "nowhere")


@pytest.mark.fault("D02")
def test_an_empty_folder_is_told_the_expected_layout(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no class folders", "train/<class>/", "CSV")


@pytest.mark.fault("D03")
def test_images_outside_any_class_folder(tmp_path: Path, root: Path) -> None:
    images(tmp_path / "flat", "1.png", "2.png")
    refused(tmp_path / "flat", "2 images lie outside any class folder")
    image(root / "train/stray")
    refused(root, "1 images lie outside any class folder", "stray")


@pytest.mark.fault("D04")
def test_one_class_only(tmp_path: Path) -> None:
    images(tmp_path / "one", "cat/1.png")
    refused(tmp_path / "one", "needs at least 2 classes, found 1: cat")


@pytest.mark.fault("D05")
def test_an_empty_class_is_refused_or_keeps_its_place(load: Loader, root: Path) -> None:
    (root / "train/ant").mkdir()
    (root / "test/ant").mkdir()
    refused(root, "class ant has 0 images", "--allow-empty")
    dataset, _ = load(root, allow_empty=True)
    assert dataset.train.class_names == ("ant", "cat", "dog")
    assert dataset.train.counts().tolist() == [0, 2, 2]
    imbalance("make-subset", root, "--allow-empty", "-o", "kept.yaml")
    assert read_manifest(Path("kept.yaml")).counts == {"ant": 0, "cat": 2, "dog": 2}
    small = ["--epochs", 1, "--set", "model.width=4", "--device", "cpu", "--json"]
    result = imbalance("train", "--subset", "kept.yaml", "--allow-empty", *small)
    assert json.loads(result.stdout)["classes"] == ["ant", "cat", "dog"]
    refused(
        root,
        "class 'ant' has 0 images; choose other classes, or leave out the ratio",
        flags=["--allow-empty", "--ratio", "0.5"],
    )


def test_a_split_without_any_image_is_refused_whatever_is_allowed(root: Path) -> None:
    for path in root.glob("test/*/*.png"):
        path.unlink()
    refused(root, "no images for test", flags=["--allow-empty"])


@pytest.mark.fault("D07")
def test_a_class_only_in_test_or_only_in_train(load: Loader, root: Path) -> None:
    images(root, "test/rat/1.png")
    refused(root, "class rat has 0 images for train")
    assert len(load(root, classes=["cat", "dog"])[0].train) == 4
    images(root, "train/owl/1.png")
    refused(root, "class owl has 0 images for test")


@pytest.mark.parametrize("size", [0, -1, 7, 1025])
def test_an_impossible_image_size(load: Loader, root: Path, size: int) -> None:
    with pytest.raises(SettingError, match=f"--image-size is {size}.* 8 to 1024"):
        load(root, image_size=size)


# ------------------------------------------------------------------------------------------------ bad files


def long_line(path: Path, width: int = 10_000) -> None:
    Image.new("RGB", (width, 1)).save(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda path: path.write_text("hi"), "not an image", marks=pytest.mark.fault("D12")),
        pytest.param(lambda path: path.write_text("<svg/>"), "not an image", marks=pytest.mark.fault("D12")),
        pytest.param(lambda path: path.write_bytes(b""), "not an image"),
        pytest.param(bomb, "20000 x 20000 pixels are 400000000, the limit", marks=pytest.mark.fault("D18")),
        pytest.param(lambda path: long_line(path, 1), "1 x 1 pixels, the minimum is 8", marks=pytest.mark.fault("D19")),
        pytest.param(long_line, "10000 x 1 pixels, the minimum is 8", marks=pytest.mark.fault("D19")),
    ],
)
def test_a_file_that_is_no_sample_is_an_error_that_names_it(
    root: Path, make: Callable[[Path], Any], words: str
) -> None:
    make(root / "train/cat/strange.png")
    refused(root, str(root / "train/cat/strange.png"), words, "--skip-bad")
    make(root / "train/dog/strange.png")
    refused(root, "and 1 more files")


def test_a_file_that_vanishes_while_the_folder_is_listed_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = listing._visible

    def slow(folder: Path, hidden: list[str]) -> list[os.DirEntry[str]]:
        entries = listed(folder, hidden)
        if folder == root / "train/dog":
            (folder / "2.png").unlink()
        return entries

    monkeypatch.setattr(listing, "_visible", slow)
    refused(root, str(root / "train/dog/2.png"), "No such file", "a moment ago")


def test_unreadable_files_can_be_skipped_and_are_listed(load: Loader, root: Path) -> None:
    (root / "train/cat/note.png").write_text("hi")
    for _ in range(2):
        dataset, said = load(root, skip_bad=True)
        assert dataset.train.items == ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")
        assert any("skipped" in line and "note.png" in line for line in said)


def test_a_class_with_nothing_but_skipped_files_is_empty(root: Path) -> None:
    (root / "test/dog/3.png").write_text("hi")
    refused(root, "dog", "0 images for test", flags=["--skip-bad"])


@pytest.mark.fault("D17")
def test_conversions_are_said_once_per_kind_also_from_the_cache(load: Loader, root: Path) -> None:
    for name in ("4.png", "5.png"):
        Image.effect_noise((16, 16), 50).save(root / "train/cat" / name)
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(root / "train/dog/anim.gif", save_all=True, append_images=frames[1:])
    for _ in range(2):
        said = load(root)[1]
        (grey,) = (line for line in said if line.startswith("grey"))
        assert "train/cat/4.png and 1 more" in grey
        (animated,) = (line for line in said if "first frame of 3" in line)
        assert "anim.gif" in animated


@pytest.mark.fault("D13", "D14", "D15", "D16", "D30")
def test_unusual_images_are_read_and_the_command_says_how(root: Path) -> None:
    folder = root / "train/cat"
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8)
    Image.fromarray(noise[..., :3]).save(folder / "named.png", "JPEG")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(folder / "16-bit.png")
    Image.fromarray(noise[..., 0]).save(folder / "grey.png")
    Image.fromarray(noise[..., :3]).quantize(64).save(folder / "palette.png")
    Image.fromarray(noise[..., 0] > 127).save(folder / "1-bit.png")
    Image.fromarray(noise[..., :3]).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(noise).save(folder / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise[::-1, :, :3].copy()).save(folder / "turned.jpg", exif=exif)
    (folder / "folder.png").mkdir()
    said = imbalance("make-subset", root, "-o", "kept.yaml", "--json").stderr.splitlines()
    for kind in ("16-bit grey", "grey", "palette", "1-bit", "CMYK", "transparency: composed on white"):
        assert sum(line.startswith(kind) for line in said) == 1, kind
    assert read_manifest(Path("kept.yaml")).counts == {"cat": 10, "dog": 2}


# ------------------------------------------------------------------------------- files that change afterwards


@pytest.mark.fault("D11")
def test_one_flipped_bit_in_an_image_makes_another_dataset(root: Path) -> None:
    photo = root / "train/cat/photo.jpg"
    Image.effect_noise((64, 64), 80).convert("RGB").save(photo)
    imbalance("make-subset", root, "-o", "before.yaml", "-q")
    before, times = photo.read_bytes(), photo.stat()
    damaged = bytearray(before)
    damaged[len(before) // 2] ^= 1  # in the middle of the compressed pixels, which carry no checksum
    photo.write_bytes(damaged)
    os.utime(photo, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a copying program may leave it
    imbalance("make-subset", root, "-o", "after.yaml", "-q")
    assert read_manifest(Path("after.yaml")).identity != read_manifest(Path("before.yaml")).identity
    result = imbalance("train", "--subset", "before.yaml", "-o", "run", "-q", exit_code=3)
    assert "were changed, added, removed or renamed" in result.stderr and not Path("run").exists()
    photo.write_bytes(before)
    imbalance("train", "--subset", "before.yaml", "--dry-run", "-q")


@pytest.mark.fault("D29")
def test_a_file_that_has_gone_is_missed_until_it_is_put_back(root: Path) -> None:
    imbalance("make-subset", root, "--image-size", 16, "-o", "pets.yaml", "-q")
    run = new_run(settings_for(root, root.parent / "data", epochs=1), root.parent / "run")
    run.save()
    content = {path: path.read_bytes() for path in run.folder.iterdir()}

    (root / "train/cat/1.png").rename("kept.png")
    for command in (["train", "--subset", "pets.yaml", "-o", "new"], ["train", "--resume", run.folder]):
        (line,) = imbalance(*command, "-q", exit_code=3).stderr.splitlines()
        of = "the run" if "--resume" in command else root.parent / "pets.yaml"
        assert line.startswith(f"error: image 'cat/1.png' of {of} is not in {root} any more; put it back, or ")
    assert content.items() <= {path: path.read_bytes() for path in run.folder.iterdir()}.items()
    assert not Path("new").exists()

    Path("kept.png").rename(root / "train/cat/1.png")
    imbalance("train", "--resume", run.folder, "-q")
    assert (run.folder / "results.json").exists()


# -------------------------------------------------------------------------------------- names, junk, links


@pytest.mark.fault("D25")
def test_hidden_and_junk_entries_are_ignored_and_counted(load: Loader, root: Path) -> None:
    images(root, "train/.ipynb_checkpoints/1.png", "train/cat/._x.png")
    (root / ".DS_Store").write_text("")
    (root / "train/cat/Thumbs.db").write_text("")
    dataset, said = load(root)
    assert dataset.train.class_names == ("cat", "dog") and len(dataset.train) == 4
    assert any("4 hidden entries ignored" in line for line in said)


@pytest.mark.fault("D20")
def test_any_name_that_a_file_system_takes_is_a_name(load: Loader, tmp_path: Path) -> None:
    names = ("-rf", "a\nb", 'a "quoted" one', "naïve cat")
    images(tmp_path / "odd", *(f"{name}/{index} x.png" for name in names for index in range(2)))
    dataset, said = load(tmp_path / "odd")
    assert dataset.train.class_names == names
    assert all("\n" not in line for line in said)
    imbalance("make-subset", tmp_path / "odd", "-o", "odd.yaml")
    assert tuple(read_manifest(Path("odd.yaml")).items) == names
    assert "-rf" in imbalance("train", "--subset", "odd.yaml", "--dry-run").stdout


@pytest.mark.fault("D21")
def test_names_that_are_not_utf_8_survive_and_are_escaped_in_messages(load: Loader, root: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    try:
        (root / "train/cat/1.png").rename(root / "train/cat" / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    dataset, _ = load(root)
    assert os.fsencode(dataset.train.items[1]) == b"cat/\xff.png"
    imbalance("make-subset", root, "-o", "kept.yaml")
    assert os.fsencode(read_manifest(Path("kept.yaml")).items["cat"][1]) == b"cat/\xff.png"
    imbalance("train", "--subset", "kept.yaml", "--dry-run")
    (root / "train/cat" / name).write_text("hi")
    refused(root, "\\udcff.png")


@pytest.mark.fault("D21")
def test_a_class_whose_name_is_not_utf_8_is_trained_and_evaluated(root: Path) -> None:
    name = os.fsdecode(b"\xfe")
    try:
        for split in ("train", "test"):
            (root / split / "cat").rename(root / split / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    imbalance("train", "-d", root, "-o", "run", "--epochs", 1, "--set", "model.width=4", "--device", "cpu", "-q")
    assert "\\udcfe" in imbalance("evaluate", "run", "-q").stdout
    imbalance("evaluate", "run", "-q", "--json")


def test_folders_may_be_nested_as_deep_as_the_file_system_allows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "train/cat")
    depth = 1200  # more than Python calls may be nested; a path of 4096 bytes is the limit
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    image(Path("deep.png"))
    monkeypatch.chdir(root.parent)
    try:
        assert f"cat/{'d/' * depth}deep.png" in [sample.item for sample in list_folder(root, None, print).samples]
    finally:  # pytest's own way to remove a folder calls itself at every level
        subprocess.run(["rm", "-rf", root], check=True)


@pytest.mark.fault("D23")
@pytest.mark.parametrize("target", ["..", "../..", "../../..", ".", "loop"])
def test_a_link_loop_is_refused(root: Path, target: str) -> None:
    (root / "train/cat/loop").symlink_to(target)
    refused(root, str(root / "train/cat/loop"), "link loop" if target != "../../.." else "link")


def test_folders_that_link_to_each_other_are_a_loop(root: Path) -> None:
    (root / "train/cat/x").symlink_to("../dog")
    (root / "train/dog/y").symlink_to("../cat")
    refused(root, "link loop")


@pytest.mark.fault("D24")
def test_dangling_links_and_links_out_of_the_folder_are_refused(root: Path) -> None:
    link = root / "train/cat/x.png"
    link.symlink_to("/nope/nothing.png")
    refused(root, str(link), "/nope/nothing.png", "not there")
    link.unlink()
    outside = image(root.parent / "outside.png")
    link.symlink_to(outside)
    refused(root, str(link), str(outside), "out of")


def test_a_link_within_the_folder_is_followed(load: Loader, root: Path) -> None:
    image(root / "train/cat/albums/a/4.png")
    (root / "train/cat/albums/b").symlink_to("a")
    assert len(load(root)[0].train) == 6


# ------------------------------------------------------------------------------------------- leaks, identity


@pytest.mark.fault("D27")
def test_the_same_image_under_two_classes(load: Loader, root: Path) -> None:
    (root / "train/dog/copy.png").write_bytes((root / "train/cat/1.png").read_bytes())
    paths = (str(root / "train/cat/1.png"), str(root / "train/dog/copy.png"))
    refused(root, "same content, two classes", *paths, "--allow-leak")
    assert len(load(root, allow_leak=True)[0].train) == 5


def test_the_same_pixels_in_another_file_are_the_same_image(load: Loader, root: Path) -> None:
    Image.open(root / "train/cat/1.png").save(root / "test/dog/copy.bmp")
    refused(root, "same content, two classes", "train/cat/1.png", "test/dog/copy.bmp")
    (root / "test/dog/copy.bmp").rename(root / "test/cat/copy.bmp")
    refused(root, "same content, train and test", "train/cat/1.png", "test/cat/copy.bmp")


def test_the_same_image_in_train_and_test(load: Loader, root: Path) -> None:
    (root / "test/cat/copy.png").write_bytes((root / "train/cat/1.png").read_bytes())
    refused(root, "same content, train and test", "train/cat/1.png", "test/cat/copy.png", "--allow-leak")
    assert len(load(root, allow_leak=True)[0].test) == 3


def test_the_same_image_twice_in_one_class_and_split_is_no_leak(load: Loader, root: Path) -> None:
    (root / "train/cat/copy.png").write_bytes((root / "train/cat/1.png").read_bytes())
    assert len(load(root)[0].train) == 5


def test_the_identity_follows_the_training_images_and_nothing_else(load: Loader, root: Path) -> None:
    def identity(classes: Sequence[str] | None = None) -> str:
        return load(root, classes=classes)[0].identity

    before = identity()
    assert before.startswith("sha256:") and len(before) == 7 + 64
    assert identity(["dog", "cat"]) == before  # the same images under the same names
    image(root / "test/cat/4.png")
    os.utime(root / "train/cat/1.png", ns=(1, 1))
    assert identity() == before
    image(root / "train/cat/1.png")
    changed = identity()
    assert changed != before
    (root / "train/cat/1.png").rename(root / "train/cat/one.png")
    assert identity() not in (before, changed)


# ------------------------------------------------------------------------------------------------ CSV files


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Writes a CSV file beside six images a.png to f.png."""
    for name in "abcdef":
        image(tmp_path / f"csv/{name}.png")

    def write(*lines: str) -> Path:
        path = tmp_path / "csv/labels.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def test_a_csv_file_gives_path_label_and_split(load: Loader, table: Callable[..., Path]) -> None:
    rows = ("a.png,cat,train", "./b.png,dog,train", "c.png,cat,test", '"d.png",dog,test')
    dataset, _ = load(table("path,label,split", *rows))
    assert dataset.train.items == ("a.png", "./b.png")
    assert dataset.test.items == ("c.png", "d.png")
    assert dataset.test.labels.tolist() == [0, 1]


def test_a_csv_file_without_split_is_split_by_seed(load: Loader, table: Callable[..., Path]) -> None:
    path = table("label,path", *(f"{'cat' if name < 'd' else 'dog'},{name}.png" for name in "abcdef"))
    dataset, said = load(path)
    assert dataset.train.counts().tolist() == [2, 2]
    assert any("cat 2 + 1" in line for line in said)


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        (["file,label", "a.png,cat"], ["line 1", "no column 'path'", "path,label"]),
        (["path,class", "a.png,cat"], ["line 1", "no column 'label'"]),
        (["path,label", "a.png,cat", "z.png,dog"], ["line 3", "no file 'z.png'"]),
        (["path,label", "a.png,cat", "b.png,"], ["line 3", "label is empty"]),
        (["path,label", ",cat", "b.png,dog"], ["line 2", "path is empty"]),
        (["path,label", "a.png,cat", "b.png"], ["line 3", "not as many values"]),
        (["path,label", "a.png,cat", "b.png,dog,3"], ["line 3", "not as many values"]),
        (["path,label", "a.png,cat", "b.png,dog", "./a.png,dog"], ["line 4", "line 2"]),
        (["path,label,split", "a.png,cat,trian"], ["line 2", "'trian'", "did you mean 'train'"]),
        (["path,label,split", "a.png,cat,"], ["line 2", "unknown split ''"]),
        (["path,label", "../outside.png,cat", "a.png,dog"], ["line 2", "'../outside.png'", "out of"]),
        (["path,label", "a.png,cat", '"b.png,dog'], ["line", "not a CSV file"]),
        (["path,label", "a.png,cat", "b.png,cat"], ["needs at least 2 classes, found 1: cat"]),
        (["path,label"], ["needs at least 2 classes, found 0"]),
        (["path,label,path", "a.png,cat,b.png"], ["line 1", "two columns are called 'path'"]),
        ([""], ["line 1", "no column 'path'"]),
    ],
)
def test_a_wrong_csv_file_is_refused_with_the_line(
    table: Callable[..., Path], lines: list[str], parts: list[str]
) -> None:
    path = table(*lines)
    image(path.parent.parent / "outside.png")
    refused(path, "labels.csv", *parts)


def test_an_image_given_as_the_dataset_is_no_csv_file(tmp_path: Path) -> None:
    refused(image(tmp_path / "a.png"), "a.png")


# -------------------------------------------------------------------------------------------------- speed


@pytest.fixture
def hundred_thousand(tmp_path: Path) -> Iterator[Path]:
    """A folder of as many different 8x8 images in ten classes."""
    header = io.BytesIO()
    Image.new("RGB", (8, 8)).save(header, "BMP")
    content = bytearray(header.getvalue())
    for label in range(10):
        folder = tmp_path / f"many/class{label}"
        folder.mkdir(parents=True)
        for index in range(10_000):
            content[-4:] = (label * 10_000 + index).to_bytes(4, "little")
            (folder / f"{index}.bmp").write_bytes(content)
    yield tmp_path / "many"
    shutil.rmtree(tmp_path / "many")  # pytest keeps the folders of three sessions


@needs_proc
@pytest.mark.slow
@pytest.mark.fault("D31")
def test_a_hundred_thousand_images_take_a_minute_and_little_memory(hundred_thousand: Path) -> None:
    scan = (
        f"{PEAK_MEMORY}; import sys, time; from imbalance_cli.data.listing import list_folder\n"
        "before, start = peak_memory(), time.monotonic()\n"
        "number = len(list_folder(Path(sys.argv[1]), None, print).samples)\n"
        "print(number, time.monotonic() - start, peak_memory() - before)"
    )
    found = subprocess.run([sys.executable, "-c", scan, hundred_thousand], capture_output=True, text=True, check=True)
    number, seconds, mebibytes = map(float, found.stdout.split())
    assert number == 100_000 and seconds < 60 and mebibytes < 200  # beside the libraries themselves

    start = time.monotonic()
    said = imbalance("make-subset", hundred_thousand, "--image-size", 8, "-o", "many.yaml").stderr
    assert "decoding 100,000 images" in said and time.monotonic() - start < 120
    assert sum(read_manifest(Path("many.yaml")).counts.values()) == 80_000


def test_hard_links_are_files_like_others(load: Loader, root: Path) -> None:
    for index in range(3, 50):
        os.link(root / "train/cat/1.png", root / f"train/cat/{index}.png")
    assert load(root)[0].train.counts().tolist() == [49, 2]


def test_a_link_to_itself_below_a_lone_train_is_refused(tmp_path: Path, load: Loader) -> None:
    image(tmp_path / "photos" / "other" / "1.png")
    (tmp_path / "photos" / "train").mkdir()
    (tmp_path / "photos" / "train" / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="a link loop; remove it"):
        load(tmp_path / "photos")
