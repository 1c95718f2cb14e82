"""The training loop: a model and images to a trained model, a step at a time."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Sequential

from imbalance_cli.config import Experiment
from imbalance_cli.data.batches import Normalisation, place
from imbalance_cli.data.image_set import ImageSet
from imbalance_cli.errors import DivergedError, MemoryShortage, is_out_of_memory
from imbalance_cli.inference import find_device, predict
from imbalance_cli.methods.optimizers import OPTIMIZERS
from imbalance_cli.methods.posthoc import balanced_accuracy, decide
from imbalance_cli.methods.schedules import SCHEDULES, with_warmup
from imbalance_cli.metrics import Floats
from imbalance_cli.objectives import Objective, kept_as_clean
from imbalance_cli.own_trials import try_own_methods
from imbalance_cli.randomness import keyed_seed
from imbalance_cli.stages import Stage, stages
from imbalance_cli.streams import Batch, epoch_stream
from imbalance_cli.weight_steps import Averaged, clip, perturbed, shorten_rows


@dataclass
class Progress:
    """Where training stands: epochs finished, steps taken in the one that runs, and a log line for each finished."""

    epoch: int = 0
    step: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    stopped_early: bool = False


class Trainer:
    """A model in training: everything that a stopped run needs to go on to the same bytes."""

    def __init__(self, experiment: Experiment, model: Sequential, normalise: Normalisation, counts: Tensor) -> None:
        """counts: training images per class, int64 [classes].

        Raises SettingError if the device is not there, or for a method of a user's own that does not do as it should.
        """
        self.experiment = experiment
        self.device = find_device(experiment.device)
        self.precision = _precision(experiment.precision, self.device)
        self.model = model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = Averaged(self.model, experiment.ema) if experiment.ema > 0 else None
        self.normalise = normalise
        self.stages = list(stages(experiment, counts))
        for stage in self.stages:
            try_own_methods(stage, self.device)
        self.trained = list(self.model.parameters())
        self.memory: dict[str, Any] = {}  # the optimizer's
        self.best: dict[str, Any] = {}  # the epoch that early stopping goes back to
        self.noise: dict[str, Tensor] = {}  # what each image lost when last seen, and how much of it the epoch keeps
        self.progress = Progress()
        # The losses of the running epoch stay on the device until it ends: reading one would wait for the device.
        self.losses: list[Tensor] = []
        torch.manual_seed(keyed_seed(experiment.seed, "dropout"))

    @property
    def evaluated(self) -> Sequential:
        """The model that counts: the averaged one if there is one."""
        return self.model if self.averaged is None else self.averaged.model

    @property
    def stage(self) -> Stage:
        """The stage that the running epoch belongs to; after the last epoch the last stage."""
        return next((stage for stage in self.stages if self.progress.epoch < stage.end), self.stages[-1])

    def uninformative_logits(self) -> Floats:
        """What the trained weights make of an image that says nothing about its class: float64 [classes].

        It is that of the epoch that the weights are of: the last, or the best if training went back to it.
        """
        epoch = self.best["epoch"] if self.best else self.progress.epoch - 1
        stage = next(stage for stage in self.stages if epoch < stage.end)
        return stage.uninformative_logits(max(epoch, 0))

    def train(self, train: ImageSet, validation: ImageSet | None) -> Iterator[Progress]:
        """Train to the end of the last epoch, yielding after every step and after every epoch (then step is 0).

        Between two yields the run can be stopped, and `state` taken. Raises DivergedError or MemoryShortage.
        """
        progress = self.progress
        try:
            train = replace(train, images=place(train.images, self.device))
            while progress.epoch < self.stages[-1].end and not progress.stopped_early:
                stage, epoch = self.stage, progress.epoch
                self._enter(stage)
                self._suspect(stage, train.labels)
                objective = Objective.of(stage, epoch, self.device, self.precision)
                stream = epoch_stream(stage, epoch, train, self.normalise, device=self.device, start=progress.step)
                for batch in stream:
                    self.losses.append(self._step(objective, batch))
                    progress.step += 1
                    yield progress
                self.require_finite()
                progress.log.append(self._log_line(objective, validation))
                self._stop_early()
                progress.epoch, progress.step, self.losses = epoch + 1, 0, []
                yield progress
        except (MemoryError, RuntimeError, OSError) as error:
            if is_out_of_memory(error):
                raise MemoryShortage(
                    f"out of memory on {self.device} with batch_size {self.stage.experiment.batch_size}; "
                    f"try --batch-size {max(2, self.stage.experiment.batch_size // 2)}"
                ) from error
            raise

    def _step(self, objective: Objective, batch: Batch) -> Tensor:
        """Change the weights by one batch; its loss, before that, as a scalar on the device."""
        experiment, model = objective.stage.experiment, self.model
        losses = objective.losses(model, batch)
        kept = self._kept(objective.stage, batch, losses.detach())
        losses = losses if kept is None else losses * kept
        value = self._with_l1(losses.mean(), experiment.l1)
        if experiment.sam_radius > 0:
            # What to climb: the loss of all classes, or of the rare ones alone.
            uphill = value if experiment.sam_classes == "all" else (losses * objective.is_rare[batch.labels]).mean()
            climb = torch.autograd.grad(uphill, self.trained)
            with perturbed(model, self.trained, climb, experiment.sam_radius):
                above = objective.losses(model, batch)
                above = above if kept is None else above * kept
                gradients = torch.autograd.grad(self._with_l1(above.mean(), experiment.l1), self.trained)
        else:
            gradients = torch.autograd.grad(value, self.trained)
        if experiment.gradient_clipping is not None:
            gradients = clip(gradients, experiment.gradient_clipping)
        steps_taken = self._steps_taken(objective.stage)
        rate = self._learning_rate(objective.stage, steps_taken)
        with torch.no_grad():
            OPTIMIZERS.bind(experiment.optimizer)(self.trained, gradients, self.memory, rate, experiment.weight_decay)
        if experiment.max_norm is not None:
            shorten_rows(model[1].weight, experiment.max_norm)
        if self.averaged is not None:
            self.averaged.update(model, steps_taken)
        return value.detach()

    def _suspect(self, stage: Stage, labels: Tensor) -> None:
        """At the beginning of an epoch: say how much of each image is kept, by what it lost in those before."""
        if stage.experiment.noise_share == 0 or (self.progress.step > 0 and self.noise):
            return
        labels = labels.to(self.device)
        latest = self.noise.get("latest", torch.full((len(labels),), -torch.inf, device=self.device))
        self.noise = {"latest": latest, "kept": kept_as_clean(latest, labels, stage.noise_share(self.progress.epoch))}

    def _kept(self, stage: Stage, batch: Batch, losses: Tensor) -> Tensor | None:
        """Note what the images of the batch lose; how much of each is kept, [b], None if they all are."""
        if stage.experiment.noise_share == 0 or batch.partner_labels is not None:
            return None
        # An image that is in the batch more than once has the largest of its losses, whichever is written first.
        self.noise["latest"].scatter_reduce_(0, batch.places, losses.float(), "amax", include_self=False)
        return self.noise["kept"][batch.places]

    def _with_l1(self, value: Tensor, strength: float) -> Tensor:
        if strength == 0:
            return value
        return value + strength * torch.stack([w.abs().sum() for w in self.trained if w.ndim > 1]).sum()

    def _learning_rate(self, stage: Stage, steps_taken: int) -> float:
        settings, steps = stage.experiment, sum(stage.steps)
        factor = float(SCHEDULES.bind(settings.learning_rate_schedule)(steps_taken / steps))
        return settings.learning_rate * factor * with_warmup((steps_taken + 1) / steps, settings.warmup)

    def _steps_taken(self, stage: Stage) -> int:
        """Steps of the stage before this one."""
        return sum(stage.steps[: self.progress.epoch - stage.begin]) + self.progress.step

    def _enter(self, stage: Stage) -> None:
        """Set what the stage trains; at its very beginning also what it starts from."""
        settings = stage.experiment
        only_classifier = settings.trainable == "classifier"
        self.model.train()
        self.model[0].train(not only_classifier)  # a frozen backbone keeps its batch statistics too
        self.model[0].requires_grad_(not only_classifier)
        self.trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        if (self.progress.epoch, self.progress.step) != (stage.begin, 0):
            return
        self.memory = {}
        if self.averaged is not None:
            self.model.load_state_dict(self.averaged.model.state_dict())
        classifier: Any = self.model[1]
        if settings.restart_classifier:
            fresh = copy.deepcopy(classifier).cpu()
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(keyed_seed(settings.seed, "classifier", stage.begin))
                fresh.reset_parameters()
            classifier.load_state_dict(fresh.state_dict())
        if settings.bias_from_prior:
            classifier.bias.data.copy_(torch.from_numpy(stage.uninformative_logits(stage.begin)))
        if self.averaged is not None:
            self.averaged.model.load_state_dict(self.model.state_dict())

    def require_finite(self) -> None:
        """Raise DivergedError if a loss of the running epoch or a weight is no finite number. Waits for the device."""
        losses = torch.stack(self.losses).tolist() if self.losses else []
        for at, loss in enumerate(losses, start=1):
            if not math.isfinite(loss):
                step, what = at, f"the loss was {loss}"
                break
        else:
            if all(weight.isfinite().all() for weight in self.model.state_dict().values()):
                return
            step, what = self.progress.step, "a weight was no finite number"
        stage = self.stage
        rate = self._learning_rate(stage, self._steps_taken(stage) - self.progress.step + step - 1)
        raise DivergedError(
            f"training diverged: {what} at epoch {self.progress.epoch + 1}, step {step}, learning rate {rate:.3g}; "
            f"try --lr {stage.experiment.learning_rate / 10:g}"
        )

    def _log_line(self, objective: Objective, validation: ImageSet | None) -> dict[str, Any]:
        """What the finished epoch was like, with its last learning rate."""
        losses = torch.stack(self.losses).tolist()
        stage, epoch = objective.stage, self.progress.epoch
        rate = self._learning_rate(stage, self._steps_taken(stage) - 1)
        line = {"epoch": epoch + 1, "train_loss": sum(losses) / len(losses), "learning_rate": rate}
        if validation is None:
            return line
        logits = self.predict(validation.images)
        seen = objective.counts.cpu()
        loss = stage.loss(seen)(logits, validation.labels, seen)
        hits = torch.bincount(
            validation.labels[logits.argmax(1) == validation.labels], minlength=len(validation.class_names)
        )
        recalls = [hit / n if n else None for hit, n in zip(hits.tolist(), validation.counts().tolist(), strict=True)]
        line |= {"validation_loss": float(loss.mean()), "validation_recall": recalls}
        if self.experiment.early_stopping is not None:
            # At the corrected point, because at argmax an imbalanced model may seem to learn nothing for long.
            corrected = decide(logits.double().numpy(), -stage.uninformative_logits(epoch))
            line["validation_balanced_accuracy"] = balanced_accuracy(validation.labels.numpy(), corrected)
        return line

    def _stop_early(self) -> None:
        """Keep the weights of the best epoch so far; back to them when it is too long ago, or training ends."""
        patience, epoch = self.experiment.early_stopping, self.progress.epoch
        if patience is None:
            return
        score = self.progress.log[-1]["validation_balanced_accuracy"]
        if not self.best or score > self.best["score"]:
            weights = {name: weight.cpu().clone() for name, weight in self.evaluated.state_dict().items()}
            self.best = {"score": score, "epoch": epoch, "weights": weights}
        self.progress.stopped_early = epoch - self.best["epoch"] >= patience
        if self.progress.stopped_early or epoch + 1 == self.stages[-1].end:
            self.evaluated.load_state_dict(self.best["weights"])

    @property
    def all_steps(self) -> int:
        """The steps of all finished epochs."""
        return sum([steps for stage in self.stages for steps in stage.steps][: self.progress.epoch])

    def predict(self, images: Tensor) -> Tensor:
        """Logits of uint8 images as the trained model is to be evaluated: float32 [n, classes] on the CPU.

        Raises DivergedError if they are not finite, which finite weights do not rule out.
        """
        logits = predict(
            self.evaluated,
            images,
            self.normalise,
            device=self.device,
            flip=self.experiment.test_time_flip,
        )
        if not bool(logits.isfinite().all()):
            raise DivergedError(
                f"training diverged: after {self.progress.epoch} epochs the outputs for images that did not train are "
                f"no finite numbers; try --lr {self.stage.experiment.learning_rate / 10:g}"
            )
        return logits

    def state(self) -> dict[str, Any]:
        """Everything to go on from here: weights, optimizer, random state and progress, as plain data.

        `weights` are those to evaluate; where they are averages, or those of the best epoch, the optimizer's part
        holds those in training.
        """
        random_state = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random_state["cuda"] = torch.cuda.get_rng_state(self.device)
        training: dict[str, Any] = {"memory": self.memory, "best": self.best, "noise": self.noise}
        if self.averaged is not None:
            training["weights"] = {name: weight.cpu() for name, weight in self.model.state_dict().items()}
        return {
            "weights": {name: weight.cpu() for name, weight in self.evaluated.state_dict().items()},
            "optimizer": training,
            "random_state": random_state,
            "progress": asdict(self.progress) | {"losses": [float(loss) for loss in self.losses]},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        training = state["optimizer"]
        self.model.load_state_dict(training.get("weights", state["weights"]))
        if self.averaged is not None:
            self.averaged.model.load_state_dict(state["weights"])
        self.memory = _on(self.device, training["memory"])
        self.best, self.noise = training["best"], _on(self.device, training.get("noise", {}))
        torch.set_rng_state(state["random_state"]["cpu"])
        if self.device.type == "cuda" and "cuda" in state["random_state"]:
            torch.cuda.set_rng_state(state["random_state"]["cuda"], self.device)
        progress = dict(state["progress"])
        self.losses = [torch.tensor(loss, device=self.device) for loss in progress.pop("losses")]
        self.progress = Progress(**progress)


def _on(device: torch.device, value: Any) -> Any:
    """`value`, plain data, with every tensor in it on `device`."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: _on(device, inner) for name, inner in value.items()}
    return [_on(device, inner) for inner in value] if isinstance(value, list) else value


def _precision(name: str, device: torch.device) -> torch.dtype:
    """bfloat16 where it is computed in hardware, which halves the time; else float32."""
    if name == "auto":
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        elif device.type == "cpu":
            capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
            native = capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)
        else:
            native = False
        name = "bf16" if native else "fp32"
    return torch.bfloat16 if name == "bf16" else torch.float32
