"""Training: what each setting does to the stream, the loss and the weights, alone and combined."""

import copy
import inspect
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from small_data import complete, content, make_folder_of_classes, new_run, settings_for

from imbalance_cli import checkpoints, experiments, runs
from imbalance_cli.config import EVERY_REGISTRY, Setting, resolve
from imbalance_cli.data.batches import normalisation_of
from imbalance_cli.data.image_set import ImageSet
from imbalance_cli.errors import DataError, SettingError
from imbalance_cli.evaluation import evaluate
from imbalance_cli.experiments import Run
from imbalance_cli.methods.resampling import RESAMPLERS
from imbalance_cli.metrics import softmax
from imbalance_cli.models import build_model
from imbalance_cli.objectives import Objective, kept_as_clean
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


def test_noise_is_left_out_within_each_class_to_the_share():
    losses = torch.tensor([5.0, 1.0, 3.0, 4.0, 9.0, 2.0, 7.0])
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    assert kept_as_clean(losses, labels, 0.5).tolist() == [0, 1, 1, 0, 0, 1, 0.5]
    assert kept_as_clean(losses, labels, 0.375).tolist() == [0, 1, 1, 0.5, 0.25, 1, 0.625]
    assert kept_as_clean(losses, labels, 0.0).tolist() == [1] * 7


def test_an_image_that_was_never_seen_is_no_noise():
    never = -torch.inf
    losses, labels = torch.tensor([never, 1.0, 3.0, never, never]), torch.tensor([0, 0, 0, 0, 1])
    assert kept_as_clean(losses, labels, 0.5).tolist() == [1, 1, 0, 1, 1]


def test_mislabelled_images_are_those_left_out_in_rare_classes_too():
    """Two easy classes of 400 and 20 images, a fifth of each mislabelled; of the rare one about one in a batch."""
    counts, share = (400, 20), 0.2
    labels = torch.arange(2).repeat_interleave(torch.tensor(counts))
    flipped = torch.zeros(420, dtype=torch.bool)
    flipped[:80] = flipped[400:404] = True
    brightness = torch.where(labels ^ flipped.long() == 1, 180, 70).view(-1, 1, 1, 1)
    noise = torch.randint(0, 60, (420, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    names = tuple(f"{number}" for number in range(420))
    train = ImageSet((brightness + noise).to(torch.uint8), labels, ("dark", "bright"), names)
    settings = [("noise_share", share), ("epochs", 15), ("batch_size", 20), ("augment", []), ("learning_rate", 0.02)]
    model = build_model({"name": "cnn", "width": 4}, 2, 8, seed=0)
    experiment = experiment_of(*settings, ("device", "cpu"), ("precision", "fp32"), ("sampler", "square_root"))
    trainer = Trainer(experiment, model, normalisation_of(train.images), train.counts())
    for _ in trainer.train(train, None):
        pass
    left_out = 1 - trainer.noise["kept"]
    for label, count in enumerate(counts):
        assert float(left_out[labels == label].sum()) == pytest.approx(share * count)
        assert float(left_out[(labels == label) & flipped].sum()) > 0.85 * share * count


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
    run = run_of(early_stopping=1, epochs=20, validation=0.5)
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
    with pytest.raises(SettingError) as caught:
        run_of(early_stopping=1, validation=0.3)
    assert str(caught.value) == (
        "early_stopping: the epoch is chosen by the recalls, which needs 10 validation images of every class; "
        "rare has 7; set validation higher, or leave early_stopping out"
    )


# Everything at once


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


def resumed(stopped: Run, stop: int) -> Run:
    """The run, stopped after so many steps and then completed."""
    for number, _ in enumerate(stopped.train(), start=1):
        if number == stop:
            stopped.save()
            break
    return complete(experiments.resume(stopped.folder, [], lambda _: None))


@pytest.mark.parametrize("end", ["stages", "early_stopping"])
def test_everything_at_once_resumes_to_the_same_bytes(run_of, end):
    stopping = {"stages": [], "early_stopping": 2, "ema": 0.0, "validation": 0.5}
    settings = EVERYTHING if end == "stages" else EVERYTHING | stopping
    whole = complete(run_of(**settings))
    for stop in (1, 4, 7, 12, 14):
        assert content(resumed(run_of(**settings), stop).folder) == content(whole.folder), stop


def test_what_is_left_out_as_noise_is_the_same_in_a_resumed_run(run_of):
    settings = {"noise_share": 0.9, "epochs": 4, "sampler": "class_balanced"}
    whole = complete(run_of(**settings))
    assert whole.trainer.noise["kept"].min() < 1
    for stop in (2, 5, 7, 10):
        assert content(resumed(run_of(**settings), stop).folder) == content(whole.folder), stop


def test_a_run_stopped_before_there_was_a_record_of_noise_goes_on(run_of):
    settings = {"noise_share": 0.5, "epochs": 2}
    stopped = run_of(**settings)
    next(stopped.train())
    state = stopped.trainer.state()
    del state["optimizer"]["noise"]
    resumed = run_of(**settings).trainer
    resumed.restore(state)
    train = stopped.prepared.train
    for _ in resumed.train(train, None):
        pass
    assert len(resumed.noise["latest"]) == len(train)


# For experiments drawn at random: classes to choose from, of sizes down to a single image.
SIZES = {"many": 150, "some": 110, "fewer": 90, "few": 70}


@pytest.fixture(scope="module")
def folder_of_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder_of_classes(tmp_path_factory.mktemp("classes") / "photos", SIZES)


def drawn_option(chance: random.Random, option: inspect.Parameter) -> object:
    """A value inside the option's limits: a limit itself, or one near the default."""
    kind, *notes = get_args(option.annotation) if hasattr(option.annotation, "__metadata__") else [option.annotation]
    if get_origin(kind) is Literal:
        return chance.choice(get_args(kind))
    if kind is bool:
        return chance.choice([False, True])
    if kind not in (int, float) or option.default is None:
        return option.default
    ends = {end: getattr(note, end, None) for note in notes for end in ("ge", "gt", "le", "lt")}
    limits = {end: limit for end, limit in ends.items() if limit is not None}
    near = option.default * chance.choice([0.5, 2]) if option.default else chance.random()
    values = [near, near, *(limits[end] for end in ("ge", "le") if abs(limits.get(end, math.inf)) <= 100)]
    value = chance.choice(values)
    value = max(value, limits.get("ge", value))
    value = min(value, limits.get("le", value))
    if not limits.get("gt", -math.inf) < value < limits.get("lt", math.inf):
        return option.default
    return max(1, round(value)) if kind is int else float(value)


def drawn_method(chance: random.Random, key: str, *without: str, **options: object) -> dict[str, object]:
    """A method for the setting `key`, some of its options drawn too; what fits the experiment alone is in `options`."""
    method = chance.choice([each for each in EVERY_REGISTRY[key] if each.name not in without])
    some = {name: drawn_option(chance, option) for name, option in method.options.items() if chance.random() < 0.4}
    return {"name": method.name, **some, **{name: value for name, value in options.items() if name in method.options}}


def drawn(chance: random.Random) -> dict[str, object]:
    """A valid experiment of methods drawn at random, for two to four classes of uneven sizes."""
    classes = chance.sample(list(SIZES), chance.randrange(2, 5))
    fewest = chance.choice([0.5, 0.01])
    counts = {name: max(1, round(SIZES[name] * fewest ** chance.random())) for name in classes}
    counts[classes[0]] = SIZES[classes[0]]
    costs = [chance.choice([1.0, 2.5, 100.0]) for _ in classes]
    table = [[0.0 if column == row else cost for column in range(len(classes))] for row, cost in enumerate(costs)]
    of_two = ("recall_at_least", "fpr_at_most") if len(classes) > 2 else ()
    alpha = chance.choice([None, "counts", costs, *([0.75] if len(classes) == 2 else [])])

    def of_training(classifier: str) -> dict[str, object]:
        """What a stage may have of its own."""
        mixing = drawn_method(chance, "mixing")
        return {
            "loss": drawn_method(chance, "loss", alpha=alpha),
            "class_weights": drawn_method(chance, "class_weights", costs=chance.choice([costs, table])),
            "class_weights_schedule": drawn_method(chance, "class_weights_schedule"),
            "sampler": drawn_method(chance, "sampler", per_batch=chance.choice([1, 3])),
            "sampler_schedule": drawn_method(chance, "sampler_schedule"),
            "mixing": mixing,
            "mixing_until": chance.choice([0.0, 0.5, 1.0]),
            "second_view": drawn_method(chance, "second_view", "cmo") if mixing["name"] != "none" else "none",
            "consistency": chance.choice([0.0, 1.0]),
            "augment": [drawn_method(chance, "augment") for _ in range(chance.randrange(3))],
            "augment_rarer": chance.choice([0.0, 0.5, 1.0]),
            "optimizer": drawn_method(chance, "optimizer"),
            "learning_rate": chance.choice([1e-4, 0.01]),
            "learning_rate_schedule": drawn_method(
                chance, "learning_rate_schedule", "deferred", "rising", "sigmoid_ramp", milestones=[0.3]
            ),
            "warmup": chance.choice([0.0, 0.1, 1.0]),
            "weight_decay": chance.choice([0.0, 0.01]),
            "gradient_clipping": chance.choice([None, 1.0]),
            "sam_radius": chance.choice([0.0, 0.05]),
            "sam_classes": chance.choice(["all", "rare"]),
            "noise_share": chance.choice([0.0, 0.2]),
            "l1": chance.choice([0.0, 1e-4]),
            "max_norm": chance.choice([None, 1.0]) if classifier == "linear" else None,
            "bias_from_prior": chance.choice([False, classifier == "linear"]),
        }

    model = drawn_method(chance, "model", "resnet18", "resnet50", width=4)  # these two are large
    classifier = model.setdefault("classifier", "linear")
    refit = drawn_method(chance, "refit") if classifier == "linear" else {"name": "none"}
    settings = {
        "data.counts": counts,
        "validation": chance.choice([0.0, 0.2, 0.5]),
        "model": model,
        **of_training(str(classifier)),
        "epochs": chance.choice([1, 2]),
        "ema": chance.choice([0.0, 0.9]),
        "test_time_flip": chance.choice([False, True]),
        "threshold_by": drawn_method(chance, "threshold_by", *of_two, costs=chance.choice([costs, table])),
        "refit": refit,
    }
    if refit["name"] not in ("none", "tau_normalisation"):
        neighbours = min(counts.values()) // 2  # half may be held out for validation
        of_neighbours = RESAMPLERS.having("k_neighbours") if neighbours == 0 else []
        most = chance.randint(1, max(1, neighbours - 1))
        settings["resample"] = drawn_method(chance, "resample", *of_neighbours, k_neighbours=most)
    if chance.random() < 0.3:
        own = list(of_training(str(classifier)).items())
        changes = dict(chance.sample(own, 4)) | {"trainable": chance.choice(["all", "classifier"]), "epochs": 1}
        if "mixing" in changes or "second_view" in changes:  # these two fit each other
            changes |= {name: value for name, value in own if name in ("mixing", "second_view")}
        settings["stages"] = [changes | {"restart_classifier": chance.choice([False, True])}]
    return settings


@pytest.mark.parametrize("number", range(50))
def test_any_methods_go_together_from_training_to_the_results(folder_of_classes, tmp_path, number):
    settings = drawn(random.Random(number))
    changes = {key.replace(".", "__"): value for key, value in settings.items()}
    given = settings_for(folder_of_classes, folder_of_classes / "cache", **changes)
    run = new_run([each for each in given if each.path[0] != "model" or len(each.path) == 1], tmp_path / "run")
    for _ in run.train():
        pass
    assert all(math.isfinite(loss) for loss in train_losses(run))
    try:
        run.decide()
    except DataError as error:  # some remove a class, or find no cluster of it, which only the features can tell
        assert str(error).startswith(f"resample: {settings['resample']['name']} ")
        run.prepared = replace(
            run.prepared, experiment=run.prepared.experiment.model_copy(update={"resample": {"name": "none"}})
        )
        run.decide()
    run.save()
    results, logits = evaluate(checkpoints.load(run.folder / runs.CHECKPOINT), run.prepared.test, device="cpu")
    assert np.isfinite(logits).all()
    assert softmax(logits).sum(1) == pytest.approx(np.ones(len(logits)))
    points = [point for point in results["operating_points"].values() if point is not None]
    assert len(points) == 3 - len(results["unavailable"])
    for point in points:
        assert np.isfinite(point["offsets"]).all()
        assert all(0 <= recall <= 1 for recall in point["recalls"])
    assert np.sum(results["confusion_matrix"]) == len(run.prepared.test)


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
    deferred = {"name": "deferred", "start": 0.9}
    run = run_of(
        early_stopping=2,
        validation=0.5,
        epochs=20,
        class_weights="inverse",
        class_weights_schedule=deferred,
    )
    for _ in run.train():
        pass
    best = run.trainer.best["epoch"]
    assert best < 18  # where the weights set in, of which those of the last epoch would know
    assert run.trainer.uninformative_logits() == pytest.approx(run.trainer.stage.uninformative_logits(best))


def test_early_stopping_and_stages_exclude_each_other():
    with pytest.raises(SettingError, match="early_stopping: it would not know which stage to end"):
        experiment_of(("early_stopping", 3), ("stages", [{"epochs": 1}]))


def test_a_stage_restarts_only_what_it_says():
    first, second = experiment_of(("bias_from_prior", True), ("stages", [{"epochs": 1}])).in_stages()
    assert first.bias_from_prior and not second.bias_from_prior


def test_a_second_view_takes_the_partners_of_the_first():
    with pytest.raises(
        SettingError,
        match="second_view: a mixing that draws partners of its own can only be the first view",
    ):
        experiment_of(("mixing", "mixup"), ("second_view", "cmo"))
