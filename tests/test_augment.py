"""Augmentations are functions of images and draws; their operations are those of Pillow and torchvision."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, v2
from torchvision.transforms.v2 import functional as reference

from imbalance_cli.methods.augment import AUGMENTATIONS, DRAWS, operations, strength_by_class
from imbalance_cli.methods.augment.policies import CIFAR10_POLICY, WIDE, narrow

every_augmentation = pytest.mark.parametrize("name", AUGMENTATIONS.names())

MOST = 1 - 2**-24  # the largest draw in float32


def noise(batch: int, height: int = 8, width: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(256, (batch, 3, height, width), generator=generator, dtype=torch.uint8)


def scenes() -> Tensor:
    """Images as photographs are, smooth and of few colours, and the hard cases among them: [20, 3, 24, 20]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(20, 3, 5, 4, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (24, 20), mode="bicubic").clamp(0, 1) * 255
    images += torch.randn(images.shape, generator=generator) * torch.linspace(0, 20, 20).view(-1, 1, 1, 1)
    images = images.clamp(0, 255).to(torch.uint8).contiguous(memory_format=torch.channels_last)
    images[0] = 77  # one value
    images[1, :, :12], images[1, :, 12:] = 10, 11  # two
    images[2, 1:] = 0  # a channel only
    images[3] = images[3, :1]  # grey
    images[4] //= 8  # dark
    images[5] = 255 - images[5] // 8  # bright
    return images


def draws_for(batch: int, seed: int = 0) -> Tensor:
    return torch.rand(batch, DRAWS, generator=torch.Generator().manual_seed(seed))


def pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def levels_apart(image: Tensor, other: Tensor | Image.Image) -> int:
    """The largest difference between two images."""
    if isinstance(other, Image.Image):
        other = torch.from_numpy(np.array(other)).permute(2, 0, 1)
    return int((image.int() - other.int()).abs().max())


class TestEveryAugmentation:
    @every_augmentation
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    @pytest.mark.parametrize("shape", [(5, 8, 8), (5, 8, 12), (1, 1, 1), (2, 2, 2), (0, 8, 8)])
    def test_keeps_shape_and_bytes(self, name, shape, layout):
        images = noise(*shape).contiguous(memory_format=layout)
        before = images.clone()
        changed = AUGMENTATIONS.bind({"name": name})(images, draws_for(shape[0]))
        assert changed.shape == images.shape
        assert changed.dtype == torch.uint8
        assert torch.equal(images, before), "the images of the dataset must not change"

    @every_augmentation
    def test_keeps_channels_last_in_memory(self, name):
        images = noise(64, 8, 12).contiguous(memory_format=torch.channels_last)
        changed = AUGMENTATIONS.bind({"name": name})(images, draws_for(64))
        assert changed.is_contiguous(memory_format=torch.channels_last)

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
    @pytest.mark.parametrize("part", [1, 5, 32])
    def test_takes_each_image_by_itself(self, name, part):
        images, draws = noise(64, 11, 9).contiguous(memory_format=torch.channels_last), draws_for(64)
        augmentation = AUGMENTATIONS.bind({"name": name})
        together = augmentation(images, draws)
        in_parts = [augmentation(images[i : i + part], draws[i : i + part]) for i in range(0, 64, part)]
        assert torch.equal(torch.cat(in_parts), together)

    @every_augmentation
    def test_other_draws_for_one_image_change_that_image_only(self, name):
        images, draws = noise(64), draws_for(64)
        augmentation = AUGMENTATIONS.bind({"name": name})
        other_draws = draws.clone()
        other_draws[7] = (draws[7] + 0.5) % 1
        changed, other = augmentation(images, draws), augmentation(images, other_draws)
        assert [row for row in range(64) if not torch.equal(changed[row], other[row])] == [7]

    @every_augmentation
    @pytest.mark.parametrize("draw", [0.0, MOST])
    def test_takes_the_smallest_and_the_largest_draw(self, name, draw):
        images = scenes()
        assert AUGMENTATIONS.bind({"name": name})(images, torch.full((20, DRAWS), draw)).shape == images.shape

    @every_augmentation
    def test_away_from_the_cpu_never_waits_for_a_value(self, name):
        images = noise(64).contiguous(memory_format=torch.channels_last).to("meta")  # where there are no values
        changed = AUGMENTATIONS.bind({"name": name})(images, draws_for(64).to("meta"))
        assert (changed.shape, changed.dtype) == (images.shape, torch.uint8)

    @pytest.mark.gpu
    @every_augmentation
    def test_is_the_same_on_a_gpu_without_waiting_for_it(self, name):
        images, draws = scenes(), draws_for(20)
        augmentation = AUGMENTATIONS.bind({"name": name})
        there, draws_there = images.cuda(), draws.cuda()
        augmentation(there, draws_there)  # what is set up once may wait
        torch.cuda.set_sync_debug_mode("error")
        try:
            changed = augmentation(there, draws_there)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert changed.is_contiguous(memory_format=torch.channels_last)
        differing = (changed.cpu().int() - augmentation(images, draws).int()).abs()
        assert differing.max() <= 1  # interpolation rounds otherwise there
        assert (differing > 0).float().mean() < 0.001


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
        images = noise(2)
        cropped = AUGMENTATIONS.bind({"name": "crop", "padding": padding})(
            images, torch.tensor([[0.0], [MOST]]).expand(2, DRAWS)
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


class TestAffine:
    def test_is_that_of_torchvision(self):
        draws = draws_for(20)
        draws[:, 2:4] = 0.5  # torchvision moves by whole pixels only
        options = {"rotation": 40.0, "scale": 0.3, "translation": 0.2, "shear": 25.0}
        changed = AUGMENTATIONS.bind({"name": "affine", **options})(scenes(), draws)
        for image, draw, given in zip(scenes(), (2 * draws.double() - 1).tolist(), changed, strict=True):
            turn, growth, slant = 40 * draw[0], 1 + 0.3 * draw[1], 25 * draw[4]
            expected = reference.affine(image, turn, [0, 0], growth, [slant, 0.0], v2.InterpolationMode.BILINEAR)
            assert levels_apart(given, expected) <= 1

    @pytest.mark.parametrize(("right", "down"), [(3, -2), (0, 24), (-5, 6)])
    def test_moves_by_a_share_of_the_size(self, right, down):
        draws = torch.full((20, DRAWS), 0.5)
        draws[:, 2], draws[:, 3] = (right / 20 + 1) / 2, (down / 24 + 1) / 2
        options = {"rotation": 0.0, "scale": 0.0, "translation": 1.0}
        moved = AUGMENTATIONS.bind({"name": "affine", **options})(scenes(), draws)
        expected = reference.affine(scenes(), 0, [right, down], 1, [0.0, 0.0])
        assert levels_apart(moved, expected) <= 1

    def test_moves_what_it_has_turned_and_scaled(self):
        draws = torch.full((20, DRAWS), 0.75)
        draws[:, 2], draws[:, 3] = (3 / 20 + 1) / 2, (-2 / 24 + 1) / 2
        options = {"rotation": 60.0, "scale": 0.5, "translation": 1.0, "shear": 20.0}
        expected = reference.affine(scenes(), 30, [3, -2], 1.25, [10.0, 0.0], v2.InterpolationMode.BILINEAR)
        assert levels_apart(AUGMENTATIONS.bind({"name": "affine", **options})(scenes(), draws), expected) <= 1

    def test_draws_from_the_middle_change_nothing(self):
        changed = AUGMENTATIONS.bind({"name": "affine"})(scenes(), torch.full((20, DRAWS), 0.5))
        assert torch.equal(changed, scenes())

    def test_a_quarter_turn_is_exact(self):
        draws = torch.full((6, DRAWS), 0.5)
        draws[:, 0] = 1.0
        turned = AUGMENTATIONS.bind({"name": "affine", "rotation": 90.0})(noise(6, 9, 9), draws)
        assert torch.equal(turned, noise(6, 9, 9).rot90(-1, (2, 3)))

    def test_is_by_default_up_to_15_degrees_and_15_percent(self):
        options = AUGMENTATIONS.get("affine").options
        assert {name: option.default for name, option in options.items()} == {
            "rotation": 15.0,
            "scale": 0.15,
            "translation": 0.0,
            "shear": 0.0,
        }


class TestColour:
    STILL = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}

    def test_strength_0_changes_nothing(self):
        assert torch.equal(AUGMENTATIONS.bind({"name": "colour", **self.STILL})(scenes(), draws_for(20)), scenes())

    @pytest.mark.parametrize(
        ("option", "strength", "place", "adjust"),
        [
            ("brightness", 0.9, 0, lambda image, by: reference.adjust_brightness(image, 1 + by)),
            ("contrast", 0.9, 1, lambda image, by: reference.adjust_contrast(pillow(image), 1 + by)),
            ("saturation", 0.9, 2, lambda image, by: reference.adjust_saturation(image, 1 + by)),
            ("hue", 0.5, 3, reference.adjust_hue),
        ],
    )
    def test_each_is_that_of_torchvision(self, option, strength, place, adjust):
        draws = draws_for(20)
        changed = AUGMENTATIONS.bind({"name": "colour", **self.STILL, option: strength})(scenes(), draws)
        for image, draw, given in zip(scenes(), draws[:, place].tolist(), changed, strict=True):
            assert levels_apart(given, adjust(image, strength * (2 * draw - 1))) <= 1

    def test_is_all_four_in_turn(self):
        draws = draws_for(20)
        images = scenes()
        for option in ("brightness", "contrast", "saturation", "hue"):
            default = AUGMENTATIONS.get("colour").options[option].default
            images = AUGMENTATIONS.bind({"name": "colour", **self.STILL, option: default})(images, draws)
        assert torch.equal(AUGMENTATIONS.bind({"name": "colour"})(scenes(), draws), images)


class TestCutout:
    @pytest.mark.parametrize(
        ("draw", "rows", "columns"),
        [((0.5, 0.5), (12, 20), (12, 20)), ((0.0, 0.5), (0, 4), (12, 20)), ((MOST, 0.0), (27, 32), (0, 4))],
    )
    def test_hides_a_square_cut_off_at_the_edge(self, draw, rows, columns):
        images = noise(1, 32, 32)
        changed = AUGMENTATIONS.bind({"name": "cutout"})(images, torch.tensor([[*draw] + [0.0] * (DRAWS - 2)]))
        expected = images.clone()
        mean = images.double().mean((0, 2, 3)).round().to(torch.uint8)
        expected[..., rows[0] : rows[1], columns[0] : columns[1]] = mean.view(3, 1, 1)
        assert torch.equal(changed, expected)

    def test_a_square_larger_than_the_image_hides_all_of_it(self):
        changed = AUGMENTATIONS.bind({"name": "cutout", "size": 17})(noise(9), draws_for(9))
        assert torch.equal(changed, changed[..., :1, :1].expand_as(changed))


class TestErasing:
    def test_hides_a_rectangle_of_the_given_share_of_images(self):
        images = torch.cat([torch.zeros(2000, 3, 20, 10), torch.full((2000, 3, 20, 10), 200)], 2).to(torch.uint8)
        draws = draws_for(2000)
        hidden = AUGMENTATIONS.bind({"name": "erasing", "probability": 0.3})(images, draws) != images
        assert torch.equal(hidden[:, 0], hidden[:, 2])
        area = hidden[:, 0].flatten(1).sum(1)
        rows, columns = hidden[:, 0].any(2).sum(1), hidden[:, 0].any(1).sum(1)
        assert torch.equal(area, rows * columns)
        assert torch.equal(area > 0, draws[:, 0] < 0.3)
        shares = area[area > 0] / 400
        assert 0.01 < shares.min() < 0.03
        assert 0.28 < shares.max() < 0.37

    def test_by_hand(self):
        # Area 0.02 + 0.3 x 0.77 of 400, as tall as wide, in the bottom right corner.
        draws = torch.tensor([[0.0, 0.3 / 0.98 * 0.77, 0.5, MOST, MOST] + [0.0] * (DRAWS - 5)])
        images = torch.full((1, 3, 20, 20), 255, dtype=torch.uint8)
        images[..., :10] = 0
        side = round(math.sqrt((0.02 + 0.3 * 0.77) * 400))
        expected = images.clone()
        expected[..., 20 - side :, 20 - side :] = 128
        erased = AUGMENTATIONS.bind({"name": "erasing", "probability": 1.0, "largest": 1.0})(images, draws)
        assert torch.equal(erased, expected)

    @pytest.mark.parametrize(("draw", "ratio"), [(0.0, 0.3), (MOST, 1 / 0.3)])
    def test_is_at_most_so_much_wider_or_taller(self, draw, ratio):
        images = torch.full((1, 1, 400, 400), 255, dtype=torch.uint8)
        images[..., ::2] = 0
        draws = torch.tensor([[0.0, 0.5, draw, 0.0, 0.0] + [0.0] * (DRAWS - 5)])
        hidden = (AUGMENTATIONS.bind({"name": "erasing", "probability": 1.0})(images, draws) != images)[0, 0]
        assert int(hidden.any(1).sum()) / int(hidden.any(0).sum()) == pytest.approx(ratio, rel=0.02)

    def test_probability_0_changes_nothing(self):
        assert torch.equal(
            AUGMENTATIONS.bind({"name": "erasing", "probability": 0.0})(noise(50), draws_for(50)), noise(50)
        )


class TestOperations:
    """Each at a magnitude of its own for every image, against libraries that take an image at a time."""

    @pytest.mark.parametrize(
        ("operation", "adjust", "strongest"),
        [
            (operations.shear_x, lambda i, m: sheared(i, m, 0), 0.99),
            (operations.shear_y, lambda i, m: sheared(i, 0, m), 0.99),
            (operations.translate_x, lambda i, m: reference.affine(i, 0, [int(m), 0], 1, [0.0, 0.0]), 32),
            (operations.translate_y, lambda i, m: reference.affine(i, 0, [0, int(m)], 1, [0.0, 0.0]), 32),
            (operations.rotate, lambda i, m: reference.rotate(i, m, v2.InterpolationMode.BILINEAR), 135),
            (operations.brightness, lambda i, m: reference.adjust_brightness(i, 1 + m), 0.99),
            (operations.saturation, lambda i, m: reference.adjust_saturation(i, 1 + m), 0.99),
            # For Pillow images: on tensors, torchvision's mean grey is rounded down, and so off by up to 1.
            (operations.contrast, lambda i, m: reference.adjust_contrast(pillow(i), 1 + m), 0.99),
            (operations.sharpness, lambda i, m: reference.adjust_sharpness(i, 1 + m), 0.99),
            (operations.hue, reference.adjust_hue, 0.5),
        ],
    )
    def test_with_magnitudes_of_either_sign_are_those_of_torchvision(self, operation, adjust, strongest):
        magnitudes = torch.linspace(-strongest, strongest, 20)
        changed = operation(scenes(), magnitudes)
        for image, magnitude, given in zip(scenes(), magnitudes.tolist(), changed, strict=True):
            assert levels_apart(given, adjust(image, magnitude)) <= 1

    @pytest.mark.parametrize(
        ("operation", "adjust", "magnitudes"),
        [
            (operations.posterize, reference.posterize, list(range(9))),
            (operations.solarize, lambda i, m: reference.solarize(i, min(m, 255.0)), [0.0, 10.5, 128.0, 254.0, 255.0]),
            (operations.autocontrast, lambda i, m: reference.autocontrast(i), [0.0]),
            (operations.equalize, lambda i, m: reference.equalize(i), [0.0]),
            (operations.invert, lambda i, m: reference.invert(i), [0.0]),
        ],
    )
    def test_on_values_alone_are_those_of_torchvision(self, operation, adjust, magnitudes):
        for magnitude in magnitudes:
            changed = operation(scenes(), torch.full((20,), float(magnitude)))
            for image, given in zip(scenes(), changed, strict=True):
                assert levels_apart(given, adjust(image, magnitude)) <= (operation is operations.autocontrast)

    @pytest.mark.parametrize(
        ("operation", "enhance"),
        [
            (operations.brightness, ImageEnhance.Brightness),
            (operations.saturation, ImageEnhance.Color),
            (operations.contrast, ImageEnhance.Contrast),
            (operations.sharpness, ImageEnhance.Sharpness),
        ],
    )
    def test_away_from_grey_or_smooth_are_those_of_pillow_exactly(self, operation, enhance):
        magnitudes = torch.linspace(-10, 9, 20) / 16  # which float32 holds exactly
        changed = operation(scenes(), magnitudes)
        for image, magnitude, given in zip(scenes(), magnitudes.tolist(), changed, strict=True):
            assert levels_apart(given, enhance(pillow(image)).enhance(1 + magnitude)) == 0

    @pytest.mark.parametrize(
        ("operation", "adjust", "magnitude"),
        [
            (operations.posterize, lambda image: ImageOps.posterize(image, 3), 3.0),
            (operations.solarize, lambda image: ImageOps.solarize(image, 100), 100.0),
            (operations.autocontrast, ImageOps.autocontrast, 0.0),
            (operations.equalize, ImageOps.equalize, 0.0),
            (operations.invert, ImageOps.invert, 0.0),
        ],
    )
    def test_on_values_alone_are_those_of_pillow(self, operation, adjust, magnitude):
        changed = operation(scenes(), torch.full((20,), magnitude))
        for image, given in zip(scenes(), changed, strict=True):
            # Pillow's own products for autocontrast may fall just below the whole number that they should be.
            assert levels_apart(given, adjust(pillow(image))) <= (operation is operations.autocontrast)

    def test_autocontrast_spans_all_values(self):
        for image in operations.autocontrast(scenes(), torch.zeros(20))[6:]:
            assert image.amin((1, 2)).tolist() == [0, 0, 0]
            assert image.amax((1, 2)).tolist() == [255, 255, 255]

    def test_hue_keeps_grey_and_turns_red_to_green(self):
        images = torch.tensor([[255, 0, 0], [40, 40, 40], [200, 0, 0]], dtype=torch.uint8).view(3, 3, 1, 1)
        turned = operations.hue(images, torch.tensor([1 / 3, 1 / 3, -1 / 3]))
        assert turned.flatten(1).tolist() == [[0, 255, 0], [40, 40, 40], [0, 0, 200]]


def sheared(image: Tensor, by_row: float, by_column: float) -> Tensor:
    """The shear of torchvision's automatic augmentations, about the top left corner."""
    degrees = [math.degrees(math.atan(by_row)), math.degrees(math.atan(by_column))]
    return reference.affine(image, 0, [0, 0], 1, degrees, v2.InterpolationMode.BILINEAR, center=[0, 0])


class TestPolicies:
    NAMES = {
        "Identity": operations.identity,
        "ShearX": operations.shear_x,
        "ShearY": operations.shear_y,
        "TranslateX": operations.translate_x,
        "TranslateY": operations.translate_y,
        "Rotate": operations.rotate,
        "Brightness": operations.brightness,
        "Color": operations.saturation,
        "Contrast": operations.contrast,
        "Sharpness": operations.sharpness,
        "Posterize": operations.posterize,
        "Solarize": operations.solarize,
        "AutoContrast": operations.autocontrast,
        "Equalize": operations.equalize,
        "Invert": operations.invert,
    }

    @pytest.mark.parametrize(
        ("space", "expected"),
        [
            (WIDE, v2.TrivialAugmentWide._AUGMENTATION_SPACE),
            (narrow(torch.empty(1, 3, 24, 20)), v2.RandAugment._AUGMENTATION_SPACE),
        ],
    )
    def test_the_spaces_are_those_of_torchvision(self, space, expected):
        assert [reach.operation for reach in space] == [self.NAMES[name] for name in expected]
        for reach, (magnitudes, signed) in zip(space, expected.values(), strict=True):
            assert reach.signed == signed
            values = magnitudes(31, 24, 20)
            if reach.operation is operations.solarize:  # a share there, and 1 still inverts white
                assert (reach.weakest, reach.strongest) == (256, 0)
            elif values is not None:
                assert [reach.weakest, reach.strongest] == pytest.approx([float(values[0]), float(values[-1])])

    @pytest.mark.parametrize("space", [WIDE, narrow(scenes())])
    def test_strength_0_changes_nothing_where_there_is_a_strength(self, space):
        for operation, weakest, strongest, _ in space:
            if weakest != strongest:
                assert torch.equal(operation(scenes(), torch.full((20,), float(weakest))), scenes())

    def test_auto_augment_has_the_published_pairs(self):
        published = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
        expected = [
            tuple((self.NAMES[name], probability, level or 0) for name, probability, level in pair)
            for pair in published
        ]
        assert list(CIFAR10_POLICY) == expected

    def test_trivial_augment_is_one_operation_at_one_of_31_strengths(self):
        images, draws = scenes().repeat(10, 1, 1, 1), draws_for(200)
        changed = AUGMENTATIONS.bind({"name": "trivial_augment"})(images, draws)
        for image, draw, given in zip(images, draws.tolist(), changed, strict=True):
            reach, strength = WIDE[int(draw[0] * 14)], int(draw[1] * 31) / 30
            assert torch.equal(given, at(image, reach, strength, draw[2]))

    @pytest.mark.parametrize(("count", "magnitude"), [(1, 0.0), (2, 9.0), (4, 30.0)])
    def test_rand_augment_is_so_many_operations_at_one_strength(self, count, magnitude):
        images, draws = scenes().repeat(3, 1, 1, 1), draws_for(60)
        options = {"operations": count, "magnitude": magnitude}
        changed = AUGMENTATIONS.bind({"name": "rand_augment", **options})(images, draws)
        for image, draw, given in zip(images, draws.tolist(), changed, strict=True):
            for number in range(count):
                reach = narrow(images)[int(draw[2 * number] * 14)]
                image = at(image, reach, magnitude / 30, draw[2 * number + 1])
            assert torch.equal(given, image)

    def test_auto_augment_is_a_pair_each_with_its_probability_and_level(self):
        images, draws = scenes().repeat(10, 1, 1, 1), draws_for(200)
        changed = AUGMENTATIONS.bind({"name": "auto_augment"})(images, draws)
        reaches = {reach.operation: reach for reach in narrow(images)}
        for image, draw, given in zip(images, draws.tolist(), changed, strict=True):
            for turn, (operation, probability, level) in enumerate(CIFAR10_POLICY[int(draw[0] * 25)]):
                if draw[1 + turn] < probability:
                    reach = reaches.get(operation)
                    image = at(image, reach, level / 9, draw[3 + turn]) if reach else ~image
            assert torch.equal(given, image)


def at(image: Tensor, reach, strength: float, side: float) -> Tensor:
    """One image after one operation, alone in its batch."""
    magnitude = torch.tensor([strength]) * (reach.strongest - reach.weakest) + reach.weakest
    return reach.operation(image[None], -magnitude if reach.signed and side < 0.5 else magnitude)[0]


class TestStrengthByClass:
    def test_is_1_for_the_rarest_and_less_for_common_classes(self):
        assert strength_by_class(torch.tensor([5000, 50, 200])).tolist() == pytest.approx([0.1, 1, 0.5])

    @pytest.mark.parametrize(("power", "common"), [(0.0, 1.0), (0.5, 0.1), (1.0, 0.01)])
    def test_goes_from_equal_to_in_proportion(self, power, common):
        assert strength_by_class(torch.tensor([5000, 50]), power=power).tolist() == pytest.approx([common, 1])

    def test_equal_classes_are_all_augmented_in_full(self):
        assert strength_by_class(torch.tensor([70, 70, 70])).tolist() == [1, 1, 1]

    def test_a_class_without_images_changes_nothing(self):
        assert strength_by_class(torch.tensor([5000, 0, 50])).tolist() == pytest.approx([0.1, 1, 1])
