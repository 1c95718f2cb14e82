"""The rules of `imbalance advise` in one table: what to try on which data, what not to, why, and who says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from imbalance_cli.advice.facts import Facts, half_width
from imbalance_cli.methods.criteria import FEWEST_TO_CHOOSE_ON

BALANCED = 0.8  # rarest over commonest from which on a prior shifts no logit by more than 0.22
FEW = 100  # images of a class that are learnt by heart; best.yaml was found on 50
ONE_CLASS = 10
STEADY = 30  # validation images of a class; a recall on fewer may be off by 17 points and more
MANY_CLASSES = 10  # the fewest of the long-tail papers
LARGE = 96  # pixels, four times what a unit of the `cnn` sees
STEPS = 1000  # of all runs in benchmarks/results/losses.md: 30 epochs of 36
BATCH, EPOCHS, MOST_EPOCHS = 128, 30, 300

MEASURED = "benchmarks/results/losses.md"
UNHELD = "benchmarks/results/losses-no-validation.md"
SMALLER = "benchmarks/results/classroom.md"

SECTIONS = {
    "before": "Before training",
    "first": "Try first",
    "then": "Then",
    "not": "Not, or not yet",
    "limits": "What the numbers will be able to tell",
}


@dataclass(frozen=True)
class Rule:
    """Advice for data sets whose facts it applies to.

    topic: what it is about; of two rules of a topic at most one applies to the same data. text and reason may use the
    words of `advice.words`. study: what it puts into the proposed study. discourages: settings that it warns of.
    """

    name: str
    section: str
    topic: str
    applies: Callable[[Facts], bool]
    text: str
    reason: str
    source: str
    study: Callable[[Facts], dict[str, Any]] = lambda _: {}
    discourages: tuple[tuple[str, str], ...] = ()


def _imbalanced(facts: Facts) -> bool:
    return facts.ratio < BALANCED


def smallest_held(facts: Facts) -> int:
    """Validation images of the class that has fewest."""
    return min(facts.held_out)


def _few(facts: Facts) -> bool:
    return _imbalanced(facts) and 0 < facts.fewest < FEW


def _too_few(facts: Facts) -> bool:
    return _imbalanced(facts) and 0 < facts.fewest < ONE_CLASS


def _accuracy_misleads(facts: Facts) -> bool:
    """Whether the trivial answer gets clearly more than guessing would."""
    return facts.trivial_accuracy > 1.5 / len(facts.classes)


def _is_grey(facts: Facts) -> bool:
    return facts.grey >= 0.95


def epochs_for(images: int, batch_size: int = BATCH) -> int:
    """As many as make STEPS steps with so many images, within limits."""
    steps = -(-images // batch_size)
    return min(MOST_EPOCHS, max(EPOCHS, -(-STEPS // steps)))


def _recipe(*augmentations: str) -> dict[str, Any]:
    return {
        "loss": {"name": "logit_adjustment", "tau": 1.75},
        "sampler": {"name": "power", "q": 0.25},
        "mixing": "mixup",
        "augment": ["crop", "flip", *augmentations],
        "batch_size": 32,
        "ema": 0.99,
    }


BY_PRIOR = {"point": "prior", "base": {"validation": 0}}

RULES = (
    # --- before training
    Rule(
        "two-classes", "before", "two-classes",
        lambda facts: facts.in_two_classes.count > 0,
        "Remove one of each two: {two_classes} in two classes, such as {two_classes_example}.",
        "One of the two labels is wrong, so no model is right about both{refused}.",
        "Northcutt et al., 2021",
    ),
    Rule(
        "train-and-test", "before", "train-and-test",
        lambda facts: facts.in_train_and_test.count > 0,
        "Remove from training what is in test too: {train_and_test}, such as {train_and_test_example}.",
        "Of these the test measures what was learnt by heart{refused}.",
        "Barz and Denzler, 2020",
    ),
    Rule(
        "repeated", "before", "repeated",
        lambda facts: facts.repeated.count > 0,
        "Remove the copies among the training images: {repeated}, such as {repeated_example}.",
        "A class has as many examples as different images, and a copy that is held out for validation is no test.",
        "Barz and Denzler, 2020",
    ),
    Rule(
        "alike", "before", "alike",
        lambda facts: facts.alike.count > 0,
        "Look at the test images that nearly equal a training image: {alike}, such as {alike_example}.",
        "If they show the same photo or object, split by object, not by image: else the test flatters every method.",
        "Barz and Denzler, 2020, who found 3.3% of CIFAR-10's test images to be near-copies",
    ),
    Rule(
        "size-tells", "before", "size-tells",
        lambda facts: (facts.ranking_by_size or 0) >= 0.9,
        "Find out why {rarest} comes in other sizes: the shorter side alone ranks with AUROC {by_size}.",
        "Pictures of two cameras or sources differ in more than what they show, and a model learns what is easiest.",
        "Geirhos et al., 2020",
    ),
    Rule(
        "mirror", "before", "mirror",
        lambda facts: not facts.built_in,
        "If a mirrored image would be of another class, as with text, leave the flip out: augment: [crop].",
        "By default half of the training images are mirrored, which is right for most things but not for all.",
        "Shorten and Khoshgoftaar, 2019",
    ),
    Rule(
        "labels", "before", "labels",
        lambda facts: _few(facts) and not facts.built_in,
        "Look at {every_rare} of {rarest}.",
        "Nothing here looks for wrong labels, and one of them is {one_share} of the class.",
        "Northcutt et al., 2021",
    ),
    Rule(
        "untrained", "before", "collect",
        lambda facts: facts.fewest == 0,
        "Find images of {rarest}, or leave it out: there are none to train on.",
        "A model cannot learn a class that it is never shown, whatever the loss.",
        "their counts",
    ),
    Rule(
        "collect", "before", "collect",
        lambda facts: _too_few(facts) and len(facts.classes) == 2,
        "Collect more of {rarest}: {training_images_are} too few to learn what its images share.",
        "Until then a model of {commonest} alone, telling what is unlike it, may serve better; imbalance trains none.",
        "Ruff et al., 2021",
    ),
    Rule(
        "collect-or-leave-out", "before", "collect",
        lambda facts: _too_few(facts) and len(facts.classes) > 2,
        "Collect more of {rarest}, or leave it out: {training_images_are} too few to learn what its images share.",
        "Telling a class by so few takes what was learnt on many others; imbalance has no such few-shot learning.",
        "Wang et al., 2020",
    ),
    # --- what to try
    Rule(
        "plain", "first", "prior",
        lambda facts: not _imbalanced(facts),
        "Train plain cross-entropy: with {fewest} to {most} images a class there is nothing to correct.",
        "Between classes of equal counts, weights and prior corrections shift nothing.",
        "Menon et al., 2021",
        lambda _: {"point": "argmax", "methods": {"cross-entropy": {"loss": "cross_entropy"}}},
    ),
    Rule(
        "augmentation", "first", "recipe",
        lambda facts: not _imbalanced(facts),
        "Beside it, mixup: what is left to gain is less learning by heart.",
        "It helps with any counts, and needs no choice that depends on them.",
        "Zhang et al., 2018",
        lambda _: {"methods": {"mixup": {"mixing": "mixup"}}},
    ),
    Rule(
        "logit-adjustment", "first", "prior",
        _imbalanced,
        "Train with logit adjustment, and plain cross-entropy beside it to see what that changes.",
        "On airplane : automobile at 4500 : 40 the `cnn` with it reached 85.8% balanced accuracy at argmax, 51.9% with "
        "cross-entropy. The smaller `tutorial` was best with it, or not told from the best, at ratios below 1.",
        f"Menon et al., 2021; here: {MEASURED}; {SMALLER}",
        lambda _: {
            "methods": {
                "cross-entropy": {"loss": "cross_entropy"},
                "logit adjustment": {"loss": "logit_adjustment"},
            }
        },
    ),
    Rule(
        "few", "first", "recipe",
        lambda facts: _few(facts) and not _is_grey(facts),
        "Then with tau 1.75, the rare class drawn more (power 0.25), mixup, colour changes, cutout, small batches and "
        "averaged weights.",
        "{rare_images_are} soon learnt by heart; this did best here{found_on_two}, at 5000 : 50 images. 120 epochs, "
        "with affine changes too, did better than 30.",
        "here: configs/recipes/best.yaml",
        lambda _: {"methods": {"logit adjustment + mixup": _recipe("colour", "cutout")}},
    ),
    Rule(
        "few-grey", "first", "recipe",
        lambda facts: _few(facts) and _is_grey(facts),
        "Then with tau 1.75, the rare class drawn more (power 0.25), mixup, cutout, small batches and averaged "
        "weights.",
        "{rare_images_are} soon learnt by heart; this did best here{found_on_two}, on colour images, so without its "
        "colour changes, which would tint grey ones. 120 epochs, with affine changes too, did better than 30.",
        "here: configs/recipes/best.yaml",
        lambda _: {"methods": {"logit adjustment + mixup": _recipe("cutout")}},
    ),
    Rule(
        "many-classes", "first", "margins",
        lambda facts: _imbalanced(facts) and len(facts.classes) >= MANY_CLASSES,
        "With {classes} classes also LDAM-DRW: margins by class, weights for the last fifth.",
        "On long-tailed CIFAR-10 (100 : 1) the paper has 77.0% against 70.4% of cross-entropy; balanced "
        "softmax, which is logit adjustment, had 77.5% in another comparison.",
        "Cao et al., 2019; Zhang et al., 2021, their own run",
        lambda _: {
            "methods": {
                "LDAM-DRW": {
                    "model.classifier": "cosine",
                    "loss": "ldam",
                    "class_weights": "effective_number",
                    "class_weights_schedule": "deferred",
                }
            }
        },
    ),
    Rule(
        "threshold", "first", "decision",
        lambda facts: _imbalanced(facts) and smallest_held(facts) >= STEADY,
        "Compare at the threshold from validation, for which {held} images of the smallest class are held out.",
        "So every method is seen at its best. On airplane : automobile at 4500 : 40 cross-entropy's balanced accuracy "
        "rose by it from 51.9% to 83.3% with the `cnn`, and from 50.0% to 66.5% with the smaller `tutorial`.",
        f"here: {MEASURED}; {SMALLER}",
        lambda _: {"point": "validation"},
    ),
    Rule(
        "small-images", "first", "model",
        lambda facts: facts.image_size < LARGE,
        "Begin with the model `cnn`.",
        "Its {parameters} parameters train in minutes, and the losses were compared here with it.",
        f"here: {MEASURED}",
    ),
    Rule(
        "large-images", "first", "model",
        lambda facts: facts.image_size >= LARGE,
        "At {image_size} pixels take resnet18.",
        "A unit of the `cnn` sees 22 x 22 pixels, which is no object any more in such images.",
        "He et al., 2016",
        lambda _: {"base": {"model": "resnet18"}},
    ),
    Rule(
        "more-epochs", "first", "epochs",
        lambda facts: epochs_for(sum(facts.train)) > EPOCHS,
        "Train for {epochs} epochs.",
        "{images_are} {steps} of {batch} an epoch: the default of 30 epochs would end long before the 1,000 "
        "steps that the measured runs took.",
        f"here: {MEASURED}",
        lambda facts: {"base": {"epochs": epochs_for(sum(facts.train))}},
    ),
    # --- later
    Rule(
        "smaller-first", "then", "size",
        lambda facts: facts.image_size >= LARGE and not facts.accelerator,
        "Without a graphics card ask again with --image-size 64.",
        "A step takes about {times_slower} times as long at {image_size} pixels.",
        "the number of pixels",
    ),
    Rule(
        "pretrained", "then", "weights",
        lambda facts: facts.image_size >= LARGE,
        "Start from ImageNet's weights: --set model.pretrained=true.",
        "With few images that may matter more than any loss. It needs the network once, so the study leaves it out.",
        "Kornblith et al., 2019",
    ),
    Rule(
        "refit", "then", "refit",
        lambda facts: _imbalanced(facts) and len(facts.classes) >= MANY_CLASSES,
        "On the finished run of cross-entropy: imbalance refit RUN --method crt tau_normalisation.",
        "With many classes a classifier that is trained anew on plain features comes far, in seconds.",
        "Kang et al., 2020",
    ),
    Rule(
        "easy", "then", "difficulty",
        lambda facts: (facts.ranking or 0) >= 0.9,
        "Expect little from larger models and other losses.",
        "A linear model on thumbnails already ranks {rarest} with AUROC {ranking}: it is easy to tell apart.",
        "this check",
    ),
    Rule(
        "hard", "then", "difficulty",
        lambda facts: facts.ranking is not None and facts.ranking < 0.7,
        "Expect more from more images of {rarest}, augmentation and better features than from the loss.",
        "A linear model on thumbnails ranks it with AUROC {ranking} only. On airplane : automobile at 4500 : 40 the "
        "losses had 0.893 to 0.942 with the `cnn`, and 0.670 to 0.836 with the smaller `tutorial`.",
        f"this check; here: {MEASURED}; {SMALLER}",
    ),
    # --- what not to do
    Rule(
        "no-threshold", "not", "decision",
        lambda facts: _imbalanced(facts) and smallest_held(facts) < FEWEST_TO_CHOOSE_ON,
        "{held_words}: no validation threshold; use the prior.",
        "A threshold needs {needed} of every class. The prior correction needs none, so let all images train: without "
        "validation logit adjustment reached 87.3 ± 1.2%, with it 85.8 ± 0.9%.",
        f"here: {UNHELD}; {MEASURED}",
        lambda _: BY_PRIOR,
    ),
    Rule(
        "shaky-threshold", "not", "decision",
        lambda facts: _imbalanced(facts) and FEWEST_TO_CHOOSE_ON <= smallest_held(facts) < STEADY,
        "{held_words}: choose no threshold on them; use the prior, and let them train.",
        "A recall on {held} images may be off by {held_width} points. The prior did as well (83.6% against 83.3% for "
        "cross-entropy), and without validation logit adjustment reached 87.3 ± 1.2%, with it 85.8 ± 0.9%.",
        f"here: {MEASURED}; {UNHELD}",
        lambda _: BY_PRIOR,
    ),
    Rule(
        "inverse-weights", "not", "weights-by-count",
        _imbalanced,
        "Not class weights 1 / count first.",
        "A network that fits its training images comes to ignore them. On airplane : automobile at 4500 : 40 the `cnn` "
        "ranked worst with them (AUROC 0.893, without 0.928). The smaller `tutorial` did not, but at argmax logit "
        "adjustment was best, or not told from the best, at every ratio below 1.",
        f"Byrd and Lipton, 2019; here: {MEASURED}; {SMALLER}",
        discourages=(("class_weights", "inverse"),),
    ),
    Rule(
        "focal", "not", "focal",
        _imbalanced,
        "Not focal loss alone.",
        "On airplane : automobile at 4500 : 40 the `cnn` with it reached 53.9% at argmax, 51.9% with cross-entropy and "
        "85.8% with logit adjustment. With the smaller `tutorial` it was above cross-entropy at no ratio below 1.",
        f"here: {MEASURED}; {SMALLER}",
        discourages=(("loss", "focal"),),
    ),
    Rule(
        "pixel-smote", "not", "smote",
        _imbalanced,
        "Not SMOTE between pixels.",
        "Between two images lies a ghost of both; between features (resample: smote, refit: crt) it makes sense.",
        "Dablain et al., 2022",
    ),
    Rule(
        "accuracy", "not", "accuracy",
        _accuracy_misleads,
        "Do not read accuracy.",
        "Always answering {commonest_tested} scores {trivial} on these test images.",
        "their counts: {test_most} of {test_all}",
    ),
    # --- what to expect of the numbers
    Rule(
        "prevalence", "limits", "accuracy",
        lambda facts: facts.test_ratio >= BALANCED and _imbalanced(facts),
        "Accuracy and precision are those of equally frequent classes, as in the test images.",
        "For the shares where the model will be used: imbalance evaluate RUN --prior {rarest}=SHARE ... .",
        "Saerens et al., 2002",
    ),
    Rule(
        "untested", "limits", "no-test",
        lambda facts: min(facts.test) == 0,
        "The numbers will say nothing of {untested}: there are no test images of it.",
        "A class without test images has no recall, and balanced accuracy is the mean over the others.",
        "their counts",
    ),
    Rule(
        "wide", "limits", "test",
        lambda facts: facts.tested > 0 and half_width(facts.tested) > 0.1,
        "A recall of {rarest} will be known to within {width} points only: {test_images}.",
        "A difference of that size may not hold on other images, whatever the number of seeds.",
        "Wilson, 1927",
    ),
    Rule(
        "narrow", "limits", "test",
        lambda facts: half_width(facts.tested) <= 0.1,
        "A recall of {rarest} will be known to within {width} points: {test_images}.",
        "That is half the 95% interval at its widest.",
        "Wilson, 1927",
    ),
    Rule(
        "seeds", "limits", "seeds",
        lambda _: True,
        "Five seeds: one run is no result.",
        "The weights' start and the order of the images alone change it as much as many a method does.",
        "Bouthillier et al., 2021",
        lambda _: {"seeds": 5},
    ),
)  # fmt: skip
