"""The order of an epoch has every class as often as asked, its images evenly, and follows from its generator alone."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from imbalance_cli.data.batches import batch_bounds
from imbalance_cli.data.order import epoch_length, epoch_order
from imbalance_cli.methods.samplers import SAMPLERS, class_draws
from imbalance_cli.randomness import keyed_generator


def labels_of(counts: list[int], seed: int = 0) -> Tensor:
    """Labels with these counts, mixed."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=keyed_generator(seed))]


def order_of(labels: Tensor, draws, seed: int = 0, **options) -> Tensor:
    return epoch_order(labels, torch.as_tensor(draws, dtype=torch.float64), generator=keyed_generator(seed), **options)


@st.composite
def epochs(draw, whole: bool = False) -> tuple[list[int], list[float]]:
    """Counts and draws per class, some classes empty, some not drawn."""
    counts = draw(st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(any))
    often = st.integers(0, 90) if whole else st.floats(0, 90)
    return counts, [float(draw(often)) if count else 0.0 for count in counts]


class TestEveryEpoch:
    @given(epoch=epochs(), seed=st.integers(0, 100))
    @settings(deadline=None, max_examples=200)
    def test_has_its_length_and_each_class_as_often_as_asked(self, epoch, seed):
        counts, draws = epoch
        labels = labels_of(counts, seed)
        order = order_of(labels, draws, seed)
        assert order.dtype == torch.int64
        assert len(order) == epoch_length(torch.tensor(draws, dtype=torch.float64))
        assert abs(len(order) - sum(draws)) <= 0.5 + 1e-9
        drawn = torch.bincount(labels[order], minlength=len(counts))
        assert drawn.tolist() == pytest.approx(draws, abs=1.25)
        assert drawn[torch.tensor(draws) == 0].sum() == 0

    @given(epoch=epochs(whole=True), seed=st.integers(0, 100))
    @settings(deadline=None, max_examples=100)
    def test_has_whole_draws_exactly(self, epoch, seed):
        counts, draws = epoch
        labels = labels_of(counts, seed)
        assert torch.bincount(labels[order_of(labels, draws, seed)], minlength=len(counts)).tolist() == draws

    @given(epoch=epochs(), seed=st.integers(0, 100))
    @settings(deadline=None, max_examples=100)
    def test_draws_no_image_twice_as_long_as_another_of_its_class_waits(self, epoch, seed):
        counts, draws = epoch
        labels = labels_of(counts, seed)
        copies = torch.bincount(order_of(labels, draws, seed), minlength=len(labels))
        for label in labels.unique():
            of_class = copies[labels == label]
            assert of_class.max() - of_class.min() <= 1

    @pytest.mark.parametrize("name", SAMPLERS.names())
    @given(counts=st.lists(st.integers(0, 50), min_size=2, max_size=6).filter(lambda counts: sum(counts) > 20))
    @settings(deadline=None, max_examples=20)
    def test_fits_every_sampler(self, name, counts):
        labels = labels_of(counts)
        draws = class_draws({"name": name}, torch.tensor(counts), 10)
        drawn = torch.bincount(labels[order_of(labels, draws)], minlength=len(counts))
        assert drawn.tolist() == pytest.approx(draws.tolist(), abs=1.25)

    def test_of_all_images_once_is_the_plain_permutation(self):
        """Runs from before there were samplers go on to the same bytes."""
        labels = labels_of([500, 30, 0, 2])
        plain = torch.randperm(532, generator=keyed_generator(7, "order", 3))
        for choice in ({"name": "instance"}, {"name": "power", "q": 1.0}, {"name": "over_sampling", "ratio": 0.004}):
            draws = class_draws(choice, torch.bincount(labels), 5)
            assert torch.equal(epoch_order(labels, draws, generator=keyed_generator(7, "order", 3)), plain)

    def test_refuses_draws_from_a_class_without_images(self):
        with pytest.raises(ValueError, match="without images"):
            order_of(labels_of([5, 0]), [3, 2])

    def test_takes_any_number_of_classes(self):
        labels = torch.arange(40_000)  # more than 16 bits tell apart
        often = labels % 3
        assert torch.equal(torch.bincount(order_of(labels, often), minlength=len(labels)), often)


class TestRandomness:
    def test_comes_from_the_generator_alone(self):
        labels = labels_of([40, 10, 3])
        options = {"at_least": 1, "bounds": batch_bounds(53, 8)}
        torch.manual_seed(0)
        first = order_of(labels, [20.5, 20.25, 12.25], seed=1, **options)
        torch.manual_seed(1)
        assert torch.equal(order_of(labels, [20.5, 20.25, 12.25], seed=1, **options), first)
        assert not torch.equal(order_of(labels, [20.5, 20.25, 12.25], seed=2, **options), first)

    def test_fractions_are_right_on_average(self):
        draws = [2.7, 0.05, 1.0, 3.25]
        labels = labels_of([5, 5, 5, 2])
        orders = torch.cat([order_of(labels, draws, seed) for seed in range(1000)])
        assert (torch.bincount(labels[orders]) / 1000).tolist() == pytest.approx(draws, abs=0.06)  # 4 deviations

    def test_all_images_of_a_class_are_drawn_once_more_equally_often(self):
        labels = labels_of([8, 2])
        copies = torch.bincount(torch.cat([order_of(labels, [5, 5], seed) for seed in range(1000)]))
        assert copies[labels == 0].tolist() == pytest.approx([625] * 8, abs=62)  # 4 deviations
        assert copies[labels == 1].tolist() == pytest.approx([2500] * 2, abs=64)

    @pytest.mark.parametrize("at_least", [0, 1])
    def test_the_choice_in_one_class_says_nothing_of_the_choice_in_another(self, at_least):
        labels = torch.tensor([0, 0, 1, 1])
        options = {"at_least": at_least, "bounds": [(0, 2)]}
        pairs = [tuple(sorted(order_of(labels, [1, 1], seed, **options).tolist())) for seed in range(1000)]
        assert [pairs.count((a, b)) for a in (0, 1) for b in (2, 3)] == pytest.approx([250] * 4, abs=55)

    @pytest.mark.parametrize("at_least", [0, 1])
    def test_every_image_takes_every_place_equally_often(self, at_least):
        """So does any slice of a batch, which is what one of several processes is given."""
        labels = torch.tensor([0, 0, 0, 0, 1, 1])
        options = {"at_least": at_least, "bounds": [(0, 3), (3, 6)]}
        orders = torch.stack([order_of(labels, [3, 3], seed, **options) for seed in range(1000)])
        for place in range(6):
            assert labels[orders[:, place]].float().mean().item() == pytest.approx(0.5, abs=0.064)


class TestEveryClassInEveryBatch:
    def in_batches(self, labels: Tensor, order: Tensor, bounds) -> Tensor:
        """How many images of each class are in each batch: [batches, classes]."""
        classes = int(labels.max()) + 1
        return torch.stack([torch.bincount(labels[order[first:last]], minlength=classes) for first, last in bounds])

    @given(
        counts=st.lists(st.integers(0, 200), min_size=2, max_size=5).filter(lambda counts: sum(counts) > 20),
        per_batch=st.integers(1, 3),
        room=st.integers(0, 40),
        seed=st.integers(0, 100),
    )
    @settings(deadline=None, max_examples=200)
    def test_each_batch_has_as_many_as_the_sampler_promised(self, counts, per_batch, room, seed):
        labels = labels_of(counts, seed)
        promised = per_batch * len(labels.unique())
        batch_size = promised + room
        bounds = batch_bounds(len(labels), batch_size)
        assume(len(labels) // len(bounds) >= promised)
        draws = class_draws({"name": "at_least", "per_batch": per_batch}, torch.tensor(counts), len(bounds))
        assert batch_bounds(epoch_length(draws), batch_size) == bounds
        order = order_of(labels, draws, seed, at_least=per_batch, bounds=bounds)
        found = self.in_batches(labels, order, bounds)
        assert found.sum(1).tolist() == [last - first for first, last in bounds]
        assert found[:, torch.bincount(labels) > 0].min() >= per_batch
        drawn = torch.bincount(labels[order], minlength=len(counts))
        assert drawn.tolist() == pytest.approx(draws.tolist(), abs=1 + 1e-9)

    def test_the_images_are_those_of_the_epoch_without_the_promise(self):
        labels = labels_of([60, 30, 10])
        draws, bounds = [40.0, 20.0, 40.0], batch_bounds(100, 10)
        order = order_of(labels, draws, at_least=2, bounds=bounds)
        assert torch.equal(order.sort().values, order_of(labels, draws).sort().values)
        found = self.in_batches(labels, order, bounds)
        assert found.min() >= 2 and found[:, 1].tolist() == [2] * 10

    def test_what_is_not_promised_falls_at_random(self):
        labels = labels_of([100, 60])
        bounds = batch_bounds(160, 16)
        order = order_of(labels, [100, 60], at_least=2, bounds=bounds)
        found = self.in_batches(labels, order, bounds)[:, 1].tolist()
        assert min(found) >= 2 and sum(found) == 60 and len(set(found)) > 2

    def test_too_few_for_the_promise_are_shared_out(self):
        """As while a sampler's strength still rises."""
        labels = labels_of([90, 7, 3])
        bounds = batch_bounds(100, 10)
        found = self.in_batches(labels, order_of(labels, [90, 7, 3], at_least=2, bounds=bounds), bounds)
        assert sorted(found[:, 1].tolist()) == [0] * 3 + [1] * 7
        assert sorted(found[:, 2].tolist()) == [0] * 7 + [1] * 3

    def test_a_class_that_is_not_drawn(self):
        labels = labels_of([9, 3])
        assert labels[order_of(labels, [9, 0], at_least=1, bounds=batch_bounds(9, 3))].tolist() == [0] * 9
