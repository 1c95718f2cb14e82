"""A folder of images becomes exactly the samples that its owner means, or an error that names the place."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imbalance_cli.data.folder import load_folder
from imbalance_cli.data.image_set import Dataset
from imbalance_cli.data.listing import list_folder
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


def refused(load: Loader, path: Path, *parts: str, **options: Any) -> None:
    """Loading fails with one line that mentions all `parts`."""
    with pytest.raises(DataError) as error:
        load(path, **options)
    message = str(error.value)
    assert "\n" not in message
    message.encode()  # no bytes that a terminal would choke on
    for part in parts:
        assert part in message, message


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
    refused(load, root, "'cats'", "did you mean 'cat'", classes=["cats", "dog"])
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
    refused(load, root, "no test/", str(root / "train"))
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


def test_a_single_image_cannot_be_in_both_splits(load: Loader, alone: Path) -> None:
    image(alone / "rat/1.png")
    refused(load, alone, "rat", "0 images for test")


def test_copies_of_an_image_in_one_class_stay_together(load: Loader, tmp_path: Path) -> None:
    for index in range(40):
        image(tmp_path / f"copies/cat/{index}.png", 300 + index // 4)
        image(tmp_path / f"copies/dog/{index}.png", 600 + index)
    dataset, _ = load(tmp_path / "copies")
    assert dataset.test.counts().tolist() == [8, 8]


# ------------------------------------------------------------------------------------ what is not a dataset


def test_nothing_there(load: Loader, tmp_path: Path) -> None:
    refused(load, tmp_path / "nowhere", "no folder or CSV file", "nowhere")


def test_an_empty_folder_is_told_the_expected_layout(load: Loader, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(load, tmp_path / "empty", "no class folders", "train/<class>/", "CSV")


def test_images_outside_any_class_folder(load: Loader, tmp_path: Path, root: Path) -> None:
    images(tmp_path / "flat", "1.png", "2.png")
    refused(load, tmp_path / "flat", "2 images lie outside any class folder")
    image(root / "train/stray")
    refused(load, root, "1 images lie outside any class folder", "stray")


def test_one_class_only(load: Loader, tmp_path: Path) -> None:
    images(tmp_path / "one", "cat/1.png")
    refused(load, tmp_path / "one", "needs at least 2 classes, found 1: cat")


def test_an_empty_class_is_refused_or_keeps_its_place(load: Loader, root: Path) -> None:
    (root / "train/ant").mkdir()
    (root / "test/ant").mkdir()
    refused(load, root, "class ant has 0 images", "--allow-empty")
    dataset, _ = load(root, allow_empty=True)
    assert dataset.train.class_names == ("ant", "cat", "dog")
    assert dataset.train.counts().tolist() == [0, 2, 2]


def test_a_class_only_in_test_or_only_in_train(load: Loader, root: Path) -> None:
    images(root, "test/rat/1.png")
    refused(load, root, "class rat has 0 images for train")
    assert len(load(root, classes=["cat", "dog"])[0].train) == 4
    images(root, "train/owl/1.png")
    refused(load, root, "class owl has 0 images for test")


@pytest.mark.parametrize("size", [0, -1, 7, 1025])
def test_an_impossible_image_size(load: Loader, root: Path, size: int) -> None:
    with pytest.raises(SettingError, match=f"--image-size is {size}.* 8 to 1024"):
        load(root, image_size=size)


# ------------------------------------------------------------------------------------------------ bad files


def test_an_unreadable_file_is_an_error_that_names_it(load: Loader, root: Path) -> None:
    (root / "train/cat/note.png").write_text("hi")
    refused(load, root, str(root / "train/cat/note.png"), "not an image", "--skip-bad")
    (root / "train/dog/note.svg").write_text("<svg/>")
    refused(load, root, "and 1 more files")


def test_unreadable_files_can_be_skipped_and_are_listed(load: Loader, root: Path) -> None:
    (root / "train/cat/note.png").write_text("hi")
    for _ in range(2):
        dataset, said = load(root, skip_bad=True)
        assert dataset.train.items == ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")
        assert any("skipped" in line and "note.png" in line for line in said)


def test_a_class_with_nothing_but_skipped_files_is_empty(load: Loader, root: Path) -> None:
    (root / "test/dog/3.png").write_text("hi")
    refused(load, root, "dog", "0 images for test", skip_bad=True)


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


# -------------------------------------------------------------------------------------- names, junk, links


def test_hidden_and_junk_entries_are_ignored_and_counted(load: Loader, root: Path) -> None:
    images(root, "train/.ipynb_checkpoints/1.png", "train/cat/._x.png")
    (root / ".DS_Store").write_text("")
    (root / "train/cat/Thumbs.db").write_text("")
    dataset, said = load(root)
    assert dataset.train.class_names == ("cat", "dog") and len(dataset.train) == 4
    assert any("4 hidden entries ignored" in line for line in said)


def test_any_name_that_a_file_system_takes_is_a_name(load: Loader, tmp_path: Path) -> None:
    names = ("-rf", "a\nb", 'a "quoted" one', "naïve cat")
    images(tmp_path / "odd", *(f"{name}/{index} x.png" for name in names for index in range(2)))
    dataset, said = load(tmp_path / "odd")
    assert dataset.train.class_names == names
    assert all("\n" not in line for line in said)


def test_names_that_are_not_utf_8_survive_and_are_escaped_in_messages(load: Loader, root: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    try:
        (root / "train/cat/1.png").rename(root / "train/cat" / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    dataset, _ = load(root)
    assert os.fsencode(dataset.train.items[1]) == b"cat/\xff.png"
    (root / "train/cat" / name).write_text("hi")
    refused(load, root, "\\udcff.png")


@pytest.mark.parametrize("target", ["..", "../..", "../../..", ".", "loop"])
def test_a_link_loop_is_refused(load: Loader, root: Path, target: str) -> None:
    (root / "train/cat/loop").symlink_to(target)
    refused(load, root, str(root / "train/cat/loop"), "link loop" if target != "../../.." else "link")


def test_folders_that_link_to_each_other_are_a_loop(load: Loader, root: Path) -> None:
    (root / "train/cat/x").symlink_to("../dog")
    (root / "train/dog/y").symlink_to("../cat")
    refused(load, root, "link loop")


def test_dangling_links_and_links_out_of_the_folder_are_refused(load: Loader, root: Path) -> None:
    link = root / "train/cat/x.png"
    link.symlink_to("/nope/nothing.png")
    refused(load, root, str(link), "/nope/nothing.png", "not there")
    link.unlink()
    outside = image(root.parent / "outside.png")
    link.symlink_to(outside)
    refused(load, root, str(link), str(outside), "out of")


def test_a_link_within_the_folder_is_followed(load: Loader, root: Path) -> None:
    image(root / "train/cat/albums/a/4.png")
    (root / "train/cat/albums/b").symlink_to("a")
    assert len(load(root)[0].train) == 6


# ------------------------------------------------------------------------------------------- leaks, identity


def test_the_same_image_under_two_classes(load: Loader, root: Path) -> None:
    (root / "train/dog/copy.png").write_bytes((root / "train/cat/1.png").read_bytes())
    paths = (str(root / "train/cat/1.png"), str(root / "train/dog/copy.png"))
    refused(load, root, "same content, two classes", *paths, "--allow-leak")
    assert len(load(root, allow_leak=True)[0].train) == 5


def test_the_same_image_in_train_and_test(load: Loader, root: Path) -> None:
    (root / "test/cat/copy.png").write_bytes((root / "train/cat/1.png").read_bytes())
    refused(load, root, "same content, train and test", "train/cat/1.png", "test/cat/copy.png", "--allow-leak")
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
        ([""], ["line 1", "no column 'path'"]),
    ],
)
def test_a_wrong_csv_file_is_refused_with_the_line(
    load: Loader, table: Callable[..., Path], lines: list[str], parts: list[str]
) -> None:
    path = table(*lines)
    image(path.parent.parent / "outside.png")
    refused(load, path, "labels.csv", *parts)


def test_an_image_given_as_the_dataset_is_no_csv_file(load: Loader, tmp_path: Path) -> None:
    refused(load, image(tmp_path / "a.png"), "a.png")


# -------------------------------------------------------------------------------------------------- speed


@pytest.mark.slow
def test_a_hundred_thousand_files_are_found_within_a_minute(tmp_path: Path) -> None:
    for label in range(10):
        folder = tmp_path / f"class{label}"
        folder.mkdir()
        for index in range(10_000):
            (folder / f"{index}.png").touch()
    start = time.perf_counter()
    assert len(list_folder(tmp_path, None, print).samples) == 100_000
    assert time.perf_counter() - start < 60
