"""The losses of the field are what their papers' formulas say, written here an example and a class at a time."""

import math
from itertools import product

import pytest
import torch
from test_losses import COUNTS, random_batch, with_gradient
from torch import Tensor

from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.methods.samplers import class_draws

LABELS = torch.tensor([0, 1, 2, 2, 0, 1, 0, 0])
CROSS_ENTROPY = LOSSES.get("cross_entropy").function
EQUAL = torch.full((3,), 50.0, dtype=torch.float64)


def loss_of(name: str, logits: Tensor, counts: Tensor = COUNTS, labels: Tensor = LABELS, **options) -> Tensor:
    return LOSSES.get(name).function(logits, labels, counts.double(), **options)


def rows(seed: int = 0) -> list[tuple[list[float], int]]:
    """The logits and the label of each example."""
    return list(zip(some_logits(seed).tolist(), LABELS.tolist(), strict=True))


def some_logits(seed: int = 0) -> Tensor:
    return random_batch(seed=seed)[0]


def softmax(z: list[float]) -> list[float]:
    total = math.fsum(map(math.exp, z))
    return [math.exp(value) / total for value in z]


def is_same(actual: Tensor, expected: list[float]) -> bool:
    return actual.tolist() == pytest.approx(expected, rel=1e-11)


def is_bit_for_bit(name: str, other: str, options: dict, other_options: dict, counts: Tensor = COUNTS) -> bool:
    """Whether two losses have the same values and gradients in every precision."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        logits, labels = random_batch(100, scale=10)
        losses = [LOSSES.bind({"name": name, **options}), LOSSES.bind({"name": other, **other_options})]
        one, two = (with_gradient(loss, logits.to(dtype), labels, counts) for loss in losses)
        if not (torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])):
            return False
    return True


@pytest.mark.parametrize(
    ("name", "options", "other", "other_options"),
    [
        ("poly1", {"epsilon": 0.0}, "cross_entropy", {}),
        ("poly_focal", {"epsilon": 0.0, "gamma": 0.5}, "focal", {"gamma": 0.5}),
        ("poly_focal", {"epsilon": 0.0, "gamma": 0.0}, "cross_entropy", {}),
        ("poly_focal", {"epsilon": 1.5, "gamma": 0.0}, "poly1", {"epsilon": 1.5}),
        ("asymmetric", {"label_smoothing": 0.0, "gamma_positive": 0.0}, "cross_entropy", {}),
        ("asymmetric", {"label_smoothing": 0.0, "gamma_positive": 1.5}, "focal", {"gamma": 1.5}),
        ("ldam", {"max_margin": 0.0}, "cross_entropy", {}),
        ("vector_scaling", {"gamma": 0.0, "tau": 0.0}, "cross_entropy", {}),
        ("vector_scaling", {"gamma": 0.0, "tau": 1.5}, "logit_adjustment", {"tau": 1.5}),
        ("equalization", {"ignored": 0.0}, "cross_entropy", {}),
        ("equalization", {"tail": 0.0}, "cross_entropy", {}),
        ("seesaw", {"mitigation": 0.0, "compensation": 0.0}, "cross_entropy", {}),
        ("symmetric_cross_entropy", {"forward": 1.0, "reverse": 0.0}, "cross_entropy", {}),
    ],
)
def test_a_loss_at_its_limit_is_the_other_bit_for_bit(name, options, other, other_options):
    assert is_bit_for_bit(name, other, options, other_options)


@pytest.mark.parametrize(
    ("name", "options", "other"),
    [
        ("vector_scaling", {}, "cross_entropy"),
        ("equalization", {}, "cross_entropy"),
        ("seesaw", {"compensation": 0.0}, "cross_entropy"),
        ("label_aware_smoothing", {}, "cross_entropy"),
        ("margin_hinge", {}, "hinge"),
    ],
)
def test_equal_counts_leave_the_plain_loss(name, options, other):
    plain = loss_of(other, some_logits(), EQUAL)
    torch.testing.assert_close(loss_of(name, some_logits(), EQUAL, **options), plain, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_draws_that_are_equal_but_for_rounding_leave_no_class_rare(dtype):
    for classes in range(2, 40):
        logits, labels = random_batch(16, classes)
        plain = CROSS_ENTROPY(logits, labels, torch.ones(classes))
        for images in (100, 999, 4550, 10_000, 50_001):
            draws = class_draws({"name": "class_balanced"}, torch.tensor([images] + [1] * (classes - 1)), 10)
            values = LOSSES.get("equalization").function(logits, labels, draws.to(dtype), tail=1.0)
            assert torch.equal(values, plain), (classes, images)


def test_a_class_that_is_rarer_by_a_single_image_is_rare():
    counts = torch.tensor([10_001.0, 10_001, 10_000])
    values = loss_of("equalization", torch.zeros(8, 3), counts, tail=1.0, ignored=1.0)
    assert values.tolist() == pytest.approx([math.log(2 if label < 2 else 3) for label in LABELS])


class TestClassBalancedFocal:
    @pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
    @pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999])
    def test_is_the_papers_sum_of_sigmoid_terms(self, gamma, beta):
        n = COUNTS.tolist()
        weights = [(1 - beta) / (1 - beta**count) for count in n]
        scale = sum(n) / sum(weight * count for weight, count in zip(weights, n, strict=True))
        expected = []
        for z, y in rows():
            p = [1 / (1 + math.exp(-value if j == y else value)) for j, value in enumerate(z)]
            expected.append(scale * weights[y] * sum((1 - pt) ** gamma * -math.log(pt) for pt in p))
        assert is_same(loss_of("class_balanced_focal", some_logits(), gamma=gamma, beta=beta), expected)

    def test_keeps_its_digits_where_the_model_is_certain(self):
        """A term at u = -40 is about exp(-40)^(gamma + 1), which 1 - p has lost."""
        loss = LOSSES.bind({"name": "class_balanced_focal", "gamma": 0.5})
        values, gradient = with_gradient(loss, torch.tensor([[40.0, -40.0, -40.0]]), torch.tensor([0]), EQUAL)
        assert values.item() == pytest.approx(3 * math.exp(-60), rel=1e-5)
        assert gradient[0].tolist() == pytest.approx([1.5 * math.exp(-60) * sign for sign in (-1, 1, 1)], rel=1e-5)

    def test_gives_the_average_image_the_weight_it_has_without(self):
        logits = torch.zeros(3, 3, dtype=torch.float64)
        values = loss_of("class_balanced_focal", logits, labels=torch.arange(3), gamma=0.0)
        assert (values * COUNTS).sum() / COUNTS.sum() == pytest.approx(3 * math.log(2), rel=1e-12)


class TestAsymmetric:
    @pytest.mark.parametrize(("positive", "negative", "smoothing"), [(0, 4, 0.1), (0.5, 0.5, 0.3), (1, 0, 0.1)])
    def test_is_the_papers_form_for_one_label(self, positive, negative, smoothing):
        expected = []
        for z, y in rows():
            p = softmax(z)
            target = [smoothing / 3 + (1 - smoothing) * (j == y) for j in range(3)]
            weight = [(1 - p[j]) ** positive if j == y else p[j] ** negative for j in range(3)]
            expected.append(-sum(t * w * math.log(pj) for t, w, pj in zip(target, weight, p, strict=True)))
        options = {"gamma_positive": positive, "gamma_negative": negative, "label_smoothing": smoothing}
        assert is_same(loss_of("asymmetric", some_logits(), **options), expected)

    def test_without_focus_is_smoothed_cross_entropy(self):
        values = loss_of("asymmetric", some_logits(), gamma_negative=0.0, label_smoothing=0.2)
        torch.testing.assert_close(values, loss_of("cross_entropy", some_logits(), label_smoothing=0.2))


class TestPoly:
    @pytest.mark.parametrize("epsilon", [-1.0, 0.5, 2.0])
    @pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
    def test_adds_a_term_to_the_expansion(self, epsilon, gamma):
        p = [softmax(z)[y] for z, y in rows()]
        expected = [(1 - pt) ** gamma * -math.log(pt) + epsilon * (1 - pt) ** (gamma + 1) for pt in p]
        assert is_same(loss_of("poly_focal", some_logits(), gamma=gamma, epsilon=epsilon), expected)
        if gamma == 0:
            assert is_same(loss_of("poly1", some_logits(), epsilon=epsilon), expected)


class TestMargins:
    def test_ldam_takes_its_margin_from_the_true_logit(self):
        margins = [0.5 * (9 / count) ** 0.25 for count in COUNTS.tolist()]
        expected = [
            -math.log(softmax([30 * (value - margins[y] * (j == y)) for j, value in enumerate(z)])[y])
            for z, y in ((torch.tensor(z).tanh().tolist(), y) for z, y in rows())
        ]
        cosines = torch.tensor([torch.tensor(z).tanh().tolist() for z, _ in rows()], dtype=torch.float64)
        assert is_same(loss_of("ldam", 30 * cosines), expected)

    def test_ldam_by_hand(self):
        """10000 and 16 images: the margins are 0.1 and 0.5, ten times that at scale 10."""
        logits, counts = torch.zeros(2, 2), torch.tensor([10_000.0, 16.0])
        values = loss_of("ldam", logits, counts, torch.tensor([0, 1]), scale=10.0)
        assert values.tolist() == pytest.approx([math.log1p(math.exp(1)), math.log1p(math.exp(5))], rel=1e-6)

    @pytest.mark.parametrize("name", ["ldam", "margin_hinge"])
    def test_a_class_without_images_leaves_the_margins_of_the_others(self, name):
        logits, labels = some_logits()[:, :2], LABELS.clamp(max=1)
        absent = torch.full((8, 1), -1e6, dtype=torch.float64)
        expected = loss_of(name, logits, COUNTS[:2], labels)
        with_absent = loss_of(name, torch.cat([logits, absent], 1), torch.tensor([900, 90, 0]), labels)
        assert torch.equal(with_absent, expected)

    def test_margin_hinge_by_hand(self):
        logits, counts = torch.tensor([[1.0, 0.5], [1.0, 0.5]]), torch.tensor([10_000.0, 16.0])
        values = loss_of("margin_hinge", logits, counts, torch.tensor([0, 1]), margin=2.0)
        assert values.tolist() == pytest.approx([0, 2.5])
        assert loss_of("margin_hinge", -logits, counts, torch.tensor([0, 1]), margin=2.0).tolist() == pytest.approx(
            [0.9, 1.5]
        )

    def test_equal_counts_make_margin_hinge_hinge_bit_for_bit(self):
        assert is_bit_for_bit("margin_hinge", "hinge", {"margin": 0.7}, {"margin": 0.7}, EQUAL)

    def test_vector_scaling_scales_then_shifts(self):
        n = COUNTS.tolist()
        expected = [
            -math.log(softmax([z[j] * (n[j] / 900) ** 0.3 + 1.5 * math.log(n[j] / 999) for j in range(3)])[y])
            for z, y in rows()
        ]
        assert is_same(loss_of("vector_scaling", some_logits(), gamma=0.3, tau=1.5), expected)


class TestEqualization:
    def test_leaves_out_the_rare_classes_that_are_not_the_true_one(self):
        """The average class has 333 images: below 0.2 of that lies the third alone, below 0.5 the second too."""
        for tail, rare in ((0.2, {2}), (0.5, {1, 2})):
            expected = [
                -math.log(math.exp(z[y]) / sum(math.exp(z[j]) for j in range(3) if j == y or j not in rare))
                for z, y in rows()
            ]
            assert is_same(loss_of("equalization", some_logits(), tail=tail, ignored=1.0), expected)

    def test_leaves_each_out_as_often_as_it_is_told(self):
        logits, labels = torch.zeros(20_000, 3), torch.zeros(20_000, dtype=torch.int64)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            kept = loss_of("equalization", logits, labels=labels, ignored=0.75).exp().round() - 1
        shares = [float((kept == number).double().mean()) for number in (0, 1, 2)]
        assert shares == pytest.approx([0.75**2, 2 * 0.75 * 0.25, 0.25**2], abs=0.015)

    def test_follows_the_seed(self):
        def drawn() -> Tensor:
            torch.manual_seed(3)
            return loss_of("equalization", some_logits(), ignored=0.5)

        with torch.random.fork_rng():
            assert torch.equal(drawn(), drawn())


class TestSeesaw:
    @pytest.mark.parametrize(("mitigation", "compensation"), [(0.8, 2.0), (0.8, 0.0), (0.0, 2.0), (2.0, 0.5)])
    def test_is_the_papers_softmax(self, mitigation, compensation):
        n = COUNTS.tolist()
        expected = []
        for z, y in rows():
            p = softmax(z)
            factor = [min(1, (n[j] / n[y]) ** mitigation) * max(1, p[j] / p[y]) ** compensation for j in range(3)]
            total = sum(s * math.exp(value) for s, value in zip(factor, z, strict=True))
            expected.append(-math.log(math.exp(z[y]) / total))
        options = {"mitigation": mitigation, "compensation": compensation}
        assert is_same(loss_of("seesaw", some_logits(), **options), expected)

    def test_has_the_gradient_of_a_softmax_with_constant_factors(self):
        z, n = [0.2, 0.9, -0.4], COUNTS.tolist()
        factors = [min(1, (n[j] / n[0]) ** 0.8) * max(1, math.exp(z[j] - z[0])) ** 2 for j in range(3)]
        odds = [s * math.exp(value) for s, value in zip(factors, z, strict=True)]
        logits = torch.tensor([z], dtype=torch.float64, requires_grad=True)
        loss_of("seesaw", logits, labels=torch.tensor([0])).sum().backward()
        assert is_same(logits.grad[0], [odds[j] / sum(odds) - (j == 0) for j in range(3)])


class TestInfluenceBalanced:
    features = torch.tensor([[1.0, -2.0], [0.5, 0.0]], dtype=torch.float64)

    def test_divides_cross_entropy_by_the_influence(self):
        shares = [1 / count / sum(1 / n for n in COUNTS.tolist()) for count in COUNTS.tolist()]
        for features, sizes in ((self.features, [3.0, 0.5]), (None, [1.0, 1.0])):
            expected = []
            for (z, y), size in zip(rows(), sizes, strict=False):
                p = softmax(z)
                distance = sum(abs(p[j] - (j == y)) for j in range(3))
                expected.append(20 * shares[y] * -math.log(p[y]) / (distance * size + 0.1))
            actual = LOSSES.get("influence_balanced").function(
                some_logits()[:2], LABELS[:2], COUNTS.double(), features, scale=20.0, epsilon=0.1
            )
            assert is_same(actual, expected)

    def test_the_factor_is_constant_to_the_gradient(self):
        values, gradient = with_gradient(
            LOSSES.bind({"name": "influence_balanced"}), some_logits(), LABELS, COUNTS.double()
        )
        plain, slope = with_gradient(CROSS_ENTROPY, some_logits(), LABELS, COUNTS)
        torch.testing.assert_close(gradient, slope * (values / plain).unsqueeze(1))

    def test_features_get_no_gradient_from_it(self):
        features = self.features.clone().requires_grad_()
        logits = some_logits()[:2].requires_grad_()
        values = LOSSES.get("influence_balanced").function(logits, LABELS[:2], COUNTS, features)
        assert torch.autograd.grad(values.sum(), features, allow_unused=True) == (None,)


class TestLabelAwareSmoothing:
    def test_is_cross_entropy_with_the_papers_targets(self):
        n = COUNTS.tolist()
        for head, tail in ((0.3, 0.0), (0.4, 0.1), (0.0, 0.2)):
            share = [tail + (head - tail) * math.sin(math.pi / 2 * (count - 9) / (900 - 9)) for count in n]
            expected = [
                -sum((1 - share[y] if j == y else share[y] / 2) * math.log(pj) for j, pj in enumerate(softmax(z)))
                for z, y in rows()
            ]
            assert is_same(loss_of("label_aware_smoothing", some_logits(), head=head, tail=tail), expected)

    def test_a_class_without_images_leaves_the_others_as_they_would_be(self):
        labels = torch.tensor([0, 1])
        logits = torch.zeros(2, 3, dtype=torch.float64)
        with_absent = loss_of("label_aware_smoothing", logits, torch.tensor([90.0, 9.0, 0.0]), labels, head=0.4)
        with_rare = loss_of("label_aware_smoothing", logits, torch.tensor([90.0, 9.0, 9.0]), labels, head=0.4)
        assert torch.equal(with_absent, with_rare)


class TestNoise:
    @pytest.mark.parametrize("q", [0.01, 0.7, 1.0])
    @pytest.mark.parametrize("truncation", [0.0, 0.5])
    def test_generalized_cross_entropy(self, q, truncation):
        p = [max(softmax(z)[y], truncation) for z, y in rows()]
        values = loss_of("generalized_cross_entropy", some_logits(), q=q, truncation=truncation)
        assert is_same(values, [(1 - pt**q) / q for pt in p])

    def test_generalized_cross_entropy_tends_to_cross_entropy(self):
        values = loss_of("generalized_cross_entropy", some_logits(), q=1e-9)
        torch.testing.assert_close(values, loss_of("cross_entropy", some_logits()), rtol=1e-7, atol=0)

    def test_truncated_examples_teach_nothing(self):
        logits = torch.tensor([[0.0, 1.0, 0.0]] * 2, requires_grad=True)
        loss_of("generalized_cross_entropy", logits, labels=torch.tensor([0, 1]), truncation=0.5).sum().backward()
        assert not logits.grad[0].any() and logits.grad[1].any()

    def test_symmetric_cross_entropy(self):
        p = [softmax(z)[y] for z, y in rows()]
        values = loss_of("symmetric_cross_entropy", some_logits(), forward=6.0, reverse=0.1)
        assert is_same(values, [-6 * math.log(pt) + 0.1 * 4 * (1 - pt) for pt in p])


def auc_objective(scores: list[float], found: list[float], margin: float) -> float:
    """The paper's min-max, its inner problem solved by trying: a and b are the means, alpha is searched.

    found: how much of each example is in the class, the rest of it being outside.
    """
    inside, outside = sum(found), sum(1 - m for m in found)
    a = sum(m * s for s, m in zip(scores, found, strict=True)) / inside
    b = sum((1 - m) * s for s, m in zip(scores, found, strict=True)) / outside
    spread = sum(
        m * (s - a) ** 2 / inside + (1 - m) * (s - b) ** 2 / outside for s, m in zip(scores, found, strict=True)
    )
    best = max(2 * step / 4000 * (margin + b - a) - (step / 4000) ** 2 for step in range(8001))
    return spread + best


def pair_objective(scores: list[float], found: list[float], margin: float) -> float:
    pairs = product(zip(scores, found, strict=True), repeat=2)
    hinges = [m * (1 - other) * max(0.0, margin - s + t) ** 2 for (s, m), (t, other) in pairs]
    return sum(hinges) / (sum(found) * sum(1 - m for m in found))


def mixed_batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits [30, 5], labels, those of the partners and the shares: all in all there is half an example of class 2."""
    logits, labels = random_batch(30, 5, scale=1.0)
    partners = random_batch(30, 5, seed=1)[1]
    share = torch.rand(30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    labels, partners = labels.where(labels != 2, 3), partners.where(partners != 2, 4)
    labels[0], partners[1], share[:2] = 2, 2, torch.tensor([0.2, 0.7])
    return logits, labels, partners, share


def parts_of(
    name: str, logits: Tensor, labels: Tensor, partners: Tensor, share: Tensor, **options
) -> tuple[Tensor, Tensor]:
    """What each mixed image is of the loss, [batch], and the gradient of their mean at the logits."""
    inputs = logits.clone().requires_grad_()
    membership = torch.cat([share, 1 - share])
    twice = torch.cat([labels, partners])
    values = loss_of(name, inputs.repeat(2, 1), torch.ones(logits.shape[1]), twice, membership=membership, **options)
    parts = (membership * values).view(2, -1)
    (gradient,) = torch.autograd.grad(parts.sum() / len(labels), inputs)
    return parts.sum(0).detach(), gradient


every_ranking = pytest.mark.parametrize("name", ["auc_margin", "pairwise_hinge"])


class TestRanking:
    @pytest.mark.parametrize(("name", "objective"), [("auc_margin", auc_objective), ("pairwise_hinge", pair_objective)])
    @pytest.mark.parametrize("margin", [0.1, 0.5, 1.0])
    @pytest.mark.parametrize("counts", [[900, 9], [9, 900], [9, 9]])
    def test_of_two_classes_the_mean_is_that_of_finding_the_rarer(self, name, objective, margin, counts):
        logits, labels = random_batch(30, 2, scale=1.0)
        rare = 0 if counts[0] < counts[1] else 1
        scores = logits.softmax(1)[:, rare].tolist()
        expected = objective(scores, (labels == rare).tolist(), margin)
        value = loss_of(name, logits, torch.tensor(counts), labels, margin=margin).mean()
        assert value.item() == pytest.approx(expected, abs=1e-7)

    @pytest.mark.parametrize(("name", "objective"), [("auc_margin", auc_objective), ("pairwise_hinge", pair_objective)])
    def test_of_more_the_mean_is_over_the_classes_in_the_batch(self, name, objective):
        logits, labels = random_batch(30, 4, scale=1.0)
        labels = labels.where(labels != 2, 3)
        p = logits.softmax(1)
        expected = [objective(p[:, k].tolist(), (labels == k).tolist(), 0.4) for k in (0, 1, 3)]
        value = loss_of(name, logits, torch.ones(4), labels, margin=0.4).mean()
        assert value.item() == pytest.approx(sum(expected) / 3, abs=1e-7)

    def test_at_margin_1_they_agree(self):
        logits, labels = random_batch(30, 4, scale=1.0)
        one, two = (
            loss_of(name, logits, torch.ones(4), labels, margin=1.0) for name in ("auc_margin", "pairwise_hinge")
        )
        assert one.mean().item() == pytest.approx(two.mean().item(), rel=1e-12)

    @every_ranking
    @pytest.mark.parametrize("margin", [0.3, 1.0])
    def test_perfect_scores_lose_nothing(self, name, margin):
        labels = torch.tensor([0, 1, 1, 0])
        logits = 1e4 * torch.nn.functional.one_hot(labels).float()
        assert loss_of(name, logits, COUNTS[:2], labels, margin=margin).abs().max() < 1e-12

    def test_pairs_a_margin_apart_are_left_alone(self):
        scores = torch.tensor([0.1, 0.3, 0.7, 0.9], dtype=torch.float64)
        logits = torch.stack([torch.zeros(4), scores.logit()], 1).requires_grad_()
        loss_of("pairwise_hinge", logits, COUNTS[:2], torch.tensor([0, 0, 1, 1]), margin=0.5).mean().backward()
        pulls = logits.grad[:, 1]
        assert not pulls[[0, 3]].any()
        # One pair of four is 0.1 short: 2 * 0.1 / 4 over the slope of the sigmoid at 0.3 and at 0.7.
        assert pulls[[1, 2]].tolist() == pytest.approx([0.05 * 0.21, -0.05 * 0.21], rel=1e-9)

    @pytest.mark.parametrize(("name", "objective"), [("auc_margin", auc_objective), ("pairwise_hinge", pair_objective)])
    def test_a_mixed_image_is_in_each_of_its_classes_by_its_share(self, name, objective):
        logits, labels, partners, share = mixed_batch()
        p, images = logits.softmax(1), torch.arange(30)
        in_class = torch.zeros(30, 5, dtype=torch.float64)
        for each, part in ((labels, share), (partners, 1 - share)):
            in_class.index_put_((images, each), part, accumulate=True)
        counted = [min(1.0, float(in_class[:, k].sum())) for k in range(5)]
        assert counted == pytest.approx([1, 1, 0.5, 1, 1])
        expected = sum(c * objective(p[:, k].tolist(), in_class[:, k].tolist(), 0.4) for k, c in enumerate(counted))
        parts, _ = parts_of(name, logits, labels, partners, share, margin=0.4)
        assert parts.mean().item() == pytest.approx(expected / sum(counted), abs=1e-7)

    def test_at_margin_1_they_agree_on_mixed_images(self):
        _, one = parts_of("auc_margin", *mixed_batch(), margin=1.0)
        _, two = parts_of("pairwise_hinge", *mixed_batch(), margin=1.0)
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-14)

    @every_ranking
    def test_which_of_two_labels_comes_first_makes_no_difference(self, name):
        logits, labels, partners, share = mixed_batch()
        turned = torch.arange(30) % 2 == 0
        other_way = (partners.where(turned, labels), labels.where(turned, partners), (1 - share).where(turned, share))
        for one, other in zip(
            parts_of(name, logits, labels, partners, share), parts_of(name, logits, *other_way), strict=True
        ):
            torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-15)

    @every_ranking
    def test_whole_examples_are_as_without_memberships(self, name):
        logits, labels, partners, _ = mixed_batch()
        whole = torch.ones(30, dtype=torch.float64)
        plain = loss_of(name, logits, torch.ones(5), labels)
        assert torch.equal(loss_of(name, logits, torch.ones(5), labels, membership=whole), plain)
        parts, _ = parts_of(name, logits, labels, partners, whole)
        torch.testing.assert_close(parts, plain, rtol=1e-12, atol=1e-15)

    @every_ranking
    def test_a_vanishing_share_vanishes(self, name):
        """Even where it is all that the batch has of a class, or all that it has beside one."""
        logits, labels, partners, _ = mixed_batch()
        for own, other in ((labels.where(labels != 2, 3), torch.full((30,), 2)), (torch.full((30,), 4), partners)):
            exact = parts_of(name, logits, own, other, torch.ones(30, dtype=torch.float64))
            for left in (1e-9, 1e-13, 1e-300):
                share = torch.ones(30, dtype=torch.float64)
                share[3] -= left
                for one, limit in zip(parts_of(name, logits, own, other, share), exact, strict=True):
                    torch.testing.assert_close(one, limit, rtol=0, atol=1e-7)

    @every_ranking
    def test_an_image_mixed_of_two_of_its_class_is_one_of_them(self, name):
        logits, labels, _, share = mixed_batch()
        for dtype in (torch.float64, torch.float32):
            parts, gradient = parts_of(name, logits.to(dtype), labels * 0, labels * 0, share.to(dtype))
            assert not parts.any() and not gradient.any()

    @every_ranking
    def test_has_the_gradient_of_the_values_with_memberships(self, name):
        logits, labels, _, share = mixed_batch()
        counts = torch.ones(5)
        assert torch.autograd.gradcheck(
            lambda z: loss_of(name, z, counts, labels, membership=share), logits.requires_grad_()
        )
