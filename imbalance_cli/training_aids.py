"""Training aids: settings that stand beside the methods of an experiment, each told as a docstring tells a method."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any

from imbalance_cli.config import EVERY_REGISTRY, Experiment
from imbalance_cli.docstrings import Description, describe
from imbalance_cli.errors import SettingError, did_you_mean
from imbalance_cli.registry import known_as


@dataclass(frozen=True)
class Aid:
    """One training aid. settings: its own first, as an experiment says it, with a value as somebody might set it.

    Those that change what it does follow. Where the first is an option of several methods, `loss.label_smoothing`,
    its value is set on the first of these.
    """

    settings: dict[str, Any]
    text: str

    @property
    def name(self) -> str:
        return next(iter(self.settings)).rpartition(".")[2]

    @cached_property
    def description(self) -> Description:
        found = describe(self.text)
        having = [
            f"{setting} is an option of {setting.partition('.')[0]} {', '.join(self.methods(setting))}."
            for setting in self.settings if "." in setting
        ]  # fmt: skip
        return replace(found, explanation=[*found.explanation, *having])

    @property
    def summary(self) -> str:
        return self.description.summary

    def options(self) -> Iterator[tuple[str, Any, Any]]:
        """Its settings, each with the type of its values and its default; methods with another one have it apart."""
        for setting in self.settings:
            kind, _, option = setting.partition(".")
            if option:
                found = {name: EVERY_REGISTRY[kind].get(name).options[option] for name in self.methods(setting)}
                usual = next(iter(found.values()))
                yield setting, usual.annotation, usual.default
                for name, own in found.items():
                    if own.default != usual.default:
                        yield f"{setting} of {name}", own.annotation, own.default
            else:
                field = Experiment.model_fields[setting]
                default = field.default
                yield (
                    setting,
                    Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation,
                    default,
                )

    @staticmethod
    def methods(setting: str) -> list[str]:
        """The methods that have the option which `setting` names; none if it is no option."""
        kind, _, option = setting.partition(".")
        return EVERY_REGISTRY[kind].having(option) if option else []


class Aids:
    """All training aids, by name, in the order of their definition."""

    kind = "aid"

    def __init__(self, *aids: Aid) -> None:
        self._aids = {aid.name: aid for aid in aids}

    def __iter__(self) -> Iterator[Aid]:
        return iter(self._aids.values())

    def names(self) -> list[str]:
        return list(self._aids)

    def get(self, name: str) -> Aid:
        """The aid called `name`, or one of whose settings is. Raises SettingError with the nearest name."""
        for aid in self:
            if name in (aid.name, *aid.settings):
                return aid
        raise SettingError(f"unknown {self.kind} {name!r}{did_you_mean(name, self._aids)}")

    def known_as(self, name: str) -> tuple[Aid, str] | None:
        """The aid that others call `name`, and how it is said here."""
        return known_as(self, name)


AIDS = Aids(
    Aid(
        {"ema": 0.99},
        """The weights that count are an average over the steps of training (Polyak and Juditsky, 1992).

        When: where the steps are noisy, as with few rare images; it costs next to no time. With an ema so close to 1
        that 1 / (1 - ema) steps are a good part of training, it lags behind instead.

            average = d average + (1 - d) weights
            d = min(ema, (1 + t) / (10 + t))

        t counts the steps. The first of them count more, as in a plain average, so that the random initial weights
        are soon forgotten. Batch norm's statistics are averaged alike. Validation, early stopping, the results and the
        checkpoint are all those of the average; a further stage and a refit go on from it. 0 is off.

        Also known as: exponential_moving_average, weight_averaging, polyak_averaging.
        """,
    ),
    Aid(
        {"sam_radius": 0.05, "sam_classes": None},
        """Steps down the slope at the worst weights near by, for flat minima: SAM (Foret et al., 2021).

        When: for a network that learns its few rare images by heart, if twice the time per step can be paid. The
        same time spent on more epochs may give as much.

            worst = weights + sam_radius g / |g|
            step along the gradient at `worst`, taken from `weights`

        g is the gradient at the weights. sam_classes: rare looks uphill for the rare classes alone (Zhou et al.,
        2023): those with fewer images than the geometric mean of the smallest and the largest class. Batch norm's
        running statistics stay those of the weights themselves. 0 is off.

        Also known as: sam, imbsam (sam_classes: rare), sharpness_aware_minimization.
        """,
    ),
    Aid(
        {"gradient_clipping": 1.0},
        """Shortens a gradient that is longer than a given length, before each step (Pascanu et al., 2013).

        When: where training diverges or its loss leaps, as large class weights or a high learning rate make it do. It
        is no remedy for imbalance by itself.

            g = g min(1, gradient_clipping / |g|)

        g is the gradient of all weights together. null is off.

        Also known as: grad_clip, clip_grad_norm, max_grad_norm.
        """,
    ),
    Aid(
        {"early_stopping": 5},
        """Ends training after a given number of epochs without a better validation score; goes back to the best one.

        When: where training long enough to learn the few rare images by heart makes the model worse (Prechelt, 1998).
        With few rare validation images the best epoch is partly luck. A learning rate that falls to 0, as cosine does,
        makes late epochs good ones, so try without first.

        The score is the balanced accuracy of the prior-corrected decisions: by argmax, an uneven training may seem to
        learn nothing for long. It needs ten validation images of every class. null is off.

        Also known as: patience.
        """,
    ),
    Aid(
        {"model.dropout": 0.3},
        """Features set to 0 at random in each training step, before the classifier (Srivastava et al., 2014).

        When: for a network that learns its training images by heart, and a training of many epochs. In a short one it
        mostly slows learning.

            feature = 0 with probability dropout, else feature / (1 - dropout)

        It makes no difference between common and rare classes.
        """,
    ),
    Aid(
        {"l1": 1e-5},
        """Adds the absolute size of the weights to the loss, so that many of them become nearly 0.

        When: for sparse weights. Against learning by heart weight_decay is the usual choice.

            loss + l1 sum |weight|

        Biases and the scales of batch norm are left out. 0 is off.

        Also known as: lasso, l1_regularisation.
        """,
    ),
    Aid(
        {"weight_decay": 0.005},
        """Pulls all weights towards 0 in every step (Krogh and Hertz, 1992).

        When: always a little. With uneven classes more than usual can pay, for it keeps the rows of common classes in
        the classifier from growing the longer ones (Alshammari et al., 2022): the paper takes 0.005 at a learning rate
        of 0.01. Higher learning rates want less of it.

            sgd:    g = g + weight_decay weight
            adamw:  weight = (1 - r weight_decay) weight

        g is the gradient and r the learning rate. With sgd that is the gradient of weight_decay / 2 times the sum of
        the squared weights (L2).

        Also known as: l2, l2_regularisation, wd.
        """,
    ),
    Aid(
        {"max_norm": 1.0},
        """Shortens long rows of the classifier to a given length, after every step: MaxNorm (Alshammari et al., 2022).

        When: with several uneven classes, whose rows otherwise grow the longer the more images a class has. Of two
        classes the rows are nearly equally long anyway.

            row = row min(1, max_norm / |row|)

        A row holds the weights of one class. null is off. refit max_norm does the same to a classifier on finished
        features.
        """,
    ),
    Aid(
        {"bias_from_prior": True},
        """The classifier starts from what an image that says nothing about its class should get (Lin et al., 2017).

        When: with very uneven classes, so that the first steps are not spent on learning how common each class is, as
        for focal on rare objects. It says where training starts, not where it leads.

            bias_j = log pi_j - mean_k log pi_k

        That is for cross_entropy; with another loss, class weights or mixing, it is what these make of such an image.
        In a stage it is done only where that stage says so.

        Also known as: prior_bias, bias_initialisation.
        """,
    ),
    Aid(
        {"noise_share": 0.1},
        """Leaves out the images of each class with the largest losses, as mislabelled (Han et al., 2018).

        When: where that share of the labels may be wrong, and training is longer than ten epochs. Hard images that are
        labelled rightly are left out too, so not with clean labels.

            left out in epoch t: the noise_share min(t / 10, 1) of each class
            that lost most when it was last seen

        t counts from 0. It is taken within each class, for over all classes the largest losses are simply those of the
        rare ones: every class loses the same share, whatever its images in a batch, and where that is no whole number
        of images, the last counts in part. An image that is left out is looked at all the same, and may come back. What
        a mixed image loses says little of its label, so while images are mixed none is left out.

        Han et al. train two networks that choose for each other; here one chooses for itself. 0 is off.

        Also known as: small_loss, co_teaching (one network).
        """,
    ),
    Aid(
        {"second_view": "cutmix", "consistency": None},
        """Two differently mixed views of each batch, whose features are to agree, as in GLMC (Du et al., 2023).

        When: for better features from few images, at twice the time per step. It is not GLMC whole: the projection
        heads of the paper are left out.

            loss = (loss_1 + loss_2) / 2 + consistency (1 - cos(f_1, f_2))

        1 and 2 are the two views of an image, f their features. The first view is mixed as `mixing` says, the second
        as `second_view` says, with the same partner. cmo, which draws partners of its own, can be the first alone.
        consistency 0 leaves the mean of the two losses; without a second view consistency has no effect.

        Also known as: glmc.
        """,
    ),
    Aid(
        {"augment_rarer": 0.5},
        """Changes images of rare classes more often than those of common ones.

        When: with strong augmentation, which rare classes need most, while common ones have images enough.

            probability that an image is changed = (N_min / N_j)^augment_rarer

        N_min is the size of the smallest class. At 0, the default, every image is changed; at 1 those of a class with
        a hundred times the images of the rarest are changed one time in a hundred.
        """,
    ),
    Aid(
        {"mixing_until": 0.9},
        """The share of the epochs whose images are mixed; the rest ends training on whole ones.

        When: leave it where it is, unless training has so few epochs that the share leaves none at the end: then you
        are warned, and 1 says that mixing is to last. A model that has only seen mixed images is unsure of whole ones.

            epoch t of T is mixed if t / T < mixing_until

        t counts from 0. Without mixing it has no effect.
        """,
    ),
    Aid(
        {"loss.label_smoothing": 0.1},
        """Spreads a share of the target evenly over all classes (Szegedy et al., 2016).

        When: against answers that are too sure, or a few wrong labels. It treats all classes alike;
        label_aware_smoothing does more of it to the common ones.

            target of the true class = 1 - label_smoothing + label_smoothing / C
            target of any other      = label_smoothing / C

        In asymmetric the share of another class counts less than that, p_j^gamma_negative times: for an improbable
        class it is next to nothing.
        """,
    ),
    Aid(
        {"test_time_flip": True},
        """What is decided by is the mean of the logits of an image and of its mirror image.

        When: where left and right mean the same, at twice the time of evaluation. Not for digits or letters.

            z = (z(x) + z(mirrored x)) / 2

        Validation, thresholds and the results are all those of the mean.

        Also known as: tta, test_time_augmentation.
        """,
    ),
    Aid(
        {"warmup": 0.1},
        """The learning rate rises to its value over the first part of training (Goyal et al., 2017).

        When: always with a high learning rate: the first steps from random weights are the most uncertain. A long
        warm-up of a short training is time lost.

            rate = learning_rate schedule(t / T) min(1, (t + 1) / (T warmup))

        t counts the steps, of which there are T in the stage. 0 is off.
        """,
    ),
)
