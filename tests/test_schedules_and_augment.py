"""Schedules are functions of progress."""

import pytest

from imbalance_cli.methods.schedules import SCHEDULES, with_warmup

PROGRESS = [step / 1000 for step in range(1001)]


class TestSchedules:
    @pytest.mark.parametrize("name", SCHEDULES.names())
    def test_stay_between_0_and_1(self, name):
        schedule = SCHEDULES.bind({"name": name})
        assert all(0 <= schedule(progress) <= 1 for progress in PROGRESS)

    @pytest.mark.parametrize("name", ["constant", "cosine", "linear", "step"])
    def test_for_learning_rates_start_at_1_and_never_rise(self, name):
        schedule = SCHEDULES.bind({"name": name})
        values = [schedule(progress) for progress in PROGRESS]
        assert values[0] == 1
        assert values == sorted(values, reverse=True)

    @pytest.mark.parametrize("name", ["constant", "deferred", "rising", "sigmoid_ramp"])
    def test_for_what_joins_in_never_fall_and_end_at_1(self, name):
        schedule = SCHEDULES.bind({"name": name})
        values = [schedule(progress) for progress in PROGRESS]
        assert values == sorted(values)
        assert values[-1] == 1

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

    @pytest.mark.parametrize(("progress", "expected"), [(0, 0), (0.79999, 0), (0.8, 1), (1, 1)])
    def test_deferred_is_by_default_that_of_ldam(self, progress, expected):
        assert SCHEDULES.bind({"name": "deferred"})(progress) == expected

    @pytest.mark.parametrize(("start", "values"), [(0.0, [1, 1, 1]), (0.5, [0, 1, 1]), (1.0, [0, 0, 1])])
    def test_deferred_to_any_share(self, start, values):
        schedule = SCHEDULES.bind({"name": "deferred", "start": start})
        assert [schedule(progress) for progress in (0, 0.5, 1)] == values

    @pytest.mark.parametrize(("power", "half"), [(1.0, 0.5), (2.0, 0.25), (0.5, 0.5**0.5)])
    def test_rising(self, power, half):
        schedule = SCHEDULES.bind({"name": "rising", "power": power})
        assert [schedule(progress) for progress in (0, 0.5, 1)] == pytest.approx([0, half, 1])

    def test_sigmoid_ramp(self):
        schedule = SCHEDULES.bind({"name": "sigmoid_ramp"})
        assert [schedule(progress) for progress in (0, 0.5, 1)] == pytest.approx([0.006738, 0.286505, 1], rel=1e-4)

    def test_warmup_rises_in_a_straight_line_to_1(self):
        assert [with_warmup(progress, 0.2) for progress in (0, 0.05, 0.1, 0.2, 1)] == pytest.approx(
            [0, 0.25, 0.5, 1, 1]
        )

    def test_no_warmup(self):
        assert with_warmup(0.0, 0.0) == 1
