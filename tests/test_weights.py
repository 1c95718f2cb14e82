"""Class weights keep the size of the loss, follow their formula, and count in a batch of a single class too."""

import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imbalance_cli.config import Experiment, parse_assignment, resolve
from imbalance_cli.data.batches import Normalisation
from imbalance_cli.data.image_set import ImageSet
from imbalance_cli.errors import SettingError
from imbalance_cli.methods.weights import CLASS_WEIGHTS, class_weights
from imbalance_cli.models import build_model
from imbalance_cli.training import Trainer

by_counts = pytest.mark.parametrize("name", [name for name in CLASS_WEIGHTS.names() if name != "costs"])


def weights_of(counts, name, **options) -> list[float]:
    return class_weights({"name": name, **options}, torch.tensor(counts)).tolist()


def in_proportion(raw: list[float], counts: list[int]) -> list[float]:
    """`raw` scaled by hand so that the average example weighs 1."""
    scale = sum(counts) / sum(weight * count for weight, count in zip(raw, counts, strict=True))
    return [weight * scale for weight in raw]


class TestEveryMethodThatGoesByCounts:
    @by_counts
    @given(counts=st.lists(st.integers(0, 10**9), min_size=2, max_size=12).filter(any))
    @settings(deadline=None, max_examples=30)
    def test_the_average_example_weighs_1(self, name, counts):
        weights = class_weights({"name": name}, torch.tensor(counts))
        assert weights.dtype == torch.float64
        assert (weights * torch.tensor(counts)).sum().item() == pytest.approx(sum(counts), rel=1e-12)

    @by_counts
    @given(counts=st.lists(st.integers(1, 10**9), min_size=2, max_size=12))
    @settings(deadline=None, max_examples=30)
    def test_a_rarer_class_never_weighs_less(self, name, counts):
        weights = weights_of(sorted(counts), name)
        assert all(rarer >= larger * (1 - 1e-12) for rarer, larger in zip(weights, weights[1:], strict=False))

    @by_counts
    def test_equal_counts_weigh_1(self, name):
        assert weights_of([70, 70, 70], name) == pytest.approx([1, 1, 1], rel=1e-12)

    @by_counts
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

    def test_power(self):
        expected = in_proportion([1 / 27, 1 / 8, 1], [81, 16, 1])
        assert weights_of([81, 16, 1], "power", exponent=0.75) == pytest.approx(expected, rel=1e-14)

    @pytest.mark.parametrize(("exponent", "name"), [(0.0, "none"), (0.5, "sqrt"), (1.0, "inverse")])
    def test_power_has_the_others_on_its_way(self, exponent, name):
        counts = [10**9, 12345, 0, 2, 1]
        assert weights_of(counts, "power", exponent=exponent) == pytest.approx(weights_of(counts, name), rel=1e-14)

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


class TestCosts:
    def test_one_cost_per_class(self):
        assert weights_of([90, 10], "costs", costs=[1.0, 5.0]) == pytest.approx([100 / 140, 500 / 140], rel=1e-14)

    def test_a_matrix_has_a_row_for_each_true_class(self):
        matrix = [[0.0, 1.0, 1.0], [2.0, 0.0, 3.0], [10.0, 0.0, 0.0]]
        one_each = weights_of([70, 20, 10], "costs", costs=[2.0, 5.0, 10.0])
        assert weights_of([70, 20, 10], "costs", costs=matrix) == one_each

    def test_equal_costs_weigh_1(self):
        assert weights_of([90, 9, 1], "costs", costs=[7.0, 7.0, 7.0]) == pytest.approx([1, 1, 1], rel=1e-14)

    @given(
        classes=st.lists(st.tuples(st.integers(0, 10**9), st.floats(1e-9, 1e9)), min_size=2, max_size=12).filter(
            lambda classes: any(count for count, _ in classes)
        )
    )
    @settings(deadline=None, max_examples=30)
    def test_the_average_example_weighs_1(self, classes):
        counts, costs = zip(*classes, strict=True)
        weights = torch.tensor(weights_of(counts, "costs", costs=list(costs)), dtype=torch.float64)
        assert (weights * torch.tensor(counts)).sum().item() == pytest.approx(sum(counts), rel=1e-12)

    def test_a_class_without_images_weighs_nothing_and_changes_nothing(self):
        first, empty, last = weights_of([500, 0, 50], "costs", costs=[1.0, 100.0, 5.0])
        assert empty == 0
        assert [first, last] == pytest.approx(weights_of([500, 50], "costs", costs=[1.0, 5.0]), rel=1e-14)

    @pytest.mark.parametrize(
        ("costs", "message"),
        [
            (None, "must be given: one cost per class, as in --set 'class_weights.costs=[1, 20]', or a matrix"),
            ([], "has 0 entries for 3 classes; give one per class"),
            ([1.0, -2.0, 1.0], "must lie between 0 and 1e9; got -2"),
            ([[0.0, 1.0, -3.0], [5.0, 0.0, 1.0], [1.0, 1.0, 0.0]], "must lie between 0 and 1e9; got -3"),
            ([1.0, 1e300, 1.0], "must lie between 0 and 1e9; got 1e+300"),
            ([1.0, 2.0], "has 2 entries for 3 classes; give one per class"),
            ([[0.0, 1.0], [1.0, 0.0]], "has 2 entries for 3 classes; give one per class"),
            ([[0.0, 1.0, 1.0], [1.0, 0.0], [1.0, 1.0, 0.0]], "row 1 has 2 costs for 3 classes; give 3"),
            (
                [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 4.0]],
                "a right prediction must cost 0, but the diagonal of the matrix is [0.0, 0.0, 4.0]",
            ),
            (
                [1.0, 2.0, 0.0],
                "a mistake on class 2 costs 0, so nobody would learn it; give every class a cost above 0",
            ),
            (
                [[0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]],
                "a mistake on class 1 costs 0, so nobody would learn it; give every class a cost above 0",
            ),
        ],
    )
    def test_refuses_costs_that_do_not_fit(self, costs, message):
        with pytest.raises(SettingError) as caught:
            weights_of([90, 9, 1], "costs", costs=costs)
        assert str(caught.value).removeprefix("class_weights.costs").lstrip(": ") == message

    @pytest.mark.parametrize("costs", ["[.nan, 1]", "[.inf, 1]", "[true, 1]", "[[0, x], [1, 0]]", "5"])
    def test_a_configuration_holds_finite_numbers(self, costs):
        with pytest.raises(SettingError, match="class_weights.costs must be"):
            resolve(None, [parse_assignment("class_weights=costs"), parse_assignment(f"class_weights.costs={costs}")])


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
