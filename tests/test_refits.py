"""Refits: another classifier on the same features, by hand, against its theory, and to the byte."""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F

from imbalance_cli.blocks import CosineClassifier
from imbalance_cli.methods.losses.classic import cross_entropy
from imbalance_cli.methods.posthoc import uninformative_logits
from imbalance_cli.methods.refits import FROM_FEATURES_ALONE, NEEDS_LENGTHS, REFITS, Cosine, Linear
from imbalance_cli.methods.weights import class_weights

every_refit = pytest.mark.parametrize("method", list(REFITS), ids=lambda method: method.name)
every_cosine_refit = pytest.mark.parametrize("name", ["crt", "nearest_mean", "label_over_smoothing"])

COUNTS = [300, 60, 10]
PRIOR = torch.tensor([2.0, 0.5, -2.5], dtype=torch.float64)


def keyed() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def some_features(counts=COUNTS, *, distance=3.0):
    """Positive features of three classes, each along an axis of its own among five."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    noise = torch.randn(len(labels), 5, generator=torch.Generator().manual_seed(1))
    return (noise + distance * F.one_hot(labels, 5)).relu(), labels


def trained() -> Linear:
    """A classifier that leans towards the first class as its prior says."""
    weight = torch.eye(3, 5) * torch.tensor([[1.5], [1.0], [0.5]])
    return Linear(weight, PRIOR.float(), PRIOR)


def trained_cosine() -> Cosine:
    """A cosine classifier that leans towards the first class, whose row lies nearest to the images of the others."""
    weight = torch.tensor([[1.0, 0.5, 0.5, 0.0, 0.0], [0.0, 1.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0, 1.0]])
    return Cosine(3 * weight, torch.zeros(3), PRIOR)


def refitted(name, features, labels, classifier=None, **options) -> Linear:
    choice = {"name": name, **REFITS.get(name).schema.model_validate(options).model_dump()}
    return REFITS.bind(choice)(features, labels, classifier or trained(), keyed())


def recalls(classifier: Linear, features, labels) -> list[float]:
    right = classifier.logits(features).argmax(1) == labels
    return [float(right[labels == label].float().mean()) for label in range(3)]


class TestEveryRefit:
    @every_refit
    def test_takes_features_labels_classifier_generator_and_named_options_with_valid_defaults(self, method):
        assert method.inputs == ["features", "labels", "classifier", "generator"]
        kinds = {p.kind for p in inspect.signature(method.function).parameters.values()}
        assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
        defaults = {name: option.default for name, option in method.options.items()}
        assert method.schema.model_validate({}).model_dump() == defaults
        assert method.summary.endswith(".")

    @every_refit
    def test_gives_a_classifier_of_the_same_form_that_needs_no_gradient(self, method):
        found = refitted(method.name, *some_features())
        assert found.weight.shape == (3, 5) and found.weight.dtype == torch.float32
        assert found.bias.shape == (3,) and found.bias.dtype == torch.float32
        assert found.reference.shape == (3,) and found.reference.dtype == torch.float64
        assert all(values.isfinite().all() and not values.requires_grad for values in found)

    @every_refit
    def test_gives_the_same_bytes_again_and_leaves_what_it_is_given(self, method):
        features, labels = some_features()
        given = features.clone(), labels.clone(), trained()
        found = refitted(method.name, *given)
        assert all(map(torch.equal, found, refitted(method.name, *given)))
        for before, after in zip((features, labels, *trained()), (*given[:2], *given[2]), strict=True):
            assert torch.equal(before, after)

    @every_refit
    def test_draws_from_its_generator_alone(self, method):
        torch.manual_seed(1)
        found = refitted(method.name, *some_features())
        torch.manual_seed(2)
        state = torch.get_rng_state()
        assert all(map(torch.equal, found, refitted(method.name, *some_features())))
        assert torch.equal(torch.get_rng_state(), state)

    @every_refit
    def test_takes_features_made_for_inference(self, method):
        with torch.inference_mode():
            features, labels = some_features()
        assert refitted(method.name, features, labels).weight.isfinite().all()

    @every_refit
    @pytest.mark.parametrize("counts", [[50, 0, 9], [1, 1, 1], [0, 0, 40]])
    def test_copes_with_classes_of_one_image_or_none(self, method, counts):
        found = refitted(method.name, *some_features(counts))
        assert all(values.isfinite().all() for values in found)


class TestNone:
    def test_keeps_the_trained_classifier(self):
        assert all(map(torch.equal, refitted("none", *some_features()), trained()))


class TestRetraining:
    def test_finds_every_class_that_the_features_tell_apart(self):
        features, labels = some_features(distance=6.0)
        assert min(recalls(refitted("crt", features, labels), features, labels)) > 0.98

    def test_does_not_look_at_the_trained_classifier(self):
        spoilt = Linear(torch.full((3, 5), 1e6), torch.full((3,), -1e6), PRIOR)
        features, labels = some_features()
        assert all(map(torch.equal, refitted("crt", features, labels), refitted("crt", features, labels, spoilt)))

    def test_is_balanced_so_that_features_which_say_nothing_give_equal_logits(self):
        labels = some_features()[1]
        found = refitted("crt", torch.zeros(len(labels), 5), labels, epochs=30)
        assert found.bias - found.bias.mean() == pytest.approx([0, 0, 0], abs=0.1)
        assert found.reference.tolist() == [0, 0, 0]

    def test_finds_more_of_the_rare_class_than_the_trained_classifier(self):
        features, labels = some_features(distance=2.0)
        assert recalls(refitted("crt", features, labels), features, labels)[2] > recalls(trained(), features, labels)[2]


class TestScales:
    def test_scale_each_row_with_its_bias(self):
        found = refitted("lws", *some_features())
        scale = found.bias / trained().bias
        torch.testing.assert_close(found.weight, scale[:, None] * trained().weight)
        assert not torch.allclose(scale, torch.ones(3))
        assert found.reference.tolist() == [0, 0, 0]

    def test_bring_the_balanced_loss_down(self):
        features, labels = some_features()

        def balanced_loss(classifier: Linear) -> float:
            losses = F.cross_entropy(F.linear(features, classifier.weight, classifier.bias), labels, reduction="none")
            return sum(float(losses[labels == label].mean()) for label in range(3))

        assert balanced_loss(refitted("lws", features, labels)) < balanced_loss(trained())


class TestTauNormalisation:
    def test_at_0_leaves_the_rows_and_drops_the_bias(self):
        found = refitted("tau_normalisation", *some_features(), tau=0.0)
        assert torch.equal(found.weight, trained().weight)
        assert found.bias.tolist() == [0, 0, 0]

    def test_at_1_makes_all_rows_as_long(self):
        found = refitted("tau_normalisation", *some_features(), tau=1.0)
        torch.testing.assert_close(found.weight.norm(dim=1), torch.ones(3))

    def test_by_hand(self):
        classifier = Linear(torch.tensor([[3.0, 4.0], [0.0, 0.25]]), torch.zeros(2), torch.zeros(2).double())
        found = refitted("tau_normalisation", torch.zeros(2, 2), torch.arange(2), classifier, tau=0.5)
        expected = torch.tensor([[3 / math.sqrt(5), 4 / math.sqrt(5)], [0.0, 0.5]])
        torch.testing.assert_close(found.weight, expected)

    def test_refers_to_what_the_trained_reference_becomes(self):
        """An image for which the trained classifier gives its reference gets the new reference, up to a constant."""
        feature = torch.tensor([0.3, -0.4, 1.2, 0.7, 0.0])
        classifier = trained()._replace(reference=F.linear(feature, trained().weight, trained().bias).double())
        found = refitted("tau_normalisation", *some_features(), classifier)
        logits = F.linear(feature, found.weight, found.bias).double()
        torch.testing.assert_close(found.reference, logits - logits.mean(), rtol=1e-5, atol=1e-6)


class TestNearestMean:
    def test_by_hand(self):
        features = torch.tensor([[10.0, 0.0], [0.0, 1.0], [-3.0, 4.0]])
        classifier = Linear(torch.zeros(3, 2), torch.zeros(3), torch.zeros(3).double())
        found = refitted("nearest_mean", features, torch.tensor([0, 0, 1]), classifier)
        half = math.sqrt(0.5)  # both images of class 0 count alike, however long
        torch.testing.assert_close(found.weight, torch.tensor([[half, half], [-0.6, 0.8], [0.0, 0.0]]))
        assert found.bias.tolist() == [0, 0, 0] and found.reference.tolist() == [0, 0, 0]

    def test_decides_by_the_angle_alone(self):
        features, labels = some_features()
        found = refitted("nearest_mean", features, labels)
        decisions = F.linear(features, found.weight).argmax(1)
        assert torch.equal(F.linear(features * 100, found.weight).argmax(1), decisions)


class TestLabelOverSmoothing:
    def test_makes_the_logits_small(self):
        features, labels = some_features()
        found = refitted("label_over_smoothing", features, labels, epochs=200, learning_rate=0.1)
        logits = F.linear(features, found.weight, found.bias)
        assert (logits - logits.mean(1, keepdim=True)).abs().max() < 0.1  # 0.02 of the target tells classes apart

    def test_refers_to_what_the_trained_reference_becomes(self):
        """An image for which the trained classifier gives its reference gets the new reference, up to a constant."""
        features, labels = some_features()
        features = features[:, :2]  # of two features only one pair gives three logits
        feature = torch.tensor([0.3, 1.2])
        weight = torch.tensor([[1.5, 0.0], [0.0, 1.0], [-0.5, -0.5]])
        reference = F.linear(feature, weight, PRIOR.float()).double()
        found = refitted("label_over_smoothing", features, labels, Linear(weight, PRIOR.float(), reference), epochs=200)
        assert not torch.allclose(found.weight, weight, atol=0.01)
        logits = F.linear(feature, found.weight, found.bias).double()
        torch.testing.assert_close(found.reference, logits - logits.mean(), rtol=1e-5, atol=1e-5)

    def test_keeps_the_trained_reference_where_it_hardly_moves(self):
        found = refitted("label_over_smoothing", *some_features(), epochs=1, learning_rate=1e-9)
        assert found.reference.tolist() == pytest.approx(PRIOR.tolist(), abs=1e-4)

    def test_comes_to_refer_to_the_prior_that_its_labels_leave(self):
        expected = uninformative_logits(
            lambda logits, labels, counts: cross_entropy(logits, labels, counts, label_smoothing=0.5),
            torch.tensor(COUNTS).double(),
            torch.ones(3).double(),
        )
        labels = some_features()[1]
        found = refitted(
            "label_over_smoothing", torch.zeros(len(labels), 5), labels, smoothing=0.5, epochs=100, learning_rate=0.1
        )
        assert found.reference.tolist() == pytest.approx(expected.tolist(), abs=0.02)


class TestOfACosineClassifier:
    def test_every_method_but_those_of_row_lengths_is_for_it(self):
        assert sorted(REFITS.names()) == sorted(["none", "crt", "nearest_mean", "label_over_smoothing", *NEEDS_LENGTHS])

    def test_the_form_is_that_of_the_models_layer(self):
        layer, features = CosineClassifier(5, 3), some_features()[0]
        form = Cosine(layer.weight.detach(), torch.zeros(3), PRIOR)
        torch.testing.assert_close(form.logits(features), layer(features).detach())
        assert form.parameters[0] is form.weight and len(form.parameters) == 1

    def test_a_fresh_one_is_drawn_as_the_layer_draws_it(self):
        with torch.random.fork_rng():
            torch.manual_seed(7)
            layer = CosineClassifier(5, 3)
        fresh = trained_cosine().fresh(keyed())
        assert torch.equal(fresh.weight, layer.weight) and fresh.bias.tolist() == [0, 0, 0]

    @every_cosine_refit
    def test_gives_a_cosine_classifier_to_the_same_bytes_and_leaves_what_it_is_given(self, name):
        features, labels = some_features()
        given = trained_cosine()
        found = refitted(name, features, labels, given)
        assert isinstance(found, Cosine) and found.bias.tolist() == [0, 0, 0]
        assert all(values.isfinite().all() and not values.requires_grad for values in found)
        assert all(map(torch.equal, found, refitted(name, features, labels, given)))
        assert all(map(torch.equal, given, trained_cosine()))

    @every_cosine_refit
    def test_finds_every_class_that_the_features_tell_apart(self, name):
        features, labels = some_features(distance=6.0)
        found = refitted(name, features, labels, trained_cosine())
        right = (found.logits(features) - found.reference).argmax(1) == labels
        assert min(float(right[labels == label].float().mean()) for label in range(3)) > 0.98

    @every_cosine_refit
    @pytest.mark.parametrize("counts", [[50, 0, 9], [1, 1, 1], [0, 0, 40]])
    def test_copes_with_classes_of_one_image_or_none(self, name, counts):
        found = refitted(name, *some_features(counts), trained_cosine())
        assert all(values.isfinite().all() for values in found)

    @every_cosine_refit
    def test_the_length_of_an_image_s_features_changes_nothing(self, name):
        features, labels = some_features()
        lengths = torch.rand(len(features), 1, generator=keyed()) + 0.5
        found, other = (refitted(name, each, labels, trained_cosine()) for each in (features, lengths * features))
        for one, same in zip(found, other, strict=True):
            torch.testing.assert_close(one, same, rtol=1e-3, atol=1e-3)

    def test_retraining_makes_equal_logits_of_features_that_say_nothing(self):
        features = torch.tensor([1.0, 2.0, 0.5, 1.0, 1.0])
        labels = some_features()[1]
        found = refitted("crt", features.repeat(len(labels), 1), labels, trained_cosine(), epochs=30)
        logits = found.logits(features[None])[0]
        assert (logits - logits.mean()).tolist() == pytest.approx([0, 0, 0], abs=0.2)
        assert found.reference.tolist() == [0, 0, 0]

    @pytest.mark.parametrize("name", FROM_FEATURES_ALONE)
    def test_what_looks_at_the_features_alone_gives_the_same_whatever_was_trained(self, name):
        spoilt = Cosine(torch.full((3, 5), 1e6), torch.zeros(3), -PRIOR)
        given = some_features()
        assert all(map(torch.equal, refitted(name, *given, trained_cosine()), refitted(name, *given, spoilt)))

    def test_the_nearest_mean_is_the_largest_cosine_to_a_mean_direction(self):
        features, labels = some_features()
        found = refitted("nearest_mean", features, labels, trained_cosine())
        means = torch.stack([F.normalize(features[labels == label]).mean(0) for label in range(3)])
        cosines = F.cosine_similarity(features[:, None], means[None], dim=2)
        torch.testing.assert_close(found.logits(features), 30 * cosines)

    def test_smoothing_refers_to_what_the_trained_reference_becomes(self):
        """An image for which the trained classifier gives its reference gets the new reference, up to a constant."""
        features, labels = some_features()
        features = features[:, :3]  # three rows of three features: only one direction gives three logits
        feature = torch.tensor([[0.9, 1.2, 0.3]])
        weight = torch.tensor([[1.5, 0.2, 0.0], [0.5, 1.0, 0.0], [0.7, 0.1, 0.9]])
        classifier = Cosine(weight, torch.zeros(3), torch.zeros(3).double())
        classifier = classifier._replace(reference=classifier.logits(feature)[0].double())
        found = refitted("label_over_smoothing", features, labels, classifier)
        logits = found.logits(feature)[0].double()
        assert float((logits - logits.mean() - classifier.reference + classifier.reference.mean()).abs().max()) > 3
        # Near rather than equal: the regression's image need not have length 1.
        assert found.reference.tolist() == pytest.approx((logits - logits.mean()).tolist(), abs=0.35)

    def test_smoothing_keeps_the_trained_reference_where_it_hardly_moves(self):
        found = refitted("label_over_smoothing", *some_features(), trained_cosine(), epochs=1, learning_rate=1e-9)
        assert found.reference.tolist() == pytest.approx(PRIOR.tolist(), abs=1e-4)


class TestMaxNorm:
    def test_no_row_is_longer_than_said(self):
        found = refitted("max_norm", *some_features(), longest=0.7, learning_rate=0.1)
        assert float(found.weight.norm(dim=1).max()) <= 0.7 + 1e-6

    def test_refers_to_the_prior_that_its_class_weights_leave(self):
        counts = torch.tensor(COUNTS).double()
        weights = class_weights({"name": "effective_number"}, counts)
        logs = (counts * weights).log()  # for cross-entropy the reference is the weighted log prior
        found = refitted("max_norm", *some_features())
        assert found.reference.tolist() == pytest.approx((logs - logs.mean()).tolist(), abs=1e-4)
