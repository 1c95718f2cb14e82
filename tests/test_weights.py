"""Class weights keep the size of the loss, follow their formula, and count in a batch of a single class too."""

import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imbalance_cli.config import Experiment
from imbalance_cli.data.batches import Normalisation
from imbalance_cli.data.image_set import ImageSet
from imbalance_cli.methods.weights import CLASS_WEIGHTS, class_weights
from imbalance_cli.models import build_model
from imbalance_cli.training import Trainer

every_method = pytest.mark.parametrize("name", CLASS_WEIGHTS.names())


def weights_of(counts, name, **options) -> list[float]:
    return class_weights({"name": name, **options}, torch.tensor(counts)).tolist()


def in_proportion(raw: list[float], counts: list[int]) -> list[float]:
    """`raw` scaled by hand so that the average example weighs 1."""
    scale = sum(counts) / sum(weight * count for weight, count in zip(raw, counts, strict=True))
    return [weight * scale for weight in raw]


class TestEveryMethod:
    @every_method
    @given(counts=st.lists(st.integers(0, 10**9), min_size=2, max_size=12).filter(any))
    @settings(deadline=None, max_examples=30)
    def test_the_average_example_weighs_1(self, name, counts):
        weights = class_weights({"name": name}, torch.tensor(counts))
        assert weights.dtype == torch.float64
        assert (weights * torch.tensor(counts)).sum().item() == pytest.approx(sum(counts), rel=1e-12)

    @every_method
    @given(counts=st.lists(st.integers(1, 10**9), min_size=2, max_size=12))
    @settings(deadline=None, max_examples=30)
    def test_a_rarer_class_never_weighs_less(self, name, counts):
        weights = weights_of(sorted(counts), name)
        assert all(rarer >= larger * (1 - 1e-12) for rarer, larger in zip(weights, weights[1:], strict=False))

    @every_method
    def test_equal_counts_weigh_1(self, name):
        assert weights_of([70, 70, 70], name) == pytest.approx([1, 1, 1], rel=1e-12)

    @every_method
    def test_a_class_without_images_weighs_nothing_and_changes_nothing(self, name):
        first, empty, *rest = weights_of([500, 0, 50, 5], name)
        assert empty == 0
        assert [first, *rest] == pytest.approx(weights_of([500, 50, 5], name), rel=1e-14)


class TestByHand:
    def test_none(self):
        assert weights_of([5000, 50], "none") == [1, 1]

    def test_inverse(self):
        assert weights_of([5000, 50], "inverse") == pytest.approx([0.505, 50.5], rel=1e-14)  # N / (K n)

    def test_sqrt(self):
        assert weights_of([100, 25], "sqrt") == pytest.approx(in_proportion([0.1, 0.2], [100, 25]), rel=1e-14)

    def test_effective_number(self):
        effective = [1 + 0.9 + 0.81, 1]  # images of classes with 3 and 1, beta = 0.9
        expected = in_proportion([1 / effective[0], 1 / effective[1]], [3, 1])
        assert weights_of([3, 1], "effective_number", beta=0.9) == pytest.approx(expected, rel=1e-14)

    def test_effective_number_goes_from_none_to_inverse(self):
        assert weights_of([500, 5], "effective_number", beta=0.0) == [1, 1]
        nearly_inverse = weights_of([500, 5], "effective_number", beta=math.nextafter(1, 0))
        assert nearly_inverse == pytest.approx(weights_of([500, 5], "inverse"), rel=1e-12)

    @pytest.mark.parametrize("beta", [0.5, 0.9999, 0.9999999, 1 - 1e-12])
    def test_effective_number_keeps_its_digits(self, beta):
        counts = [10**9, 12345, 2, 1]
        with mpmath.workdps(60):
            exact = [(1 - mpmath.mpf(beta)) / (1 - mpmath.mpf(beta) ** count) for count in counts]
            expected = [float(weight) for weight in in_proportion(exact, counts)]
        assert weights_of(counts, "effective_number", beta=beta) == pytest.approx(expected, rel=1e-12)


def test_a_training_batch_of_one_class_keeps_its_weight():
    """Dividing by the sum of the weights would give every batch here the loss of an unweighted one."""
    labels = torch.tensor([0, 0, 0, 1])
    images = ImageSet(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), labels, ("common", "rare"), ("a", "b", "c", "d"))
    experiment = Experiment.model_validate(
        {
            "model": "tutorial",
            "class_weights": "inverse",
            "batch_size": 1,
            "epochs": 1,
            "learning_rate": 1e-12,
            "device": "cpu",
            "precision": "fp32",
        }
    )
    model = build_model(experiment.model, 2, 16, seed=0)
    torch.nn.init.zeros_(model.classifier.weight)
    torch.nn.init.zeros_(model.classifier.bias)
    trainer = Trainer(experiment, model, Normalisation((0.0,) * 3, (1.0,) * 3), images.counts())
    losses = [trainer.losses[-1].item() for progress in trainer.train(images, None) if progress.step]
    common, rare = (weight * math.log(2) for weight in (4 / 6, 4 / 2))  # of an undecided model
    assert sorted(losses) == pytest.approx([common, common, common, rare], rel=1e-6)
