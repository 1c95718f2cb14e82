"""Training: what each setting does to the stream, the loss and the weights, alone and combined."""

import copy
import math
import random
from pathlib import Path

import pytest
import torch
from small_data import complete, content, new_run, settings_for

from imbalance_cli import experiments
from imbalance_cli.combinations import warnings
from imbalance_cli.config import REGISTRIES, Setting, resolve
from imbalance_cli.errors import SettingError
from imbalance_cli.experiments import Run
from imbalance_cli.methods.augment import AUGMENTATIONS
from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.methods.mixing import MIXING
from imbalance_cli.methods.samplers import SAMPLERS
from imbalance_cli.methods.weights import CLASS_WEIGHTS
from imbalance_cli.objectives import Objective, small_within_class
from imbalance_cli.stages import stages
from imbalance_cli.streams import epoch_stream
from imbalance_cli.training import Trainer
from imbalance_cli.weight_steps import Averaged, clip, length, perturbed, shorten_rows

COUNTS = torch.tensor([96, 20])  # about those of the small image folder, which are 96 and 19


def experiment_of(*assignments):
    return resolve(None, [Setting(tuple(key.split(".")), value, "test") for key, value in assignments])[0]


@pytest.fixture
def run_of(image_folder: Path, tmp_path: Path):
    """A function that makes a run with the given settings, numbered folders."""

    def make(**changes: object) -> Run:
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        return new_run(settings_for(image_folder, image_folder / "cache", **changes), folder)

    return make


def train_losses(run: Run) -> list[float]:
    return [line["train_loss"] for line in run.trainer.progress.log]


# Stages: draws, weights, epochs


def test_a_loss_is_given_the_counts_of_the_sampled_stream():
    (stage,) = stages(experiment_of(("sampler", "class_balanced")), COUNTS)
    assert stage.draws(0).tolist() == [58, 58]
    assert stage.uninformative_logits(0) == pytest.approx([0, 0], abs=1e-6)
    (plain,) = stages(experiment_of(), COUNTS)
    assert plain.draws(0).tolist() == [96, 20]
    low, high = plain.uninformative_logits(0)[::-1]
    assert high - low == pytest.approx(math.log(96 / 20), abs=1e-6)


def test_a_prior_aware_loss_beside_any_sampler_corrects_exactly_once():
    for q in (-1.0, 0.0, 0.25, 1.0):
        (stage,) = stages(experiment_of(("loss", "logit_adjustment"), ("sampler", {"name": "power", "q": q})), COUNTS)
        assert stage.uninformative_logits(0) == pytest.approx([0, 0], abs=1e-6)


def test_the_average_image_of_the_stream_weighs_one():
    settings = [("class_weights", "inverse"), ("sampler", "square_root")]
    (stage,) = stages(experiment_of(*settings), COUNTS)
    draws, weights = stage.draws(0), stage.class_weights(0)
    assert float((draws * weights).sum() / draws.sum()) == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(96 / 20)


def test_deferred_weights_and_sampling_wait_for_their_epoch():
    schedule = {"name": "deferred", "start": 0.8}
    settings = [("class_weights", "inverse"), ("class_weights_schedule", schedule), ("epochs", 10)]
    (stage,) = stages(experiment_of(*settings, ("sampler", "class_balanced"), ("sampler_schedule", schedule)), COUNTS)
    assert stage.class_weights(7).tolist() == [1, 1] and stage.draws(7).tolist() == [96, 20]
    assert stage.class_weights(8)[1] > 1 and stage.draws(8).tolist() == [58, 58]


def test_progressive_sampling_goes_from_images_to_classes():
    settings = [("sampler", "class_balanced"), ("sampler_schedule", "rising"), ("epochs", 4)]
    (stage,) = stages(experiment_of(*settings), COUNTS)
    assert [stage.draws(epoch)[1].item() for epoch in range(4)] == [20, 29.5, 39, 48.5]


def test_stages_follow_each_other_with_their_own_changes():
    first, second = stages(
        experiment_of(("epochs", 3), ("stages", [{"epochs": 2, "sampler": "class_balanced", "loss": "focal"}])), COUNTS
    )
    assert (first.begin, first.end, second.begin, second.end) == (0, 3, 3, 5)
    assert second.experiment.loss == {"name": "focal", "gamma": 2.0, "alpha": None}
    assert second.experiment.learning_rate == first.experiment.learning_rate


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"model": "resnet8"}, "test: in stages.0: model: a stage goes on with the run's; set it outside the stages"),
        ({"loss": "focall"}, "test: in stages.0: loss: unknown loss 'focall'; did you mean 'focal'?"),
        ({"epochs": 0}, "test: in stages.0: epochs must be at least 1; got 0"),
        ({"epoch": 1}, "test: in stages.0: unknown setting 'epoch'; did you mean 'epochs'?"),
    ],
)
def test_a_mistake_in_a_stage_is_found_at_once(stage, message):
    with pytest.raises(SettingError) as caught:
        experiment_of(("stages", [stage]))
    assert str(caught.value) == message


def test_the_learning_rate_may_not_rise():
    with pytest.raises(SettingError, match="deferred rises, which suits class_weights and sampler; try cosine"):
        experiment_of(("learning_rate_schedule", "deferred"))


# The stream


def test_the_stream_holds_what_the_sampler_draws(run_of):
    run = run_of(sampler="class_balanced")
    trainer, train = run.trainer, run.prepared.train
    batches = list(epoch_stream(trainer.stage, 0, train, trainer.normalise, device=trainer.device, start=0))
    assert torch.cat([batch.labels for batch in batches]).bincount().tolist() in ([57, 58], [58, 57])
    assert all(batch.views[0].share is None for batch in batches)


def test_the_rest_of_a_stream_is_that_of_the_whole(run_of):
    for mixing in ("none", "mixup", "cmo"):
        run = run_of(mixing=mixing, sampler="square_root", augment_rarer=0.5)
        trainer, train = run.trainer, run.prepared.train
        whole = list(epoch_stream(trainer.stage, 1, train, trainer.normalise, device=trainer.device, start=0))
        rest = list(epoch_stream(trainer.stage, 1, train, trainer.normalise, device=trainer.device, start=2))
        assert len(rest) == len(whole) - 2
        for late, early in zip(rest, whole[2:], strict=True):
            assert torch.equal(late.views[0].inputs, early.views[0].inputs) and torch.equal(late.labels, early.labels)


def test_mixing_ends_before_training_does(run_of):
    run = run_of(mixing="mixup", mixing_until=0.5, epochs=4)
    trainer = run.trainer

    def is_mixed(epoch):
        stream = epoch_stream(
            trainer.stage, epoch, run.prepared.train, trainer.normalise, device=trainer.device, start=0
        )
        return next(stream).views[0].share is not None

    assert [is_mixed(epoch) for epoch in range(4)] == [True, True, False, False]


def test_cmo_pastes_from_the_rare_class(run_of):
    run = run_of(mixing="cmo")
    trainer = run.trainer
    stream = epoch_stream(trainer.stage, 0, run.prepared.train, trainer.normalise, device=trainer.device, start=0)
    partners = torch.cat([batch.partner_labels for batch in stream]).bincount()
    assert partners[1] >= partners[0] - 1  # every class alike, out of 96 and 19


def test_common_images_may_be_augmented_less(run_of):
    run = run_of(augment_rarer=1.0, augment=["flip"])
    trainer, train = run.trainer, run.prepared.train
    plain = {image.numpy().tobytes(): label for image, label in zip(train.images, train.labels.tolist(), strict=True)}
    stream = epoch_stream(trainer.stage, 0, train, lambda images: images, device=trainer.device, start=0)
    unchanged = [0, 0]
    for batch in stream:
        for image in batch.views[0].inputs:
            if (label := plain.get(image.contiguous().numpy().tobytes())) is not None:
                unchanged[label] += 1
    # Half are mirrored; of the common class only 19 in 96 of them.
    assert unchanged[0] > 0.75 * 96
    assert unchanged[1] < 0.85 * 19


# The objective


def test_noise_is_left_out_within_each_class():
    losses = torch.tensor([5.0, 1.0, 3.0, 4.0, 9.0, 2.0])
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    assert small_within_class(losses, labels, 0.5).tolist() == [0, 1, 1, 0, 0, 1]
    assert small_within_class(losses, labels, 0.3).tolist() == [0, 1, 1, 1, 1, 1]
    assert small_within_class(losses, labels, 0.0).tolist() == [1] * 6


def test_gamma_zero_of_focal_is_cross_entropy_to_the_bit(run_of):
    focal, plain = complete(run_of(loss={"name": "focal", "gamma": 0.0})), complete(run_of())
    for one, other in zip(
        focal.trainer.model.state_dict().values(), plain.trainer.model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)


def test_two_views_of_the_same_images_are_drawn_together(run_of):
    run = run_of(mixing="mixup", second_view="cutmix", consistency=10.0)
    trainer, train = run.trainer, run.prepared.train
    batch = next(epoch_stream(trainer.stage, 0, train, trainer.normalise, device=trainer.device, start=0))
    first, second = batch.views
    assert not torch.equal(first.inputs, second.inputs)
    apart = Objective.of(trainer.stage, 0, trainer.device, torch.float32).losses(trainer.model, batch)
    alike = batch._replace(views=(first, first))
    same = Objective.of(trainer.stage, 0, trainer.device, torch.float32).losses(trainer.model.eval(), alike)
    only = batch._replace(views=(first,))
    single = Objective.of(trainer.stage, 0, trainer.device, torch.float32).losses(trainer.model.eval(), only)
    assert apart.shape == (len(batch.labels),)
    assert torch.allclose(same, single, atol=1e-4)  # equal views agree: nothing to add


def test_a_second_view_needs_a_first():
    with pytest.raises(SettingError, match="second_view: a second view needs a first one; set mixing too"):
        experiment_of(("second_view", "cutmix"))


# The weights


def small_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)), torch.nn.Linear(4, 2)
    )


def test_the_average_starts_as_a_plain_one_and_then_forgets_at_its_decay():
    model = small_model()
    averaged = Averaged(model, 0.9)
    start = model[1].weight.detach().clone()
    with torch.no_grad():
        model[1].weight.add_(1)
    averaged.update(model, 0)  # decay 1/10
    assert torch.allclose(averaged.model[1].weight, start + 0.9)
    averaged.update(model, 10**6)  # decay 0.9
    assert torch.allclose(averaged.model[1].weight, start + 0.91)


def test_clipping_keeps_the_direction():
    gradients = (torch.tensor([3.0]), torch.tensor([4.0]))
    assert float(length(gradients)) == 5
    assert [float(each) for each in clip(gradients, 1.0)] == pytest.approx([0.6, 0.8])
    assert [float(each) for each in clip(gradients, 10.0)] == pytest.approx([3, 4])


def test_a_perturbation_has_its_radius_and_is_undone():
    model = small_model()
    weights = list(model.parameters())
    before = copy.deepcopy(model.state_dict())
    gradients = tuple(torch.ones_like(weight) for weight in weights)
    with perturbed(model, weights, gradients, 0.5):
        moved = tuple(weight.detach() - before[name] for name, weight in model.named_parameters())
        assert float(length(moved)) == pytest.approx(0.5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_rows_are_shortened_to_the_longest_allowed():
    weight = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    shorten_rows(weight, 1.0)
    assert weight.norm(dim=1).tolist() == pytest.approx([1, 0.5])


def test_a_frozen_backbone_stays_as_it_is(run_of):
    run = run_of(epochs=1, stages=[{"trainable": "classifier", "restart_classifier": True, "epochs": 2}])
    seen = {}
    for progress in run.train():
        if progress.step == 0:
            seen[progress.epoch] = copy.deepcopy(run.trainer.model.state_dict())
    after_first, end = seen[1], seen[3]
    for name, value in end.items():
        assert torch.equal(value, after_first[name]) == name.startswith("backbone"), name


def test_the_bias_starts_where_an_uninformative_image_should_be(run_of):
    run = run_of(bias_from_prior=True)
    next(run.train())
    run = run_of(bias_from_prior=True, learning_rate=1e-6)
    next(run.train())
    first, second = run.trainer.model[1].bias.tolist()
    assert first - second == pytest.approx(math.log(96 / 19), abs=1e-3)


def test_early_stopping_goes_back_to_the_best_epoch(run_of):
    run = run_of(early_stopping=1, epochs=20)
    for _ in run.train():
        pass
    scores = [line["validation_balanced_accuracy"] for line in run.trainer.progress.log]
    assert len(scores) < 20 and run.trainer.progress.stopped_early
    assert run.trainer.best["score"] == max(scores) and run.trainer.best["epoch"] == scores.index(max(scores))
    for name, weight in run.trainer.evaluated.state_dict().items():
        assert torch.equal(weight, run.trainer.best["weights"][name])


def test_early_stopping_needs_validation_images(run_of):
    with pytest.raises(SettingError, match="early_stopping: there are no validation images"):
        run_of(early_stopping=1, validation=0.0)


# Combinations


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ([("sampler", "class_balanced"), ("class_weights", "inverse")], "that corrects twice"),
        ([("loss", "logit_adjustment"), ("class_weights", "effective_number")], "that corrects twice"),
        ([("loss", "ldam")], "set model.classifier=cosine"),
        ([("stages", [{"sampler": "class_balanced", "class_weights": "sqrt"}])], "sampler class_balanced and"),
    ],
)
def test_what_does_not_belong_together_is_named(settings, told):
    (line,) = warnings(experiment_of(*settings))
    assert told in line


@pytest.mark.parametrize(
    "settings",
    [
        [],
        [("sampler", {"name": "power", "q": 0.25}), ("loss", "logit_adjustment")],
        [("class_weights", "inverse"), ("loss", "focal")],
        [("loss", "ldam"), ("model.classifier", "cosine")],
    ],
)
def test_what_does_belong_together_is_not(settings):
    assert list(warnings(experiment_of(*settings))) == []


EVERYTHING = {
    "sampler": {"name": "power", "q": 0.25},
    "sampler_schedule": "rising",
    "class_weights": "sqrt",
    "class_weights_schedule": {"name": "deferred", "start": 0.5},
    "loss": "logit_adjustment",
    "mixing": "cmo",
    "second_view": "mixup",
    "augment": ["crop", "flip", "affine", "trivial_augment"],
    "augment_rarer": 0.5,
    "ema": 0.9,
    "sam_radius": 0.05,
    "sam_classes": "rare",
    "gradient_clipping": 1.0,
    "max_norm": 2.0,
    "noise_share": 0.2,
    "test_time_flip": True,
    "stages": [{"epochs": 2, "trainable": "classifier", "restart_classifier": True, "mixing": "mixup"}],
}


@pytest.mark.parametrize("stop", [1, 4, 7, 12, 14])
@pytest.mark.parametrize("end", ["stages", "early_stopping"])
def test_everything_at_once_resumes_to_the_same_bytes(run_of, stop, end):
    settings = EVERYTHING if end == "stages" else EVERYTHING | {"stages": [], "early_stopping": 2, "ema": 0.0}
    whole = complete(run_of(**settings))
    stopped = run_of(**settings)
    for number, _ in enumerate(stopped.train(), start=1):
        if number == stop:
            stopped.save()
            break
    resumed = complete(experiments.resume(stopped.folder, [], lambda _: None))
    assert content(resumed.folder) == content(whole.folder)


def drawn(chance: random.Random) -> dict[str, object]:
    """A valid experiment of methods drawn at random."""

    def choice(registry, *without):
        return chance.choice([name for name in registry.names() if name not in without])

    settings: dict[str, object] = {
        "loss": choice(LOSSES),
        "class_weights": choice(CLASS_WEIGHTS, "costs"),
        "sampler": choice(SAMPLERS),
        "mixing": choice(MIXING),
        "augment": chance.sample(AUGMENTATIONS.names(), chance.randrange(3)),
        "optimizer": choice(REGISTRIES["optimizer"]),
        "class_weights_schedule": choice(REGISTRIES["class_weights_schedule"]),
        "sampler_schedule": choice(REGISTRIES["sampler_schedule"]),
        "model.classifier": chance.choice(["linear", "cosine"]),
        "ema": chance.choice([0.0, 0.9]),
        "sam_radius": chance.choice([0.0, 0.05]),
        "sam_classes": chance.choice(["all", "rare"]),
        "noise_share": chance.choice([0.0, 0.2]),
        "augment_rarer": chance.choice([0.0, 0.5]),
        "gradient_clipping": 1.0,
        "learning_rate": 0.01,
        "l1": chance.choice([0.0, 1e-4]),
        "test_time_flip": chance.choice([False, True]),
    }
    if settings["model.classifier"] == "linear":
        settings["max_norm"] = chance.choice([None, 1.0])
    if chance.random() < 0.3:
        settings["stages"] = [{"loss": choice(LOSSES), "trainable": chance.choice(["all", "classifier"]), "epochs": 1}]
    return settings


@pytest.mark.parametrize("number", range(50))
def test_any_methods_train_together(run_of, number):
    run = run_of(**drawn(random.Random(number)), epochs=1)
    for _ in run.train():
        pass
    assert all(math.isfinite(loss) for loss in train_losses(run))
    assert isinstance(run.trainer, Trainer) and torch.isfinite(run.trainer.predict(run.prepared.test.images)).all()


# What reviews found


def test_the_counts_of_a_loss_hold_the_partners_that_are_mixed_in():
    settings = [
        ("mixing", {"name": "cmo", "probability": 1.0}),
        ("mixing_until", 0.5),
        ("epochs", 4),
    ]
    (stage,) = stages(experiment_of(*settings), COUNTS)
    assert stage.partner_draws(0).tolist() == [58, 58]
    assert stage.seen(0)[1] == pytest.approx(20 + 0.3208333 * 38)
    assert stage.seen(0).sum() == pytest.approx(116)
    assert stage.seen(2).tolist() == [96, 20]


def test_the_average_label_weighs_one_with_partners_too(run_of):
    run = run_of(mixing={"name": "cmo", "probability": 1.0}, class_weights="inverse", epochs=20)
    trainer = run.trainer
    weights = trainer.stage.class_weights(0)
    total = images = 0.0
    for epoch in range(15):
        stream = epoch_stream(
            trainer.stage,
            epoch,
            run.prepared.train,
            trainer.normalise,
            device=trainer.device,
            start=0,
        )
        for batch in stream:
            (view,) = batch.views
            total += float(
                (view.share * weights[batch.labels] + (1 - view.share) * weights[batch.partner_labels]).sum()
            )
            images += len(batch.labels)
    assert total / images == pytest.approx(1, abs=0.1)


def test_early_stopping_corrects_for_the_prior_of_the_best_epoch(run_of):
    deferred = {"name": "deferred", "start": 0.5}
    run = run_of(
        early_stopping=2,
        epochs=20,
        class_weights="inverse",
        class_weights_schedule=deferred,
    )
    for _ in run.train():
        pass
    best = run.trainer.best["epoch"]
    assert best < 10 <= len(run.trainer.progress.log) + 10
    assert run.trainer.uninformative_logits() == pytest.approx(run.trainer.stage.uninformative_logits(best))


def test_early_stopping_and_stages_exclude_each_other():
    with pytest.raises(SettingError, match="early_stopping: which stage would it end"):
        experiment_of(("early_stopping", 3), ("stages", [{"epochs": 1}]))


def test_a_stage_restarts_only_what_it_says():
    first, second = experiment_of(("bias_from_prior", True), ("stages", [{"epochs": 1}])).in_stages()
    assert first.bias_from_prior and not second.bias_from_prior


def test_a_second_view_takes_the_partners_of_the_first():
    with pytest.raises(
        SettingError,
        match="second_view: cmo draws partners of its own, which only the first view can",
    ):
        experiment_of(("mixing", "mixup"), ("second_view", "cmo"))
