"""Schedules are functions of progress; augmentations are functions of images and draws."""

import pytest
import torch
from torch import Tensor

from imbalance_cli.methods.augment import AUGMENTATIONS, DRAWS
from imbalance_cli.methods.schedules import SCHEDULES, with_warmup

PROGRESS = [step / 1000 for step in range(1001)]


class TestSchedules:
    @pytest.mark.parametrize("name", SCHEDULES.names())
    def test_start_at_1_and_never_rise_or_turn_negative(self, name):
        schedule = SCHEDULES.bind({"name": name})
        values = [schedule(progress) for progress in PROGRESS]
        assert values[0] == 1
        assert all(0 <= later <= earlier for earlier, later in zip(values, values[1:], strict=False))

    @pytest.mark.parametrize(("name", "half", "end"), [("constant", 1, 1), ("cosine", 0.5, 0), ("linear", 0.5, 0)])
    def test_half_way_and_at_the_end(self, name, half, end):
        schedule = SCHEDULES.bind({"name": name})
        assert schedule(0.5) == pytest.approx(half)
        assert schedule(1.0) == pytest.approx(end, abs=1e-15)

    @pytest.mark.parametrize(
        ("progress", "expected"), [(0.79999, 1), (0.8, 0.01), (0.89999, 0.01), (0.9, 0.0001), (1, 0.0001)]
    )
    def test_step_is_by_default_that_of_ldam(self, progress, expected):
        assert SCHEDULES.bind({"name": "step"})(progress) == pytest.approx(expected)

    @pytest.mark.parametrize(("progress", "expected"), [(0.0, 1), (0.25, 0.1), (0.5, 0.01), (0.75, 0.001)])
    def test_step_takes_milestones_in_any_order(self, progress, expected):
        schedule = SCHEDULES.bind({"name": "step", "milestones": [0.75, 0.25, 0.5], "factor": 0.1})
        assert schedule(progress) == pytest.approx(expected)

    def test_step_without_milestones_is_constant(self):
        assert SCHEDULES.bind({"name": "step", "milestones": []})(1.0) == 1

    def test_warmup_rises_in_a_straight_line_to_1(self):
        assert [with_warmup(progress, 0.2) for progress in (0, 0.05, 0.1, 0.2, 1)] == pytest.approx(
            [0, 0.25, 0.5, 1, 1]
        )

    def test_no_warmup(self):
        assert with_warmup(0.0, 0.0) == 1


def noise(batch: int, height: int = 8, width: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(256, (batch, 3, height, width), generator=generator, dtype=torch.uint8)


def draws_for(batch: int, seed: int = 0) -> Tensor:
    return torch.rand(batch, DRAWS, generator=torch.Generator().manual_seed(seed))


class TestEveryAugmentation:
    every_augmentation = pytest.mark.parametrize("name", AUGMENTATIONS.names())

    @every_augmentation
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    @pytest.mark.parametrize("shape", [(5, 8, 8), (5, 8, 12), (1, 1, 1), (0, 8, 8)])
    def test_keeps_shape_and_bytes(self, name, shape, layout):
        images = noise(*shape).contiguous(memory_format=layout)
        before = images.clone()
        changed = AUGMENTATIONS.bind({"name": name})(images, draws_for(shape[0]))
        assert changed.shape == images.shape
        assert changed.dtype == torch.uint8
        assert torch.equal(images, before), "the images of the dataset must not change"

    @every_augmentation
    def test_changes_images_by_nothing_but_their_draws(self, name):
        images, draws = noise(64), draws_for(64)
        augmentation = AUGMENTATIONS.bind({"name": name})
        torch.manual_seed(0)
        first = augmentation(images, draws)
        torch.manual_seed(1)
        assert torch.equal(augmentation(images, draws), first)
        assert not torch.equal(augmentation(images, draws_for(64, seed=1)), first)

    @every_augmentation
    def test_takes_each_image_by_itself(self, name):
        images, draws = noise(64), draws_for(64)
        augmentation = AUGMENTATIONS.bind({"name": name})
        together = augmentation(images, draws)
        in_parts = [augmentation(images[i : i + 5], draws[i : i + 5]) for i in range(0, 64, 5)]
        assert torch.equal(torch.cat(in_parts), together)


class TestCrop:
    @pytest.mark.parametrize(("height", "width", "padding"), [(8, 8, 4), (6, 9, 1), (4, 4, 7)])
    def test_is_a_window_of_the_padded_image(self, height, width, padding):
        images, draws = noise(40, height, width), draws_for(40)
        for image, draw, cropped in zip(
            images, draws, AUGMENTATIONS.bind({"name": "crop", "padding": padding})(images, draws), strict=True
        ):
            canvas = torch.zeros(3, height + 2 * padding, width + 2 * padding, dtype=torch.uint8)
            canvas[:, padding : padding + height, padding : padding + width] = image
            top, left = (int(value * (2 * padding + 1)) for value in draw[:2])
            assert torch.equal(cropped, canvas[:, top : top + height, left : left + width])

    @pytest.mark.parametrize("padding", range(1, 65))
    def test_reaches_both_edges_and_no_further(self, padding):
        least, most = 0.0, 1 - 2**-24  # of float32 draws
        images = noise(2)
        cropped = AUGMENTATIONS.bind({"name": "crop", "padding": padding})(
            images, torch.tensor([[least], [most]]).expand(2, DRAWS)
        )
        expected = torch.zeros_like(images)
        if padding < 8:
            expected[0, :, padding:, padding:] = images[0, :, :-padding, :-padding]
            expected[1, :, :-padding, :-padding] = images[1, :, padding:, padding:]
        assert torch.equal(cropped, expected)

    def test_all_shifts_are_equally_frequent(self):
        images = torch.arange(1, 4, dtype=torch.uint8).expand(3, 3).repeat(1, 1)[None, None].expand(9000, 3, 3, 3)
        middles = AUGMENTATIONS.bind({"name": "crop", "padding": 1})(images, draws_for(9000))[:, 0, 1, 1]
        assert torch.bincount(middles, minlength=4).tolist() == pytest.approx([0, 3000, 3000, 3000], abs=200)


class TestFlip:
    @pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
    def test_mirrors_the_given_share_of_images(self, probability):
        images = noise(2000)
        flipped = AUGMENTATIONS.bind({"name": "flip", "probability": probability})(images, draws_for(2000))
        is_mirrored = (flipped == images.flip(3)).flatten(1).all(1)
        is_same = (flipped == images).flatten(1).all(1)
        assert (is_mirrored ^ is_same).all()
        assert is_mirrored.float().mean().item() == pytest.approx(probability, abs=0.03 if 0 < probability < 1 else 0)
