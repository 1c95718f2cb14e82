"""What a registry knows of a method, it reads from the method's signature and docstring."""

from typing import Annotated, Literal

import pytest
from annotated_types import Interval
from pydantic import ValidationError

from imbalance_cli.config import REGISTRIES
from imbalance_cli.errors import SettingError
from imbalance_cli.methods.augment import AUGMENTATIONS
from imbalance_cli.registry import Registry

EVERY_METHOD = [method for registry in [*REGISTRIES.values(), AUGMENTATIONS] for method in registry]


@pytest.fixture
def fruit():
    registry = Registry("fruit")

    @registry.register
    def apple(
        tree: object,
        *,
        weight: Annotated[float, Interval(gt=0, le=2)] = 0.5,
        seeds: int = 5,
        sweet: bool = False,
        colours: list[str] | None = None,
        kind: Literal["early", "late"] | float = "early",
    ):
        """A fruit of the temperate zone.

        It keeps the doctor away.
        """
        return tree, weight, seeds

    @registry.register
    def banana(tree: object, *, weight: float = 0.2):
        """Bent."""
        return weight

    return registry


class TestMethod:
    def test_options_are_the_keyword_only_parameters(self, fruit):
        options = fruit.get("apple").options
        assert list(options) == ["weight", "seeds", "sweet", "colours", "kind"]
        assert options["weight"].default == 0.5
        assert options["weight"].annotation == Annotated[float, Interval(gt=0, le=2)]

    def test_summary_is_the_first_line_of_the_docstring(self, fruit):
        assert fruit.get("apple").summary == "A fruit of the temperate zone."

    @pytest.mark.parametrize("method", EVERY_METHOD, ids=lambda method: f"{method.kind}-{method.name}")
    def test_every_method_of_the_package_is_ready_for_its_catalogue(self, method):
        assert method.summary.endswith(".")
        defaults = {name: option.default for name, option in method.options.items()}
        assert method.schema.model_validate({}).model_dump() == defaults
        assert method.schema.model_validate(defaults).model_dump() == defaults


class TestSchema:
    def validated(self, fruit, **options):
        return fruit.get("apple").schema.model_validate(options).model_dump()

    def test_fills_in_the_defaults(self, fruit):
        assert self.validated(fruit, seeds=3) == {
            "weight": 0.5,
            "seeds": 3,
            "sweet": False,
            "colours": None,
            "kind": "early",
        }

    def test_a_whole_number_is_a_number(self, fruit):
        weight = self.validated(fruit, weight=1)["weight"]
        assert weight == 1.0
        assert isinstance(weight, float)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"weight": True},
            {"weight": "1"},
            {"weight": float("nan")},
            {"weight": float("inf")},
            {"weight": 0},
            {"weight": 2.1},
            {"weight": None},
            {"weight": [1.0]},
            {"seeds": 2.0},
            {"seeds": 2.5},
            {"seeds": True},
            {"seeds": "2"},
            {"sweet": 1},
            {"sweet": "true"},
            {"colours": "red"},
            {"colours": [1]},
            {"kind": "later"},
            {"kind": float("nan")},
            {"kind": True},
            {"wieght": 1.0},
            {"tree": None},
        ],
        ids=str,
    )
    def test_refuses_what_is_not_meant(self, fruit, wrong):
        with pytest.raises(ValidationError):
            self.validated(fruit, **wrong)


class TestRegistry:
    def test_keeps_the_order_of_definition(self, fruit):
        assert fruit.names() == ["apple", "banana"]
        assert [method.name for method in fruit] == ["apple", "banana"]

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("aple", "unknown fruit 'aple'; did you mean 'apple'?"),
            ("Banana", "unknown fruit 'Banana'; did you mean 'banana'?"),
            ("xyz", "unknown fruit 'xyz'; known: apple, banana"),
            ("", "unknown fruit ''; known: apple, banana"),
        ],
    )
    def test_unknown_name(self, fruit, name, message):
        with pytest.raises(SettingError) as caught:
            fruit.get(name)
        assert str(caught.value) == message

    def test_a_long_list_of_names_is_cut(self):
        registry = Registry("number")
        for number in range(15):
            function = lambda: None  # noqa: E731
            function.__name__ = f"n{number}"
            registry.register(function)
        with pytest.raises(SettingError, match="known are n0, n1, .*, n11 and 3 more$"):
            registry.get("zebra")

    def test_two_methods_of_one_name_are_a_bug(self, fruit):
        def apple():
            """Another."""

        with pytest.raises(ValueError, match="two methods of kind fruit are called apple"):
            fruit.register(apple)

    def test_register_leaves_the_function_as_it_is(self, fruit):
        def cherry(tree):
            """Small."""

        assert fruit.register(cherry) is cherry

    def test_having_names_the_methods_with_an_option(self, fruit):
        assert fruit.having("weight") == ["apple", "banana"]
        assert fruit.having("seeds") == ["apple"]
        assert fruit.having("tree") == []

    def test_bind_sets_the_options_and_leaves_the_rest_open(self, fruit):
        bound = fruit.bind({"name": "apple", "weight": 1.5})
        assert bound("a tree") == ("a tree", 1.5, 5)

    def test_bind_refuses_an_unknown_name(self, fruit):
        with pytest.raises(SettingError, match="unknown fruit 'pear'"):
            fruit.bind({"name": "pear"})
