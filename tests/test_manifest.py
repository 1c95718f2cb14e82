import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_data import make_image_folder
from typer.testing import CliRunner

from imbalance_cli.cli import app
from imbalance_cli.data.image_set import Dataset, ImageSet
from imbalance_cli.data.manifest import Manifest, apply_manifest, read_manifest, write_manifest
from imbalance_cli.data.subset import make_subset
from imbalance_cli.errors import CheckpointError, DataError, WriteError

ODD_NAMES = (
    "no",
    "on",
    "123",
    "007",
    "~",
    "naïve cat",
    "-rf",
    "a\nb",
    'it\'s "x"',
    "\udcff",
    "\\xff",
    "a: b",
    "é😀",
)


def images(names, each=8, prefix=""):
    labels = torch.arange(each * len(names)) % len(names)
    pixels = torch.arange(len(labels)).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 1, 1).contiguous()
    return ImageSet(pixels, labels, tuple(names), tuple(f"{prefix}{i}" for i in range(len(labels))))


def dataset(names=("cat", "dog"), prefix=""):
    return Dataset("pets", "identity of pets", images(names, prefix=prefix), images(names, 4))


@pytest.fixture
def manifest():
    return make_subset(dataset(), ratio="0.5")[0]


@pytest.fixture
def path(manifest, tmp_path):
    write_manifest(manifest, tmp_path / "subset.yaml")
    return tmp_path / "subset.yaml"


def edit(path, old, new):
    text = path.read_text()
    assert re.search(old, text), text
    path.write_text(re.sub(old, new, text, count=1))


def refusal(path, *flags):
    """The one line of `train` when it refuses the subset file `path`, before it makes a run folder."""
    run = Path(path).parent / "run"
    result = CliRunner().invoke(app, ["train", "--subset", str(path), "-o", str(run), "-q", *map(str, flags)])
    assert result.exit_code == 3 and result.stdout == "" and not run.exists()
    (line,) = result.stderr.splitlines()
    return line.removeprefix("error: ")


def test_a_subset_file_says_all_about_the_subset(manifest, path):
    assert (
        path.read_text()
        == f"""\
# An imbalanced subset, by `imbalance make-subset`; train on it with `imbalance train --subset FILE`.
# The digest covers everything but comments and layout, so make a new file rather than edit this one.
format: imbalance-subset-1
sha256: {manifest.sha256}
dataset: pets
identity: identity of pets
profile: step
protocol: nested
seed: 0
ratio: 0.5
counts:
  cat: 8
  dog: 4
items:
  cat: [0, 2, 4, 6, 8, 10, 12, 14]
  dog: [{", ".join(manifest.items["dog"])}]
"""
    )


def test_it_reads_back_and_gives_the_same_subset(manifest, path):
    assert read_manifest(path) == manifest
    again = apply_manifest(read_manifest(path), dataset())
    first = make_subset(dataset(), ratio="0.5")[1]
    assert torch.equal(again.train.images, first.train.images)
    assert torch.equal(again.train.labels, first.train.labels)
    assert again.identity == first.identity != dataset().identity


def test_imbalanced_test_images_are_kept_too(tmp_path):
    manifest, subset = make_subset(dataset(), ratio=0.25, test_ratio=0.5, minority=["cat"], protocol="cao", seed=7)
    write_manifest(manifest, tmp_path / "s.yaml")
    again = apply_manifest(read_manifest(tmp_path / "s.yaml"), dataset())
    assert again.test.items == subset.test.items and again.test.counts().tolist() == [2, 4]


def test_names_round_trip_byte_for_byte(tmp_path):
    data = dataset(ODD_NAMES)
    odd_items = tuple(f"{name}/{i}" for i, name in enumerate(ODD_NAMES * 8))
    data = replace(data, name="\udcfe", train=replace(data.train, items=odd_items))
    manifest, _ = make_subset(data, ratio=0.5)
    write_manifest(manifest, tmp_path / "s.yaml")
    assert read_manifest(tmp_path / "s.yaml") == manifest
    assert "naïve cat" in (tmp_path / "s.yaml").read_text(encoding="utf-8")


def test_items_like_numbers_stay_text(tmp_path):
    items = ("7", "007", "-1", "1e3", "0x7", "0", "٣", "9" * 30)
    manifest = Manifest("d", "i", "counts", "nested", 0, {"a": items, "1": ("8",)})
    write_manifest(manifest, tmp_path / "s.yaml")
    assert read_manifest(tmp_path / "s.yaml").items == {"a": items, "1": ("8",)}


def test_an_existing_file_is_kept_unless_overwriting_is_asked(manifest, path):
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"subset.yaml exists; .*--overwrite"):
        write_manifest(replace(manifest, seed=5), path)
    assert path.read_bytes() == before
    write_manifest(replace(manifest, seed=5), path, overwrite=True)
    assert read_manifest(path).seed == 5


def test_a_place_that_cannot_be_written_is_named(manifest, tmp_path):
    for place in (tmp_path, tmp_path / "none" / "s.yaml"):
        with pytest.raises(WriteError, match=f"cannot write {place}"):
            write_manifest(manifest, place)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("S20")
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("dog: 4", "dog: 5", "counts do not match the list: 'dog' says 5, lists 4"),
        (r"cat: \[0, ", "cat: [", "counts do not match the list: 'cat' says 8, lists 7"),
        ("  dog: 4\n", "", "counts do not match the list: 'dog' says nothing, lists 4"),
        ("counts:\n  cat: 8\n  dog: 4\n", "", "counts do not match"),
        (r"cat: \[0, ", "cat: [1000, ", "does not match its digest"),
        (r"cat: \[0, ", "cat: [-1, ", "does not match its digest"),
        pytest.param(
            r"cat: \[0, 2",
            "cat: [0, 0",
            "item '0' is listed twice, for 'cat' and 'cat'",
            marks=pytest.mark.fault("S22"),
        ),
        ("ratio: 0.5", "ratio: 0.25", "does not match its digest"),
        ("sha256: .*", "sha256: 0", "does not match its digest"),
        ("sha256: .*\n", "", "does not match its digest"),
        ("seed: 0", "seed: zero", ":9: seed: input should be a valid integer"),
        ("seed: 0\n", "", "seed: field required"),
        ("seed: 0", "seeds: 0", "seed"),
        ("seed: 0", "seed: 0\nseed: 1", ":10: seed: given twice"),
        ("seed: 0", "seed: &a 0", "anchors"),
        ("seed: 0", "seed: !!int 0", "tag"),
        ("subset-1", "subset-9", "not a subset file of this version: .*format: imbalance-subset-1"),
        ("(?s).*", "- a\n", "not a subset file"),
        ("(?s).*", "", "is empty"),
    ],
)
def test_edited_files_are_refused(path, old, new, words):
    edit(path, old, new)
    told = refusal(path)
    assert told.startswith(str(path)) and re.search(words, told)


def test_comments_and_layout_may_change(manifest, path):
    edit(path, "items:", "# my note\nitems:")
    edit(path, "0, 2", "0,\n   2")
    assert read_manifest(path) == manifest


def test_class_order_is_part_of_the_digest(manifest, path):
    edit(path, r"(  cat: \[.*\n)(  dog: \[.*\n)", r"\2\1")
    assert "digest" in refusal(path)


def test_missing_and_damaged_files_are_refused(tmp_path):
    (tmp_path / "bytes.yaml").write_bytes(b"a\xff")
    assert "not UTF-8" in refusal(tmp_path / "bytes.yaml")
    assert "is a folder" in refusal(tmp_path)
    assert "there is no file" in refusal(tmp_path / "none.yaml")


def test_other_data_are_refused_with_both_names(manifest):
    other = replace(dataset(), name="cifar100", identity="identity of cifar100")
    with pytest.raises(DataError) as caught:
        apply_manifest(manifest, other)
    assert str(caught.value) == "the run is of the images in pets; those in cifar100 are others"


def test_images_that_were_changed_since_are_told_apart_from_other_images(manifest):
    with pytest.raises(DataError, match="^images in pets were changed, added, removed or renamed since"):
        apply_manifest(manifest, replace(dataset(), identity="another"))


def test_an_item_that_has_gone_is_named(manifest):
    before = dataset()
    here = torch.tensor([i for i, item in enumerate(before.train.items) if item not in ("4", "6")])
    with pytest.raises(DataError, match="^image '4' and 1 more of the run are not in pets any more; put them back"):
        apply_manifest(manifest, replace(before, train=before.train.select(here), test=images(()), identity="another"))


@pytest.mark.fault("S21")
def test_a_subset_of_another_folder_is_refused_with_both_names(image_folder, tmp_path):
    flags = ["--image-size", 16, "--data-dir", tmp_path / "cache"]
    others = make_image_folder(tmp_path / "others", train=(5, 5), test=(2, 2))
    made = CliRunner().invoke(app, list(map(str, ["make-subset", image_folder, "-o", tmp_path / "s.yaml", *flags])))
    assert made.exit_code == 0
    told = refusal(tmp_path / "s.yaml", "--dataset", others, *flags)
    assert told == f"{tmp_path / 's.yaml'} is of the images in {image_folder}; those in {others} are others"


@pytest.mark.fault("S21")
@pytest.mark.parametrize(("made_of", "given"), [("cifar10", "cifar100"), ("shapes", "photos"), ("photos", "shapes")])
def test_a_subset_of_other_built_in_images_is_refused_before_any_are_read(
    manifest, image_folder, tmp_path, made_of, given
):
    """So nobody is first told to download the wrong images: the name of a built-in dataset says which they are."""
    places = {"photos": str(image_folder)}
    made_of, given = places.get(made_of, made_of), places.get(given, given)
    path = tmp_path / "s.yaml"
    write_manifest(replace(manifest, dataset=made_of, identity="sha256:0a1b"), path)
    told = refusal(path, "--dataset", given, "--data-dir", tmp_path / "nothing")
    assert told == f"{path} is of {made_of}, not of {given}"
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"items": {}}, "at least 2 classes"),
        ({"items": {"cat": ("0",)}}, "at least 2 classes, and images; it lists {'cat': 1}"),
        ({"items": {"cat": (), "dog": ()}}, "at least 2 classes, and images"),
        ({"test_items": {}}, "the classes of test_items are [], those of items ['cat', 'dog']"),
        ({"test_items": {"dog": ("1",), "cat": ("0",)}}, "the classes of test_items are ['dog', 'cat']"),
        ({"test_items": {"dog": ("1",), "cat": ("1",)}}, "the classes of test_items"),
    ],
)
def test_a_digest_does_not_make_nonsense_a_subset(manifest, tmp_path, changes, words):
    write_manifest(replace(manifest, **changes), tmp_path / "s.yaml")
    told = refusal(tmp_path / "s.yaml")
    assert told.startswith(str(tmp_path / "s.yaml")) and words in told


@pytest.mark.parametrize(
    ("items", "message"),
    [
        pytest.param(
            {"cat": ("0", "99"), "dog": ("1",)},
            "item '99', which is not among the training images of pets",
            marks=pytest.mark.fault("S22"),
        ),
        pytest.param(
            {"cat": ("0", "-1"), "dog": ("1",)}, "item '-1', which is not among", marks=pytest.mark.fault("S22")
        ),
        (
            {"cat": ("0", "3"), "dog": ("1",)},
            "item '3' for class 'cat'; in the training images of pets it is 'dog'",
        ),
        ({"cat": ("0",), "bird": ("1",)}, "no class 'bird'"),
    ],
)
def test_items_that_the_data_do_not_have_are_named(manifest, items, message):
    with pytest.raises(DataError, match=message):
        apply_manifest(replace(manifest, items=items), dataset())


def test_no_subset_is_written_that_would_not_be_read(manifest, path, monkeypatch):
    monkeypatch.setattr("imbalance_cli.data.manifest.MAX_BYTES", 100)
    with pytest.raises(DataError, match="large.yaml would have .* bytes, the limit is 100; use fewer images"):
        write_manifest(manifest, path.with_name("large.yaml"))
    assert not path.with_name("large.yaml").exists()
