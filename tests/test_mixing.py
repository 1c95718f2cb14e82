"""Mixing gives images of two labels, and the exact share of each."""

import numpy as np
import pytest
import torch
from torch import Tensor

from imbalance_cli.config import Setting, resolve
from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.methods.mixing import MIXING, label_shares
from imbalance_cli.objectives import Objective
from imbalance_cli.stages import stages
from imbalance_cli.streams import Batch, View

every_method = pytest.mark.parametrize("name", MIXING.names())
every_mixture = pytest.mark.parametrize("name", [name for name in MIXING.names() if name != "none"])

COUNTS = torch.tensor([5000.0, 50.0, 500.0, 0.0])


def batch_of(size: int, height: int = 8, width: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, labels, partners and their labels; no two values of the images are alike."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randperm(2 * size * 3 * height * width, generator=generator).float()
    images, partners = values.view(2, size, 3, height, width).contiguous().unbind()
    labels, partner_labels = torch.randint(3, (2, size), generator=generator)
    last = torch.channels_last
    return images.contiguous(memory_format=last), labels, partners.contiguous(memory_format=last), partner_labels


def mixed(name: str, size: int = 200, seed: int = 0, counts: Tensor = COUNTS, **options) -> tuple[Tensor, Tensor]:
    return MIXING.bind({"name": name, **options})(*batch_of(size), counts, np.random.default_rng(seed))


def kept_shares(name: str, shares: list[float], label: int, partner: int, **options) -> list[float]:
    """What is left of the `shares` that images of class `label` have of the mixed images."""

    class Fixed:
        def beta(self, a, b, size):
            return np.array(shares)

    zeros, labels = torch.zeros(len(shares), 3, 2, 2), torch.full((len(shares),), label)
    method = MIXING.bind({"name": name, **options})
    return method(zeros, labels, zeros, torch.full_like(labels, partner), COUNTS, Fixed())[1].tolist()


class TestEveryMethod:
    @every_method
    @pytest.mark.parametrize(("size", "height", "width"), [(5, 8, 6), (1, 1, 1), (2, 3, 3), (0, 8, 8)])
    def test_keeps_the_form_of_the_images(self, name, size, height, width):
        given = batch_of(size, height, width)
        before = [each.clone() for each in given]
        images, share = MIXING.bind({"name": name})(*given, COUNTS, np.random.default_rng(0))
        assert (images.shape, images.dtype) == (given[0].shape, torch.float32)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert (share.shape, share.dtype) == ((size,), torch.float32)
        assert all(torch.equal(each, old) for each, old in zip(given, before, strict=True))

    @every_mixture
    def test_draws_from_its_generator_alone(self, name):
        torch.manual_seed(0)
        images, share = mixed(name)
        torch.manual_seed(1)
        again, same_share = mixed(name)
        other, other_share = mixed(name, seed=1)
        assert torch.equal(images, again) and torch.equal(share, same_share)
        assert not torch.equal(images, other) and not torch.equal(share, other_share)

    @every_mixture
    @pytest.mark.parametrize("alpha", [1e-3, 0.2, 1.0, 50.0])
    def test_shares_lie_between_0_and_1(self, name, alpha):
        images, share = mixed(name, alpha=alpha)
        assert images.isfinite().all()
        assert ((share >= 0) & (share <= 1)).all()

    @every_mixture
    def test_each_image_is_mixed_in_a_proportion_of_its_own(self, name):
        assert mixed(name)[1].unique().numel() > 10

    @every_method
    def test_a_partner_that_is_the_image_itself_changes_nothing(self, name):
        images, labels, _, _ = batch_of(50)
        result, _ = MIXING.bind({"name": name})(images, labels, images, labels, COUNTS, np.random.default_rng(0))
        torch.testing.assert_close(result, images)

    @every_method
    def test_takes_a_class_without_images(self, name):
        images, labels, partners, _ = batch_of(50)
        empty = torch.full_like(labels, 3)
        _, share = MIXING.bind({"name": name})(images, labels, partners, empty, COUNTS, np.random.default_rng(0))
        assert ((share >= 0) & (share <= 1)).all()


def test_none_leaves_every_image_by_itself():
    images, share = mixed("none")
    assert torch.equal(images, batch_of(200)[0])
    assert (share == 1).all()


class TestMixup:
    def test_is_the_weighted_mean_of_two_images(self):
        images, _, partners, _ = batch_of(200)
        result, share = mixed("mixup")
        weight = share.double().view(-1, 1, 1, 1)
        torch.testing.assert_close(result.double(), weight * images + (1 - weight) * partners, rtol=1e-5, atol=1e-2)

    @pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
    def test_shares_follow_the_beta_distribution(self, alpha):
        _, share = mixed("mixup", size=20000, alpha=alpha)
        assert share.mean().item() == pytest.approx(0.5, abs=0.01)
        assert share.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


@pytest.mark.parametrize("name", ["cutmix", "cmo"])
class TestBoxes:
    def test_are_of_the_partner_and_the_rest_of_the_image(self, name):
        images, _, partners, _ = batch_of(500)
        result, share = mixed(name, size=500)
        pasted = result == partners
        assert torch.equal(result, torch.where(pasted, partners, images))
        assert torch.equal(pasted[:, 0], pasted[:, 1]) and torch.equal(pasted[:, 0], pasted[:, 2])
        boxes = pasted[:, 0]
        rows, columns = boxes.any(2), boxes.any(1)
        assert torch.equal(boxes, rows.unsqueeze(2) & columns.unsqueeze(1))
        for sides in (rows, columns):  # in one piece: it begins at most once
            assert (sides[:, 1:] & ~sides[:, :-1]).sum(1).add(sides[:, 0].int()).max() == 1

    def test_count_by_the_area_that_is_left_of_them(self, name):
        _, _, partners, _ = batch_of(500)
        result, share = mixed(name, size=500)
        torch.testing.assert_close(share, 1 - (result == partners)[:, 0].float().mean((1, 2)))

    def test_are_pasted_with_the_given_probability(self, name):
        images, *_ = batch_of(2000)
        result, share = mixed(name, size=2000, probability=0.3, alpha=50.0)
        is_same = (result == images).flatten(1).all(1)
        assert torch.equal(share == 1, is_same)
        assert is_same.float().mean().item() == pytest.approx(0.7, abs=0.03)
        assert (mixed(name, probability=0.0)[1] == 1).all()

    def test_by_hand(self, name):
        class Fixed:
            places = iter([np.array([0.0, 0.5, 0.999]), np.array([0.5, 0.0, 0.999])])

            def beta(self, a, b, size):
                return np.array([0.75, 0.75, 0.0])  # boxes of a quarter and of all of the area

            def random(self, size):
                return next(self.places)

        images, partners = torch.zeros(3, 3, 8, 8), torch.ones(3, 3, 8, 8)
        Fixed.places = iter([np.zeros(3), *Fixed.places])
        labels = torch.zeros(3, dtype=torch.int64)
        result, share = MIXING.bind({"name": name})(images, labels, partners, labels, COUNTS, Fixed())
        expected = images.clone()
        expected[0, :, 0:2, 2:6] = 1  # centred at row 0, column 4
        expected[1, :, 2:6, 0:2] = 1
        expected[2, :, 3:8, 3:8] = 1  # centred at row 7, column 7
        assert torch.equal(result, expected)
        assert share.tolist() == [1 - 8 / 64, 1 - 8 / 64, 1 - 25 / 64]


def test_cutmix_always_pastes_by_default_and_cmo_every_other_time():
    defaults = {name: MIXING.get(name).options["probability"].default for name in ("cutmix", "cmo")}
    assert defaults == {"cutmix": 1.0, "cmo": 0.5}


def test_cmo_says_how_its_partners_are_drawn():
    assert MIXING.having("partner_power") == ["cmo"]
    assert MIXING.get("cmo").options["partner_power"].default == 0


COMMON, RARE, MIDDLE = 0, 1, 2


class TestRemix:
    @pytest.mark.parametrize(
        ("label", "partner", "expected"),
        [
            (COMMON, RARE, [0, 0, 0.5, 0.7, 1]),  # the rare partner's alone where the common image is the smaller part
            (RARE, COMMON, [0, 0.3, 0.5, 1, 1]),
            (COMMON, COMMON, [0, 0.3, 0.5, 0.7, 1]),
        ],
    )
    def test_by_hand(self, label, partner, expected):
        shares = kept_shares("remix", [0, 0.3, 0.5, 0.7, 1], label, partner)
        assert shares == pytest.approx(expected)

    def test_leaves_classes_alike_that_are_not_kappa_times_as_common(self):
        shares = [0.1, 0.9]
        assert kept_shares("remix", shares, COMMON, MIDDLE, kappa=10.1) == pytest.approx(shares)
        assert kept_shares("remix", shares, COMMON, MIDDLE, kappa=10.0) == pytest.approx([0, 0.9])

    def test_tau_0_is_mixup(self):
        for ours, theirs in zip(mixed("remix", tau=0.0), mixed("mixup"), strict=True):
            assert torch.equal(ours, theirs)

    def test_tau_1_is_the_rarer_label_alone(self):
        assert kept_shares("remix", [0.01, 0.5, 0.99], COMMON, RARE, tau=1.0) == [0, 0, 0]
        assert kept_shares("remix", [0.01, 0.5, 0.99], RARE, COMMON, tau=1.0) == [1, 1, 1]


class TestMarginMixup:
    def test_labels_weigh_alike_where_the_distances_are_as_the_margins(self):
        # Margins 5000^-1/4 and 50^-1/4: the rare class keeps its label over 100^(1/4) times the distance.
        wider = 100**0.25
        even = 1 / (1 + wider)
        shares = [0, even / 2, even, (1 + even) / 2, 1]
        assert kept_shares("margin_mixup", shares, RARE, COMMON) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
        mirrored = [1 - share for share in shares]
        assert kept_shares("margin_mixup", mirrored, COMMON, RARE) == pytest.approx([1, 0.75, 0.5, 0.25, 0])

    def test_never_counts_a_rare_class_less_than_mixup_does(self):
        shares = np.linspace(0, 1, 101).tolist()
        assert all(
            ours >= share - 1e-6
            for ours, share in zip(kept_shares("margin_mixup", shares, RARE, COMMON), shares, strict=True)
        )

    def test_omega_0_is_mixup(self):
        for ours, theirs in zip(mixed("margin_mixup", omega=0.0), mixed("mixup"), strict=True):
            assert torch.equal(ours, theirs)

    def test_is_right_for_the_most_uneven_classes(self):
        counts = torch.tensor([1e9, 1.0, 1.0, 1.0])
        _, share = mixed("margin_mixup", size=1000, counts=counts, omega=1.0)
        assert ((share >= 0) & (share <= 1)).all()


@pytest.mark.parametrize("name", ["remix", "margin_mixup"])
def test_equal_counts_are_mixup_bit_for_bit(name):
    for ours, theirs in zip(mixed(name, counts=torch.full((4,), 70.0)), mixed("mixup"), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("loss", LOSSES.names())
class TestLossesOfMixedImages:
    @pytest.fixture
    def losses(self, loss):
        """What each image of a batch loses, and the gradient of their sum, of a model that gives what it is given."""
        chosen = {"loss": loss, "class_weights": "inverse", "mixing": "mixup"}
        if loss == "equalization":
            chosen["loss"] = {"name": loss, "ignored": 1.0}  # nothing is drawn
        experiment = resolve(None, [Setting((key,), value, "test") for key, value in chosen.items()])[0]
        (stage,) = stages(experiment, torch.tensor([50, 20, 5]))
        objective = Objective.of(stage, 0, torch.device("cpu"), torch.float32)
        as_it_is = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity())

        def found(logits: Tensor, labels: Tensor, partner_labels: Tensor, share: Tensor | None) -> tuple[Tensor, ...]:
            inputs, batch = logits.clone().requires_grad_(), Batch((), labels, torch.arange(12), partner_labels)
            values = objective.losses(as_it_is, batch._replace(views=(View(inputs, share),)))
            return values.detach(), torch.autograd.grad(values.sum(), inputs)[0]

        return found

    def test_are_the_same_whichever_label_comes_first(self, losses):
        logits, labels, partners, share = logits_of_mixed_images()
        turned = torch.arange(12) % 2 == 0  # not all of them: labels and partners of the batch change too
        other_way = (partners.where(turned, labels), labels.where(turned, partners), (1 - share).where(turned, share))
        one, other = losses(logits, labels, partners, share), losses(logits, *other_way)
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)

    def test_of_whole_images_are_those_without_mixing(self, losses):
        logits, labels, partners, share = logits_of_mixed_images()
        mixed, plain = losses(logits, labels, partners, torch.ones_like(share)), losses(logits, labels, partners, None)
        torch.testing.assert_close(mixed, plain, rtol=1e-4, atol=1e-5)

    def test_hardly_know_of_a_label_with_a_small_share(self, losses):
        """Also where no other image has that label."""
        logits, labels, _, share = logits_of_mixed_images()
        labels, rare = labels.clamp(max=1), torch.full_like(labels, 2)
        nearly_whole = torch.ones_like(share)
        nearly_whole[0] = 1 - 1e-6
        one, other = losses(logits, labels, rare, nearly_whole), losses(logits, labels, rare, None)
        for found, expected in zip(one, other, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def logits_of_mixed_images() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits [12, 3], two labels for each image, and the shares of the first."""
    generator = torch.Generator().manual_seed(0)
    labels, partners = torch.randint(3, (2, 12), generator=generator)
    return torch.randn(12, 3, generator=generator), labels, partners, torch.rand(12, generator=generator)


DRAWS = torch.tensor([5000.0, 50.0, 600.0, 0.0], dtype=torch.float64)
SHIFTING = [
    {"name": "remix", "alpha": 1.0, "kappa": 3.0, "tau": 0.5},
    {"name": "remix", "alpha": 0.2, "kappa": 10.0, "tau": 0.9},
    {"name": "margin_mixup", "alpha": 1.0, "omega": 0.25},
    {"name": "margin_mixup", "alpha": 0.2, "omega": 1.0},
    {"name": "margin_mixup", "alpha": 20.0, "omega": 0.5},
]
shifting = pytest.mark.parametrize("choice", SHIFTING, ids=lambda choice: "-".join(map(str, choice.values())))
pasting = [{"name": name, "alpha": 1.0, "probability": 0.5} for name in ("cutmix", "cmo")]


class TestLabelShares:
    @pytest.mark.parametrize("partner_draws", [None, torch.tensor([10.0, 30.0, 20.0, 0.0], dtype=torch.float64)])
    @pytest.mark.parametrize("choice", [*SHIFTING, {"name": "mixup", "alpha": 1.0}], ids=str)
    def test_are_what_many_mixed_images_show(self, choice, partner_draws):
        size, random = 100_000, np.random.default_rng(0)
        streams = (DRAWS, DRAWS if partner_draws is None else partner_draws)
        labels, partner_labels = (torch.from_numpy(random.choice(4, size, p=each / each.sum())) for each in streams)
        images = torch.zeros(size, 1, 1, 1)
        _, share = MIXING.bind(choice)(images, labels, images, partner_labels, DRAWS, random)
        shown = torch.zeros(4).index_add_(0, labels, share).index_add_(0, partner_labels, 1 - share) / size
        expected = label_shares(choice, DRAWS, partner_draws)
        assert expected.sum().item() == pytest.approx(DRAWS.sum().item(), rel=1e-12)
        assert (expected / expected.sum()).tolist() == pytest.approx(shown.tolist(), abs=0.004)  # 3 deviations
        rare = expected[1] / expected.sum()
        assert rare.item() == pytest.approx(shown[1].item(), rel=0.1)

    def test_by_hand(self):
        # Beside each other, evenly drawn shares: of the common label those from 1/2 on are kept, on average 3/8.
        common, rare = label_shares(SHIFTING[0], torch.tensor([900.0, 100.0], dtype=torch.float64)).tolist()
        assert (common, rare) == pytest.approx((900 - 0.25 * 90, 100 + 0.25 * 90))

    def test_a_class_that_is_exactly_kappa_times_another_is_shifted_from(self):
        common, rare = label_shares(SHIFTING[0], torch.tensor([300.0, 100.0], dtype=torch.float64)).tolist()
        assert (common, rare) == pytest.approx((300 - 0.25 * 75, 100 + 0.25 * 75))

    @shifting
    def test_of_equal_counts_are_the_counts(self, choice):
        even = torch.full((4,), 70.0, dtype=torch.float64)
        assert label_shares(choice, even).tolist() == pytest.approx([70] * 4)

    @shifting
    def test_shift_towards_the_rarer_class(self, choice):
        common, rare, middle, empty = (label_shares(choice, DRAWS) - DRAWS).tolist()
        assert common < 0 < rare and empty == 0

    def test_of_methods_that_favour_none_are_the_draws_to_the_bit(self):
        for choice in ({"name": "none"}, {"name": "mixup", "alpha": 0.3}, *pasting, {"name": "mine.py:own", "k": 3}):
            assert torch.equal(label_shares(choice, DRAWS), DRAWS)

    @pytest.mark.parametrize("alpha", [1e-3, 100.0])
    def test_are_right_at_the_limits(self, alpha):
        counts = torch.tensor([1e9, 1.0], dtype=torch.float64)
        for choice in (
            {"name": "remix", "alpha": alpha, "kappa": 3.0, "tau": 1.0},
            {"name": "margin_mixup", "alpha": alpha, "omega": 1.0},
        ):
            assert 1 <= label_shares(choice, counts)[1] <= 2 + 1e-6  # at most all of the labels that it is mixed with
