import colorsys
import threading

import numpy as np
import pytest
import torch

from imbalance_cli.data.shapes import CLASS_NAMES, load_shapes
from imbalance_cli.errors import DataError, SettingError


@pytest.fixture(scope="module")
def shapes():
    return load_shapes(train_per_class=60, test_per_class=30)


def of_class(images, name):
    return images.images[images.labels == images.class_names.index(name)]


def test_ten_named_classes_of_small_colour_images(shapes):
    assert len(set(CLASS_NAMES)) == 10
    assert shapes.name == "shapes"
    for split, each in ((shapes.train, 60), (shapes.test, 30)):
        assert split.class_names == CLASS_NAMES
        assert split.images.shape == (10 * each, 3, 32, 32)
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert split.counts().tolist() == [each] * 10


def test_items_name_the_class_and_the_place_in_it(shapes):
    assert len(set(shapes.train.items)) == 600
    for item, label in zip(shapes.train.items, shapes.train.labels.tolist(), strict=True):
        assert item.split("/")[0] == CLASS_NAMES[label]
    assert shapes.train.items[60:62] == (f"{CLASS_NAMES[1]}/0", f"{CLASS_NAMES[1]}/1")


def test_the_same_images_every_time_however_busy_the_threads_are(shapes):
    again = []
    threads = [
        threading.Thread(target=lambda: again.append(load_shapes(train_per_class=60, test_per_class=30)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in again:
        assert other.identity == shapes.identity
        assert torch.equal(other.train.images, shapes.train.images)
        assert torch.equal(other.test.images, shapes.test.images)
    assert len(again) == 3


def test_the_default_sizes_suit_the_main_job():
    pair = load_shapes(CLASS_NAMES[:2])
    assert pair.train.counts().tolist() == [5000, 5000]
    assert pair.test.counts().tolist() == [1000, 1000]


def test_an_image_does_not_depend_on_the_other_classes_or_their_order(shapes):
    some = load_shapes(["heart", "square", "ring"], train_per_class=60, test_per_class=30)
    assert some.train.class_names == ("heart", "square", "ring")
    assert some.identity == shapes.identity
    for name in some.train.class_names:
        assert torch.equal(of_class(some.train, name), of_class(shapes.train, name))
        assert torch.equal(of_class(some.test, name), of_class(shapes.test, name))


@pytest.mark.parametrize("each", [1, 59, 250, 251, 620])
def test_an_image_does_not_depend_on_how_many_are_drawn(shapes, each):
    other = load_shapes(["star"], train_per_class=each, test_per_class=each)
    assert len(other.train) == len(other.test) == each
    shared = min(each, 60)
    assert torch.equal(other.train.images[:shared], of_class(shapes.train, "star")[:shared])
    assert other.train.items[shared - 1] == f"star/{shared - 1}"


def test_no_image_occurs_twice_in_a_split_or_across_the_splits():
    pair = load_shapes(CLASS_NAMES[:2], train_per_class=1100, test_per_class=600)
    pictures = [image.numpy().tobytes() for split in (pair.train, pair.test) for image in split.images]
    assert len(set(pictures)) == len(pictures) == 2 * 1700


def test_classes_go_by_name_or_number():
    assert load_shapes([CLASS_NAMES[3], "7"], train_per_class=1, test_per_class=1).train.class_names == (
        CLASS_NAMES[3],
        CLASS_NAMES[7],
    )


def test_an_unknown_class_gets_the_nearest_name():
    with pytest.raises(DataError, match="no class 'squares' in this data; did you mean 'square'"):
        load_shapes(["squares", "star"])


def test_a_class_chosen_twice_is_refused():
    with pytest.raises(SettingError, match="both name class 2"):
        load_shapes(["star", "ring", "2"])


def test_pixels_use_the_range_without_saturating(shapes):
    pixels = shapes.train.images
    assert ((pixels == 0) | (pixels == 255)).float().mean() < 0.001
    for name in CLASS_NAMES:
        of_one = of_class(shapes.train, name).float()
        assert 60 < of_one.mean() < 120
        assert of_one.std() > 20
        assert (of_one.amax((1, 2, 3)) - of_one.amin((1, 2, 3)) > 40).all()


def strongest_hues(images):
    """The hue, in turns, of each image's most colourful pixel: nearly always one of the shape's."""
    pixels = images.float().permute(0, 2, 3, 1).flatten(1, 2) / 255
    strongest = (pixels.amax(2) - pixels.amin(2)).argmax(1)
    return np.array([colorsys.rgb_to_hsv(*pixel[i].tolist())[0] for pixel, i in zip(pixels, strongest, strict=True)])


def test_hue_is_tied_to_the_class_yet_overlaps_with_the_next():
    pair = load_shapes(CLASS_NAMES[:2], train_per_class=500, test_per_class=1)
    first, second = ((strongest_hues(of_class(pair.train, name)) + 0.5) % 1 - 0.5 for name in CLASS_NAMES[:2])
    assert abs(np.median(first)) < 0.02
    assert abs(np.median(second) - 0.1) < 0.02
    told_by_hue = ((first < 0.05).mean() + (second >= 0.05).mean()) / 2
    assert 0.65 < told_by_hue < 0.9


def test_shapes_lie_anywhere_near_the_middle_on_a_darker_ground(shapes):
    brightest = shapes.train.images.float().amax(1)
    middle, rim = brightest[:, 8:24, 8:24].mean((1, 2)), brightest[:, [0, -1]].mean((1, 2))
    assert (middle > rim).float().mean() > 0.95
    places = brightest[:, 4:28, 4:28].flatten(1).argmax(1)
    assert len(places.unique()) > 150
