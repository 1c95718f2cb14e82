"""What a loss is told of the classes beside a sampler: how often they are drawn, and how large they are."""

import numpy as np
import pytest
import torch
from small_data import plain_colours

from imbalance_cli.config import Experiment
from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.methods.mixing import MIXING
from imbalance_cli.methods.samplers import SAMPLERS
from imbalance_cli.objectives import Objective
from imbalance_cli.stages import stages
from imbalance_cli.streams import epoch_stream

COUNTS = torch.tensor([50, 500, 5000])
LOGITS = torch.tensor([[0.5, -1.0, 0.2], [0.3, 1.1, -0.4], [-0.2, 0.1, 0.9]])
LABELS = torch.arange(3)


def objective(counts: torch.Tensor = COUNTS, **settings: object) -> Objective:
    (stage,) = stages(Experiment(**settings), counts)
    return Objective.of(stage, 0, torch.device("cpu"), torch.float32)


def losses(told: Objective, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return told.loss(logits, labels, told.counts)


class TestSizes:
    """Margins, smoothing and alpha go by the training images, however often these are drawn."""

    @pytest.mark.parametrize("sampler", ["class_balanced", {"name": "power", "q": -1.0}, "over_sampling"])
    @pytest.mark.parametrize("loss", ["ldam", "margin_hinge", "label_aware_smoothing"])
    def test_a_sampler_changes_nothing(self, loss, sampler):
        alone = LOSSES.bind({"name": loss, **LOSSES.get(loss).schema().model_dump()})(LOGITS, LABELS, COUNTS.float())
        assert torch.equal(losses(objective(loss=loss, sampler=sampler), LOGITS, LABELS), alone)

    @pytest.mark.parametrize("sampler", [method.name for method in SAMPLERS])
    @pytest.mark.parametrize(("counts", "rare"), [([20, 200], 0), ([200, 20], 1)])
    def test_alpha_is_the_weight_of_the_rare_class_wherever_it_stands(self, counts, rare, sampler):
        told = objective(torch.tensor(counts), loss={"name": "focal", "alpha": 0.9}, sampler=sampler)
        values = losses(told, torch.zeros(2, 2), torch.arange(2))
        assert (values[rare] / values[1 - rare]).item() == pytest.approx(9)

    def test_alpha_by_counts_goes_by_the_draws_so_that_it_corrects_once(self):
        told = objective(loss={"name": "focal", "alpha": "counts"}, sampler="class_balanced")
        assert torch.equal(*losses(told, torch.zeros(3, 3), LABELS)[:2])


@pytest.mark.parametrize("loss", ["logit_adjustment", {"name": "vector_scaling", "gamma": 0.0, "tau": 1.0}])
@pytest.mark.parametrize("q", [1.0, 0.25, 0.0, -1.0, 2.0, 3.0])
def test_the_prior_is_corrected_once_even_for_classes_drawn_less_than_once_an_epoch(loss, q):
    (stage,) = stages(Experiment(loss=loss, sampler={"name": "power", "q": q}), COUNTS)
    assert stage.uninformative_logits(0) == pytest.approx([0, 0, 0], abs=1e-3)


@pytest.mark.parametrize(
    ("first", "second"),
    [({"name": "cmo", "probability": 1.0}, "mixup"), ("cmo", {"name": "cutmix", "probability": 0.25})],
)
def test_the_loss_is_told_of_the_labels_that_all_views_show(first, second):
    counts = torch.tensor([900, 100])
    (stage,) = stages(Experiment(mixing=first, second_view=second), counts)
    labels, partner_labels = torch.arange(2).repeat_interleave(counts), torch.arange(2).repeat(500)
    images, generator, shown = torch.zeros(1000, 3, 8, 8), np.random.default_rng(0), torch.zeros(2)
    for view in [stage.experiment.mixing, stage.experiment.second_view] * 20:
        _, share = MIXING.bind(view)(images, labels, images, partner_labels, counts, generator)
        shown.index_add_(0, labels, share).index_add_(0, partner_labels, 1 - share)
    assert stage.seen(0).tolist() == pytest.approx((shown / 40).tolist(), rel=0.05)


@pytest.mark.parametrize("second", ["none", "remix"])
@pytest.mark.parametrize("first", [name for name in MIXING.names() if name != "none"])
@pytest.mark.parametrize("sampler", ["instance", "square_root"])
def test_the_loss_is_told_of_the_labels_that_a_long_stream_shows(first, second, sampler):
    settings = {"mixing": first, "second_view": second, "sampler": sampler, "augment": [], "batch_size": 200}
    images = plain_colours(900, 20, 80)
    (stage,) = stages(Experiment(**settings, epochs=100), images.counts())
    shown, device = torch.zeros(3), torch.device("cpu")
    for epoch in range(60):
        for batch in epoch_stream(stage, epoch, images, lambda pixels: pixels.float(), device=device, start=0):
            for view in batch.views:
                shown.index_add_(0, batch.labels, view.share)
                shown.index_add_(0, batch.partner_labels, 1 - view.share)
    expected = stage.seen(0)
    assert (expected[1] > stage.draws(0)[1] * 1.05) == (first not in ("mixup", "cutmix") or second == "remix")
    assert (expected / expected.sum()).tolist() == pytest.approx((shown / shown.sum()).tolist(), rel=0.04)


@pytest.mark.parametrize("mixing", ["remix", "margin_mixup", "cmo"])
def test_a_loss_that_allows_for_the_prior_allows_for_the_mixing_exactly_once(mixing):
    (stage,) = stages(Experiment(loss="logit_adjustment", mixing=mixing), COUNTS)
    assert stage.mixes(0) and stage.uninformative_logits(0) == pytest.approx([0, 0, 0], abs=1e-3)
    (plain,) = stages(Experiment(mixing=mixing), COUNTS)
    shown = plain.seen(0).log().numpy()
    assert plain.uninformative_logits(0) == pytest.approx(shown - shown.mean(), abs=1e-3)


@pytest.mark.parametrize("loss", [method.name for method in LOSSES])
def test_a_class_without_images_leaves_the_correction_of_the_others_alone(loss):
    chosen = {"name": loss, "ignored": 0.1} if loss == "equalization" else loss  # of which little is drawn at random
    with_it, without = (
        next(iter(stages(Experiment(loss=chosen), torch.tensor(counts)))).uninformative_logits(0)
        for counts in ([5000, 500, 0, 50], [5000, 500, 50])
    )
    if loss == "label_aware_smoothing":  # it gives a share of the target to the class without images
        assert np.all(np.diff(with_it[[0, 1, 3]]) < 0)
        return
    found = with_it[[0, 1, 3]]
    assert found - found.mean() == pytest.approx(without, abs=0.02)
