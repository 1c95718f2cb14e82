"""Samplers say how often each class is drawn: by hand, at the limits of their options, and with empty classes."""

import inspect
import math

import pytest
import torch
from command_line import complaint
from hypothesis import given, settings
from hypothesis import strategies as st

from imbalance_cli.errors import SettingError
from imbalance_cli.methods.samplers import SAMPLERS, class_draws, rarest

# What is asked of all samplers is asked of each with its defaults, and of these settings that take another branch.
VARIANTS = [
    *({"name": method.name} for method in SAMPLERS),
    {"name": "power", "q": -1.0},
    {"name": "power", "q": 10.0},
    {"name": "power", "q": -10.0},
    {"name": "repeat_factor", "threshold": 1.0},
    {"name": "under_sampling", "ratio": 0.3},
    {"name": "over_sampling", "ratio": 0.3},
    {"name": "at_least", "per_batch": 3},
]
every_sampler = pytest.mark.parametrize("choice", VARIANTS, ids=lambda choice: "-".join(map(str, choice.values())))
some_counts = st.lists(st.integers(5, 10**9), min_size=1, max_size=12)


def draws_of(counts, name, batches=1, **options) -> list[float]:
    return class_draws({"name": name, **options}, torch.tensor(counts), batches).tolist()


class TestEverySampler:
    @pytest.mark.parametrize("method", list(SAMPLERS), ids=lambda method: method.name)
    def test_takes_counts_batches_and_named_options_with_defaults(self, method):
        positional = [
            p.name for p in inspect.signature(method.function).parameters.values() if p.kind != p.KEYWORD_ONLY
        ]
        assert positional == ["counts", "batches"]
        defaults = {name: option.default for name, option in method.options.items()}
        assert method.schema.model_validate({}).model_dump() == defaults
        assert method.summary.endswith(".")

    @every_sampler
    @given(counts=some_counts)
    @settings(deadline=None, max_examples=30)
    def test_draws_are_finite_and_some(self, choice, counts):
        draws = class_draws(choice, torch.tensor(counts), 1)
        assert draws.dtype == torch.float64
        assert draws.isfinite().all() and (draws >= 0).all() and draws.sum() > 0

    @every_sampler
    @given(counts=some_counts)
    @settings(deadline=None, max_examples=30)
    def test_no_image_of_a_rarer_class_is_drawn_less_often(self, choice, counts):
        falling = torch.tensor(sorted(counts, reverse=True))  # the last of equally rare classes is the minority
        often = class_draws(choice, falling, 1) / falling
        if choice.get("q", 0) > 1:
            often = -often
        assert (often[1:] >= often[:-1] - often.abs()[:-1] * 1e-12).all()

    @every_sampler
    def test_a_class_without_images_is_never_drawn_and_changes_nothing(self, choice):
        first, empty, *rest = class_draws(choice, torch.tensor([500, 0, 50, 5]), 10).tolist()
        assert empty == 0
        assert [first, *rest] == class_draws(choice, torch.tensor([500, 50, 5]), 10).tolist()

    @every_sampler
    def test_one_class_alone_keeps_its_images(self, choice):
        draws = class_draws(choice, torch.tensor([0, 70]), 7)
        assert draws.tolist() == pytest.approx([0, 70])

    @pytest.mark.parametrize("name", ["instance", "class_balanced", "square_root", "power", "at_least"])
    @given(counts=some_counts)
    @settings(deadline=None, max_examples=30)
    def test_an_epoch_is_as_long_as_the_data(self, name, counts):
        assert sum(draws_of(counts, name)) == pytest.approx(sum(counts), rel=1e-14)


class TestByHand:
    def test_instance(self):
        assert draws_of([500, 5], "instance") == [500, 5]

    def test_class_balanced(self):
        assert draws_of([90, 8, 2], "class_balanced") == pytest.approx([100 / 3] * 3, rel=1e-15)

    def test_square_root(self):
        assert draws_of([81, 16, 1], "square_root") == pytest.approx([98 * 9 / 14, 98 * 4 / 14, 98 / 14], rel=1e-14)

    def test_power(self):
        assert draws_of([81, 16, 1], "power") == pytest.approx([98 * 3 / 6, 98 * 2 / 6, 98 / 6], rel=1e-14)
        assert draws_of([90, 9], "power", q=-1.0) == pytest.approx([9, 90], rel=1e-14)

    @given(counts=some_counts)
    @settings(deadline=None, max_examples=30)
    def test_power_has_instance_and_class_balanced_as_limits(self, counts):
        assert draws_of(counts, "power", q=1.0) == draws_of(counts, "instance")  # to the bit: the order is, too
        assert draws_of(counts, "power", q=0.0) == draws_of(counts, "class_balanced")

    def test_repeat_factor(self):
        assert draws_of([96, 4], "repeat_factor", threshold=0.16) == pytest.approx([96, 4 * 2])
        assert draws_of([96, 4], "repeat_factor", threshold=0.01) == [96, 4]

    def test_repeat_factor_by_default_repeats_classes_below_an_equal_share(self):
        repeated = 10 * math.sqrt((1 / 3) / (10 / 90))
        assert draws_of([70, 10, 0, 10], "repeat_factor") == pytest.approx([70, repeated, 0, repeated], rel=1e-14)

    def test_under_sampling(self):
        assert draws_of([500, 40, 5], "under_sampling") == [5, 5, 5]
        assert draws_of([500, 40, 5], "under_sampling", ratio=0.1) == [50, 40, 5]

    def test_over_sampling(self):
        assert draws_of([500, 40, 5], "over_sampling") == [500, 500, 500]
        assert draws_of([500, 100, 5], "over_sampling", ratio=0.1) == [500, 100, 50]


class TestAtLeast:
    def test_raises_the_rare_classes_at_the_cost_of_the_others(self):
        assert draws_of([60, 30, 10], "at_least", batches=10, per_batch=2) == pytest.approx([160 / 3, 80 / 3, 20])
        assert draws_of([80, 16, 4], "at_least", batches=10, per_batch=2) == pytest.approx([60, 20, 20])

    def test_raises_a_class_that_falls_below_by_what_it_gives(self):
        assert draws_of([77, 21, 2], "at_least", batches=10, per_batch=2) == pytest.approx([60, 20, 20])

    def test_changes_nothing_where_there_are_enough(self):
        assert draws_of([60, 30, 10], "at_least", batches=10) == [60, 30, 10]

    def test_promises_whole_numbers(self):
        assert draws_of([10**7 - 3, 3], "at_least", batches=78125, per_batch=7)[1] == 7 * 78125

    def test_may_fill_a_batch(self):
        assert draws_of([10] * 11, "at_least", batches=10) == [10] * 11
        assert draws_of([90, 12, 1, 0], "at_least", batches=10, per_batch=3) == pytest.approx([43, 30, 30, 0])
        assert draws_of([97, 2, 1], "at_least", batches=10, per_batch=3)[1:] == [30, 30]

    @given(counts=some_counts, batches=st.integers(1, 50), per_batch=st.integers(1, 5))
    @settings(deadline=None, max_examples=100)
    def test_every_class_is_drawn_often_enough_in_an_epoch_as_long_as_the_data(self, counts, batches, per_batch):
        if per_batch * len(counts) > sum(counts) // batches:
            counts = [count * 1000 for count in counts]
        draws = draws_of(counts, "at_least", batches=batches, per_batch=per_batch)
        assert min(draws) >= per_batch * batches
        assert sum(draws) == pytest.approx(sum(counts), rel=1e-12)

    @pytest.mark.parametrize(
        ("counts", "per_batch", "problem"),
        [
            ([90, 0, 19], 6, "2 classes take 12 images of a batch, which holds 10; set it to at most 5,"),
            ([50, 0, 59], 1000, "2 classes take 2000 images of a batch, which holds 10; set it to"),
            ([9] * 12, 1, "12 classes take 12 images of a batch, which holds 10; set a larger"),
        ],
    )
    def test_refuses_what_does_not_fit_into_a_batch(self, counts, per_batch, problem):
        with pytest.raises(SettingError, match=f"^sampler.per_batch {per_batch}: {problem}.* batch_size$"):
            draws_of(counts, "at_least", batches=10, per_batch=per_batch)

    @pytest.mark.parametrize(
        "flags",
        [
            ["--sampler", "at_least", "--set", "sampler.per_batch=20", "--batch-size", 32],
            ["--set", "stages=[{epochs: 1}, {epochs: 1, sampler: {name: at_least, per_batch: 20}, batch_size: 32}]"],
        ],
    )
    @pytest.mark.parametrize("more", [[], ["--dry-run"]])
    def test_is_refused_before_training_in_every_stage(self, image_folder, tmp_path, flags, more):
        told = complaint("train", "-d", image_folder, "-o", tmp_path / "run", *flags, *more)
        assert told == (
            "sampler.per_batch 20: 2 classes take 40 images of a batch, which holds 28; "
            "set it to at most 14, or a larger batch_size"
        )
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("counts", "expected"), [([5, 3], 1), ([3, 5], 0), ([5, 5], 1), ([5, 0, 7], 0), ([4, 9, 4, 0], 2)]
)
def test_the_rarest_class_has_images(counts, expected):
    assert rarest(torch.tensor(counts)) == expected
