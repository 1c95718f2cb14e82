"""The classic losses are what their formulas say, to the last digits; `test_loss_contracts` asks what all share."""

import math

import mpmath
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from imbalance_cli.errors import SettingError
from imbalance_cli.methods.losses import LOSSES

COUNTS = torch.tensor([900.0, 90.0, 9.0])


def with_gradient(loss, logits: Tensor, labels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The values of `loss` and the gradient of their sum."""
    logits = logits.clone().requires_grad_()
    values = loss(logits, labels, counts)
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    return values.detach(), gradient


def random_batch(batch: int = 8, classes: int = 3, scale: float = 3.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Float64 logits and labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(batch, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (batch,), generator=generator)


def with_probabilities(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


class TestCrossEntropy:
    @pytest.mark.parametrize(("p", "expected"), [(0.8, 0.2231), (0.7, 0.3567)])
    def test_article_examples(self, p, expected):
        loss = LOSSES.get("cross_entropy").function
        two_classes = loss(with_probabilities([1 - p, p]), torch.tensor([1]), COUNTS[:2])
        sigmoid = loss(torch.tensor([p]).logit(), torch.tensor([1]), COUNTS[:2])
        assert two_classes.item() == pytest.approx(expected, abs=5e-5)
        assert sigmoid.item() == pytest.approx(expected, abs=5e-5)

    def test_is_minus_the_log_probability(self):
        probabilities = [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]
        loss = LOSSES.get("cross_entropy").function(with_probabilities(*probabilities), torch.tensor([1, 2]), COUNTS)
        assert loss.tolist() == pytest.approx([-math.log(0.3), -math.log(0.8)], rel=1e-14)

    def test_label_smoothing_mixes_in_the_mean_over_all_classes(self):
        p = [0.5, 0.3, 0.2]
        logits = with_probabilities(p)
        loss = LOSSES.get("cross_entropy").function(logits, torch.tensor([1]), COUNTS, label_smoothing=0.3)
        assert loss.item() == pytest.approx(-0.7 * math.log(0.3) - 0.1 * sum(map(math.log, p)), rel=1e-14)

    def test_sigmoid_form_is_binary_cross_entropy(self):
        logits = torch.linspace(-50, 50, 201, dtype=torch.float64)
        for label in (0, 1):
            labels = torch.full((201,), label)
            expected = F.binary_cross_entropy_with_logits(logits, labels.double(), reduction="none")
            actual = LOSSES.get("cross_entropy").function(logits, labels, COUNTS[:2])
            torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-14)


def exact_focal(logits: Tensor, label: int, gamma: float) -> tuple[mpmath.mpf, list[mpmath.mpf]]:
    """The focal loss of one example and its gradient from the paper's formula, with as many digits as it takes."""
    with mpmath.workdps(40):
        odds = [mpmath.exp(mpmath.mpf(z)) for z in logits.double().tolist()]
        p = [value / mpmath.fsum(odds) for value in odds]
        q = mpmath.fsum(value for index, value in enumerate(p) if index != label)  # 1 - p of the true class
        log_p = mpmath.log1p(-q) if q < 0.5 else mpmath.log(p[label])
        slope = gamma * q ** (gamma - 1) * log_p - q**gamma / p[label]
        gradient = [slope * p[label] * (q if index == label else -p[index]) for index in range(len(p))]
        return -(q**gamma) * log_p, gradient


def relative_error(actual: Tensor, exact: list[mpmath.mpf]) -> float:
    """The worst relative error; what is too small for a normal number of the precision may be anything below one."""
    tiny = torch.finfo(actual.dtype).tiny
    return max(
        float(abs(value - truth) / max(abs(truth), tiny) if abs(truth) > tiny else abs(value) > 2 * tiny)
        for value, truth in zip(actual.double().flatten().tolist(), exact, strict=True)
    )


class TestFocal:
    focal = staticmethod(LOSSES.get("focal").function)

    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
    @pytest.mark.parametrize("scale", [0.1, 1, 10, 100, 1000])
    @pytest.mark.parametrize("classes", [2, 3, 10])
    def test_is_exact_however_sure_the_model_is(self, classes, scale, dtype, tolerance):
        logits, labels = random_batch(24, classes, scale, seed=classes)
        # Half of the rows hold large logits that differ by little: there the digits are lost first.
        logits[::2] = scale * logits[::2].sign() + random_batch(12, classes, min(scale, 20))[0]
        logits = logits.to(dtype)
        for gamma in (0.25, 0.5, 1.0, 2.0, 5.0):
            values, gradient = with_gradient(
                lambda z, y, counts, gamma=gamma: self.focal(z, y, counts, gamma=gamma), logits, labels, COUNTS
            )
            exact = [exact_focal(row, label, gamma) for row, label in zip(logits, labels.tolist(), strict=True)]
            assert relative_error(values, [value for value, _ in exact]) < tolerance
            assert relative_error(gradient, [slope for _, slopes in exact for slope in slopes]) < tolerance

    @pytest.mark.parametrize("gamma", [1e-300, 1e-6, 0.1, 0.5, 0.9, 1.0, 100.0])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_gradient_is_a_number_where_the_model_is_certain(self, gamma, dtype):
        logits = torch.tensor([[0.0, 1e4], [1e4, 0.0], [0.0, 120.0], [0.0, 17.0]], dtype=dtype)
        for label in (0, 1):
            _, gradient = with_gradient(
                lambda z, y, counts: self.focal(z, y, counts, gamma=gamma), logits, torch.full((4,), label), COUNTS
            )
            assert gradient.isfinite().all()

    def test_gamma_0_is_cross_entropy_bit_for_bit(self):
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            logits, labels = random_batch(100, scale=10)
            focal = with_gradient(lambda *a: self.focal(*a, gamma=0.0), logits.to(dtype), labels, COUNTS)
            plain = with_gradient(LOSSES.get("cross_entropy").function, logits.to(dtype), labels, COUNTS)
            assert torch.equal(focal[0], plain[0])
            assert torch.equal(focal[1], plain[1])

    def test_example_by_hand(self):
        loss = self.focal(with_probabilities([0.1, 0.9]), torch.tensor([1]), COUNTS[:2], gamma=2.0)
        assert loss.item() == pytest.approx(0.1**2 * -math.log(0.9), rel=1e-14)

    @pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
    def test_sigmoid_form_is_the_papers(self, gamma):
        z = torch.linspace(-20, 20, 81, dtype=torch.float64)
        p = z.sigmoid()
        counts = torch.tensor([900.0, 9.0])
        for label, p_true, alpha_true in ((1, p, 0.75), (0, (-z).sigmoid(), 0.25)):
            labels = torch.full((81,), label)
            textbook = -alpha_true * (1 - p_true) ** gamma * p_true.log()
            sigmoid = self.focal(z, labels, counts, gamma=gamma, alpha=0.75)
            # 1 - p itself has lost digits where p is close to 1.
            torch.testing.assert_close(sigmoid, textbook, rtol=1e-6, atol=1e-20)
            two_logits = self.focal(torch.stack([0 * z, z], dim=1), labels, counts, gamma=gamma, alpha=0.75)
            assert torch.equal(sigmoid, two_logits)

    @pytest.mark.parametrize(
        ("alpha", "counts", "weights"),
        [
            (0.75, [900, 9], [0.25, 0.75]),
            (0.75, [9, 900], [0.75, 0.25]),
            (0.75, [9, 9], [0.25, 0.75]),  # of equally rare classes the second is the minority
            (0.75, [9, 0], [0.25, 0.75]),
            (1.0, [900, 9], [0, 1]),
            ([0.2, 3.0], [900, 9], [0.2, 3.0]),
            ([1, 0, 0.5], [5, 5, 5], [1, 0, 0.5]),
            ("counts", [900, 100], [0.1, 0.9]),
            ("counts", [6, 3, 2], [1 / 6, 2 / 6, 3 / 6]),
            ("counts", [900, 100, 0], [0.1, 0.9, 0]),
        ],
    )
    def test_alpha_weighs_the_classes(self, alpha, counts, weights):
        classes = len(counts)
        labels = torch.arange(classes)
        logits, _ = random_batch(classes, classes)
        counts = torch.tensor(counts, dtype=torch.float64)
        ratio = self.focal(logits, labels, counts, alpha=alpha) / self.focal(logits, labels, counts)
        assert ratio.tolist() == pytest.approx(weights, rel=1e-12)

    @pytest.mark.parametrize(
        ("alpha", "classes", "message"),
        [
            (1.5, 2, "loss.alpha must be between 0 and 1 when it is one number; got 1.5"),
            (-0.1, 2, "loss.alpha must be between 0 and 1 when it is one number; got -0.1"),
            (
                0.25,
                3,
                "loss.alpha: one number weighs the rarer of two classes, but there are 3; "
                "give one value per class, or counts",
            ),
            ([0.5, 0.5], 3, "loss.alpha has 2 values for 3 classes; give one per class"),
            ([], 2, "loss.alpha has 0 values for 2 classes; give one per class"),
            ([0.5, -0.5], 2, "loss.alpha must hold weights of 0 or more, not all 0; got [0.5, -0.5]"),
            ([0.0, 0.0], 2, "loss.alpha must hold weights of 0 or more, not all 0; got [0.0, 0.0]"),
        ],
    )
    def test_alpha_that_does_not_fit_is_refused(self, alpha, classes, message):
        logits, labels = random_batch(classes=classes)
        with pytest.raises(SettingError) as caught:
            self.focal(logits, labels, torch.ones(classes), alpha=alpha)
        assert str(caught.value) == message


class TestLogitAdjustment:
    adjusted = staticmethod(LOSSES.get("logit_adjustment").function)

    def test_tau_0_is_cross_entropy_bit_for_bit(self):
        logits, labels = random_batch()
        plain = LOSSES.get("cross_entropy").function(logits.float(), labels, COUNTS)
        assert torch.equal(self.adjusted(logits.float(), labels, COUNTS, tau=0.0), plain)

    @pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
    def test_equal_counts_make_it_cross_entropy(self, tau):
        logits, labels = random_batch()
        adjusted = self.adjusted(logits, labels, torch.full((3,), 50.0), tau=tau)
        torch.testing.assert_close(adjusted, LOSSES.get("cross_entropy").function(logits, labels, COUNTS))

    def test_tau_1_is_balanced_softmax(self):
        """Ren et al. (2020): the exponentials of the softmax are multiplied by the counts."""
        logits, labels = random_batch()
        weighted = COUNTS * logits.exp()
        expected = -(weighted / weighted.sum(1, keepdim=True)).log().gather(1, labels[:, None])[:, 0]
        torch.testing.assert_close(self.adjusted(logits, labels, COUNTS.double()), expected)

    def test_example_by_hand(self):
        """Equal logits leave the prior: 0.9 and 0.1, at tau 2 in the proportion 81 : 1."""
        logits, labels, counts = torch.zeros(2, 2), torch.tensor([0, 1]), torch.tensor([90.0, 10.0])
        expected = [-math.log(0.9), -math.log(0.1)]
        assert self.adjusted(logits, labels, counts).tolist() == pytest.approx(expected, rel=1e-6)
        expected = [-math.log(81 / 82), -math.log(1 / 82)]
        assert self.adjusted(logits, labels, counts, tau=2.0).tolist() == pytest.approx(expected, rel=1e-6)

    def test_a_class_without_images_is_treated_as_having_one(self):
        logits, labels = random_batch()
        without = self.adjusted(logits, labels, torch.tensor([90.0, 9.0, 0.0]))
        assert torch.equal(without, self.adjusted(logits, labels, torch.tensor([90.0, 9.0, 1.0])))


class TestOtherLosses:
    """Probabilities (0.5, 0.3, 0.2) err from class 1 by 0.5, -0.7 and 0.2."""

    logits = with_probabilities([0.5, 0.3, 0.2])
    labels = torch.tensor([1])

    def test_mse(self):
        loss = LOSSES.get("mse").function(self.logits, self.labels, COUNTS)
        assert loss.item() == pytest.approx(0.25 + 0.49 + 0.04, rel=1e-14)

    @pytest.mark.parametrize(
        ("delta", "expected"),
        [
            (1.0, (0.25 + 0.49 + 0.04) / 2),
            (0.5, 0.25 / 2 + 0.5 * (0.7 - 0.25) + 0.04 / 2),
            (0.1, 0.1 * (0.45 + 0.65 + 0.15)),
        ],
    )
    def test_huber(self, delta, expected):
        loss = LOSSES.get("huber").function(self.logits, self.labels, COUNTS, delta=delta)
        assert loss.item() == pytest.approx(expected, rel=1e-14)

    @pytest.mark.parametrize(
        ("logits", "margin", "expected"),
        [
            ([2.0, 0.5, -1.0], 1.0, 2.5),
            ([-1.0, 0.5, 0.0], 1.0, 0.5),
            ([-1.0, 0.5, 0.0], 2.0, 1.5),
            ([-1.0, 3.0, 1.5], 1.0, 0.0),
        ],
    )
    def test_hinge(self, logits, margin, expected):
        loss = LOSSES.get("hinge").function(torch.tensor([logits]), self.labels, COUNTS, margin=margin)
        assert loss.item() == pytest.approx(expected)
