"""What every loss must do, asked of each with its defaults and of settings that take another branch."""

import inspect
from itertools import product

import pytest
import torch
from test_losses import COUNTS, random_batch, with_gradient
from torch import Tensor

from imbalance_cli.methods.losses import LOSSES, blocks

VARIANTS = [
    *({"name": method.name} for method in LOSSES),
    {"name": "cross_entropy", "label_smoothing": 0.1},
    {"name": "focal", "gamma": 0.0},
    {"name": "focal", "gamma": 0.25},
    {"name": "focal", "alpha": "counts"},
    {"name": "logit_adjustment", "tau": 0.5, "label_smoothing": 0.1},
    {"name": "huber", "delta": 0.01},
    {"name": "class_balanced_focal", "gamma": 0.25},
    {"name": "class_balanced_focal", "gamma": 0.0, "beta": 0.0},
    {"name": "asymmetric", "label_smoothing": 0.0},
    {"name": "asymmetric", "gamma_positive": 0.5, "gamma_negative": 0.5},
    {"name": "poly1", "epsilon": -1.0},
    {"name": "poly_focal", "gamma": 0.25, "epsilon": -1.0},
    {"name": "poly_focal", "gamma": 0.0},
    {"name": "vector_scaling", "gamma": 0.0},
    {"name": "equalization", "tail": 0.2, "ignored": 1.0},
    {"name": "seesaw", "compensation": 0.0},
    {"name": "label_aware_smoothing", "head": 0.0, "tail": 0.3},
    {"name": "generalized_cross_entropy", "truncation": 0.2},
    {"name": "auc_margin", "margin": 0.3},
    {"name": "pairwise_hinge", "margin": 1.0},
]

# The exceptions, each for a reason.
COMPARE_EXAMPLES = {"auc_margin", "pairwise_hinge"}  # with each other: a value depends on the batch
CONSTANT_FACTORS = [{"name": "seesaw"}, {"name": "influence_balanced"}]  # in a gradient not that of the values
TAKE_FEATURES = {"influence_balanced"}
TAKE_CLASS_SIZES = {"focal", "ldam", "margin_hinge", "label_aware_smoothing"}
DRAW = [{"name": "equalization"}]  # at every step anew, unless `ignored` is 0 or 1
LEAST_ELSEWHERE = [  # a smoothed target is not reached by ever greater certainty
    {"name": "cross_entropy", "label_smoothing": 0.1},
    {"name": "logit_adjustment", "tau": 0.5, "label_smoothing": 0.1},
    {"name": "asymmetric"},
    {"name": "asymmetric", "gamma_positive": 0.5, "gamma_negative": 0.5},
    {"name": "label_aware_smoothing", "head": 0.0, "tail": 0.3},
]


def every_loss(*, but=()):
    """Every variant, without those that are listed in `but` or whose name is."""
    asked = [choice for choice in VARIANTS if choice not in but and choice["name"] not in but]
    return pytest.mark.parametrize("choice", asked, ids=lambda choice: "-".join(map(str, choice.values())))


every_method = pytest.mark.parametrize("method", list(LOSSES), ids=lambda method: method.name)

PRECISIONS = (torch.float64, torch.float32, torch.bfloat16)


def bound(choice):
    """The loss of `choice`, which draws the same at every call."""
    loss = LOSSES.bind(choice)

    def drawing_the_same(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
        torch.manual_seed(0)
        return loss(logits, labels, counts)

    return drawing_the_same


@pytest.fixture(autouse=True)
def draws_of_its_own():
    with torch.random.fork_rng():
        yield


class TestItsForm:
    @every_method
    def test_takes_logits_labels_counts_and_named_options_with_valid_defaults(self, method):
        positional = [
            p.name for p in inspect.signature(method.function).parameters.values() if p.kind != p.KEYWORD_ONLY
        ]
        takers = {"features": TAKE_FEATURES, "class_sizes": TAKE_CLASS_SIZES, "membership": COMPARE_EXAMPLES}
        more = [name for name, methods in takers.items() if method.name in methods]
        assert positional == ["logits", "labels", "counts", *more]
        defaults = {name: option.default for name, option in method.options.items()}
        assert method.schema.model_validate(defaults).model_dump() == defaults

    @every_method
    def test_has_a_line_for_the_catalogue(self, method):
        assert method.summary.endswith(".")
        assert "TODO" not in method.summary

    @every_loss()
    @pytest.mark.parametrize("classes", [2, 3])
    def test_gives_one_value_per_example_in_the_precision_of_the_logits(self, choice, classes):
        logits, labels = random_batch(classes=classes)
        for dtype in PRECISIONS:
            values = bound(choice)(logits.to(dtype), labels, COUNTS[:classes])
            assert values.shape == (8,)
            assert values.dtype == dtype
            assert (values >= 0).all()

    @every_loss()
    def test_leaves_what_it_is_given_as_it_was(self, choice):
        logits, labels = random_batch()
        counts = COUNTS.clone()
        with_gradient(bound(choice), logits, labels, counts)
        again, same_labels = random_batch()
        assert torch.equal(logits, again) and torch.equal(labels, same_labels) and torch.equal(counts, COUNTS)

    @every_loss()
    def test_never_asks_the_device_for_a_number(self, choice):
        """On the meta device tensors have no values, so waiting for one would be an error."""
        logits = torch.empty(8, 3, device="meta", requires_grad=True)
        values = bound(choice)(logits, torch.empty(8, dtype=torch.int64, device="meta"), COUNTS.to("meta"))
        (gradient,) = torch.autograd.grad(values.mean(), logits)
        assert gradient.shape == (8, 3)

    @every_loss(but=DRAW)
    def test_takes_one_row_for_all_examples(self, choice):
        row = random_batch(batch=1)[0].requires_grad_()
        labels = torch.arange(3)
        values = bound(choice)(row.expand(3, -1), labels, COUNTS)
        torch.testing.assert_close(values, bound(choice)(row.repeat(3, 1), labels, COUNTS))
        (gradient,) = torch.autograd.grad(values.sum(), row)
        assert gradient.isfinite().all()


class TestItsNumbers:
    @every_loss()
    @pytest.mark.parametrize("scale", [1e-30, 1.0, 1e2, 1e4])
    def test_are_finite_with_their_gradient(self, choice, scale):
        signs = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 3)
        labels = torch.arange(3).repeat_interleave(27)
        for dtype in PRECISIONS:
            values, gradient = with_gradient(bound(choice), scale * signs.repeat(3, 1).to(dtype), labels, COUNTS)
            assert values.isfinite().all()
            assert gradient.isfinite().all()

    @every_loss()
    def test_of_float32_are_those_of_float64(self, choice):
        counts = torch.logspace(4, 0, 10).round()
        for scale in (0.1, 3.0, 30.0):
            logits, labels = random_batch(batch=64, classes=10, scale=scale)
            logits = logits.float()
            expected = with_gradient(bound(choice), logits.double(), labels, counts.double())
            for actual, exact in zip(with_gradient(bound(choice), logits, labels, counts), expected, strict=True):
                tolerance = 2e-6 * float(exact.abs().max())
                torch.testing.assert_close(actual.double(), exact, rtol=1e-5, atol=tolerance)

    @every_loss()
    @pytest.mark.parametrize("in_blocks", [False, True])
    def test_are_the_same_under_autocast(self, choice, in_blocks, monkeypatch):
        """To the bit, for no loss uses what autocast takes to bfloat16, such as products of vectors and matrices."""
        if in_blocks:
            monkeypatch.setattr(blocks, "BLOCK", 1)
        logits, labels = random_batch(batch=20, classes=10)
        counts = torch.logspace(4, 0, 10).round()
        coarse = logits.bfloat16()
        expected, of_coarse = (with_gradient(bound(choice), z.float(), labels, counts) for z in (logits, coarse))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            actual, near = (with_gradient(bound(choice), z, labels, counts) for z in (logits.float(), coarse))
        for one, other in zip(actual, expected, strict=True):
            assert one.dtype == torch.float32
            assert torch.equal(one, other)
        for one, other in zip(near, of_coarse, strict=True):  # of logits in bfloat16, to its rounding
            torch.testing.assert_close(one.float(), other, rtol=0.05, atol=0.02 * float(other.abs().max()))

    @every_loss(but=CONSTANT_FACTORS)
    def test_have_the_gradient_of_the_values(self, choice):
        logits, labels = random_batch()
        counts = COUNTS.double()
        assert torch.autograd.gradcheck(lambda z: bound(choice)(z, labels, counts), logits.requires_grad_())

    def test_of_two_classes_with_a_weight_for_the_rarer_have_the_gradient_of_the_values(self):
        logits, labels = random_batch(classes=2)
        counts, choice = COUNTS[:2].double(), {"name": "focal", "alpha": 0.75}
        assert torch.autograd.gradcheck(lambda z: bound(choice)(z, labels, counts), logits.requires_grad_())

    @every_loss(but=DRAW)
    def test_pull_the_true_class_up_where_nothing_is_decided_yet(self, choice):
        logits, _ = random_batch(batch=9, scale=0.1)
        labels = torch.arange(9) % 3
        _, gradient = with_gradient(bound(choice), logits, labels, COUNTS)
        assert (gradient.gather(1, labels[:, None]) < 0).all()
        assert (gradient.scatter(1, labels[:, None], 0.0) >= 0).all()

    @every_loss(but=[*COMPARE_EXAMPLES, *LEAST_ELSEWHERE, *DRAW])
    def test_fall_to_their_least_as_the_true_class_wins(self, choice):
        logits = torch.tensor([[0.0, 0.0, z] for z in range(-6, 7)])
        values = bound(choice)(logits, torch.full((13,), 2), COUNTS)
        assert (values.diff() <= 0).all()
        assert values[0] > values[-1]


class TestItsBatch:
    @every_loss()
    def test_may_be_empty(self, choice):
        for classes in (2, 3):
            empty = torch.empty(0, dtype=torch.int64)
            values, gradient = with_gradient(bound(choice), torch.empty(0, classes), empty, COUNTS[:classes])
            assert values.shape == (0,)
            assert gradient.shape == (0, classes)

    @every_loss()
    def test_may_hold_a_single_class(self, choice):
        for batch, label in product((1, 5), range(3)):
            logits, _ = random_batch(batch)
            values, gradient = with_gradient(bound(choice), logits, torch.full((batch,), label), COUNTS)
            assert values.isfinite().all() and gradient.isfinite().all()
            if choice["name"] in COMPARE_EXAMPLES:
                assert not values.any() and not gradient.any()

    @every_loss(but=[*COMPARE_EXAMPLES, *DRAW])
    def test_is_taken_example_by_example(self, choice):
        logits, labels = random_batch()
        together = bound(choice)(logits, labels, COUNTS)
        for index in range(8):
            alone = bound(choice)(logits[index : index + 1], labels[index : index + 1], COUNTS)
            torch.testing.assert_close(alone[0], together[index])

    @every_loss(but=DRAW)
    def test_may_come_in_any_order(self, choice):
        logits, labels = random_batch(batch=20)
        order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
        together = with_gradient(bound(choice), logits, labels, COUNTS)
        reordered = with_gradient(bound(choice), logits[order], labels[order], COUNTS)
        for expected, actual in zip(together, reordered, strict=True):
            torch.testing.assert_close(actual, expected[order])

    @every_loss()
    def test_may_be_so_large_that_it_is_taken_in_blocks(self, choice, monkeypatch):
        logits, labels = random_batch(batch=10)
        weights = torch.linspace(0, 2, 10, dtype=torch.float64)

        def found() -> list[Tensor]:
            inputs = logits.clone().requires_grad_()
            values = bound(choice)(inputs, labels, COUNTS)
            again = [torch.autograd.grad(values, inputs, weights, retain_graph=True)[0] for _ in range(2)]
            return [values.detach(), *again]

        whole = found()
        monkeypatch.setattr(blocks, "BLOCK", 1)  # four examples: the fewest that are taken together
        for expected, actual in zip(whole, found(), strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-14, atol=1e-15)


class TestItsClasses:
    @every_loss(but=DRAW)
    def test_may_be_numbered_in_any_order(self, choice):
        logits, labels = random_batch()
        order = torch.tensor([2, 0, 1])
        renumbered = bound(choice)(logits[:, order], order.argsort()[labels], COUNTS[order])
        torch.testing.assert_close(renumbered, bound(choice)(logits, labels, COUNTS))

    @every_loss()
    def test_may_be_without_images(self, choice):
        logits, labels = random_batch()
        for counts in ([900, 90, 0], [0, 0, 9], [1, 1, 1], [10**9, 1, 0]):
            values, gradient = with_gradient(bound(choice), logits, labels, torch.tensor(counts).float())
            assert values.isfinite().all()
            assert gradient.isfinite().all()
