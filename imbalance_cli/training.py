"""The training loop: a model and images to a trained model, a step at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import Sequential

from imbalance_cli.config import Experiment
from imbalance_cli.data.batches import Normalisation, batch_bounds, epoch_batches, place
from imbalance_cli.data.image_set import ImageSet
from imbalance_cli.errors import DivergedError, MemoryShortage, SettingError, is_out_of_memory
from imbalance_cli.inference import find_device, predict
from imbalance_cli.methods.augment import AUGMENTATIONS
from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.methods.optimizers import OPTIMIZERS
from imbalance_cli.methods.schedules import SCHEDULES, with_warmup
from imbalance_cli.methods.weights import class_weights
from imbalance_cli.randomness import keyed_generator, keyed_seed


@dataclass
class Progress:
    """Where training stands: epochs finished, steps taken in the one that runs, and a log line for each finished."""

    epoch: int = 0
    step: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """A model in training: everything that a stopped run needs to go on to the same bytes."""

    def __init__(self, experiment: Experiment, model: Sequential, normalise: Normalisation, counts: Tensor) -> None:
        """counts: training images per class, int64 [classes].

        Raises SettingError if the device is not there, batches of one meet batch norm, or an option of the loss
        does not fit the classes.
        """
        if experiment.batch_size == 1 and any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules()):
            raise SettingError(f"batch_size must be at least 2: {experiment.model['name']} has batch norm; got 1")
        self.experiment = experiment
        self.device = find_device(experiment.device)
        self.precision = _precision(experiment.precision, self.device)
        self.model = model.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.normalise = normalise
        self.parameters = list(self.model.parameters())
        self.optimizer = OPTIMIZERS.bind(experiment.optimizer)
        self.optimizer_memory: dict[str, Any] = {}
        self.progress = Progress()
        self.loss = LOSSES.bind(experiment.loss)
        self.counts = counts.to(self.device, torch.float32)
        self.weights = class_weights(experiment.class_weights, counts).to(self.device, torch.float32)
        self.loss(torch.zeros(1, len(counts), device=self.device), counts.new_zeros(1).to(self.device), self.counts)
        # The losses of the running epoch stay on the device until it ends: reading one would wait for the device.
        self.losses: list[Tensor] = []
        torch.manual_seed(keyed_seed(experiment.seed, "dropout"))

    def train(self, train: ImageSet, validation: ImageSet | None) -> Iterator[Progress]:
        """Train to the end of the last epoch, yielding after every step and after every epoch (then step is 0).

        Between two yields the run can be stopped, and `state` taken. Raises DivergedError or MemoryShortage.
        """
        experiment, progress = self.experiment, self.progress
        augmentations = [AUGMENTATIONS.bind(choice) for choice in experiment.augment]
        images = place(train.images, self.device)
        steps = len(batch_bounds(len(train), experiment.batch_size))
        try:
            while progress.epoch < experiment.epochs:
                order = torch.randperm(len(train), generator=keyed_generator(experiment.seed, "order", progress.epoch))
                for batch, labels in epoch_batches(
                    images,
                    train.labels,
                    order,
                    experiment.batch_size,
                    augmentations=augmentations,
                    seed=experiment.seed,
                    epoch=progress.epoch,
                    device=self.device,
                    start=progress.step,
                ):
                    rate = self._learning_rate(progress.epoch * steps + progress.step, experiment.epochs * steps)
                    self.model.train()
                    with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                        logits = self.model(self.normalise(batch))
                    example_losses = self.loss(logits.float(), labels, self.counts)
                    objective = (self.weights[labels] * example_losses).mean()
                    self._update(objective, rate)
                    self.losses.append(objective.detach())
                    progress.step += 1
                    yield progress
                rate = self._learning_rate((progress.epoch + 1) * steps - 1, experiment.epochs * steps)
                progress.log.append(self._log_line(validation, rate))
                progress.epoch, progress.step, self.losses = progress.epoch + 1, 0, []
                yield progress
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise MemoryShortage(
                    f"out of memory on {self.device} with batch_size {experiment.batch_size}; "
                    f"try --batch-size {max(2, experiment.batch_size // 2)}"
                ) from error
            raise

    def _update(self, objective: Tensor, rate: float) -> None:
        if self.experiment.l1 > 0:
            weights = [weight for weight in self.model.parameters() if weight.ndim > 1]
            objective = objective + self.experiment.l1 * torch.stack([w.abs().sum() for w in weights]).sum()
        gradients = torch.autograd.grad(objective, self.parameters)
        with torch.no_grad():
            self.optimizer(self.parameters, gradients, self.optimizer_memory, rate, self.experiment.weight_decay)

    def _learning_rate(self, step: int, steps: int) -> float:
        factor = float(SCHEDULES.bind(self.experiment.learning_rate_schedule)(step / steps))
        return self.experiment.learning_rate * factor * with_warmup((step + 1) / steps, self.experiment.warmup)

    def _log_line(self, validation: ImageSet | None, rate: float) -> dict[str, Any]:
        """What the finished epoch was like, `rate` being its last learning rate.

        Raises DivergedError with the first step that was not finite.
        """
        losses = torch.stack(self.losses).tolist()
        epoch = self.progress.epoch
        for step, value in enumerate(losses, start=1):
            if not math.isfinite(value):
                raise DivergedError(
                    f"training diverged: the loss was {value} at epoch {epoch + 1}, step {step}, learning rate "
                    f"{rate:.3g}; try --lr {self.experiment.learning_rate / 10:g}"
                )
        if not all(weight.isfinite().all() for weight in self.model.state_dict().values()):
            raise DivergedError(
                f"training diverged: weights are no longer finite after epoch {epoch + 1}, learning rate {rate:.3g}; "
                f"try --lr {self.experiment.learning_rate / 10:g}"
            )
        line = {"epoch": epoch + 1, "train_loss": sum(losses) / len(losses), "learning_rate": rate}
        if validation is None:
            return line
        logits = predict(self.model, validation.images, self.normalise, device=self.device, precision=self.precision)
        loss = self.loss(logits, validation.labels, self.counts.cpu())
        hits = torch.bincount(
            validation.labels[logits.argmax(1) == validation.labels], minlength=len(validation.class_names)
        )
        recalls = [hit / n if n else None for hit, n in zip(hits.tolist(), validation.counts().tolist(), strict=True)]
        return line | {"validation_loss": float(loss.mean()), "validation_recall": recalls}

    def state(self) -> dict[str, Any]:
        """Everything to go on from here: weights, optimizer, random state and progress, as plain data."""
        random_state = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random_state["cuda"] = torch.cuda.get_rng_state(self.device)
        return {
            "weights": {name: weight.cpu() for name, weight in self.model.state_dict().items()},
            "optimizer": self.optimizer_memory,
            "random_state": random_state,
            "progress": asdict(self.progress) | {"losses": [float(loss) for loss in self.losses]},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.model.load_state_dict(state["weights"])
        self.optimizer_memory = {
            name: value if isinstance(value, int) else [each.to(self.device) for each in value]
            for name, value in state["optimizer"].items()
        }
        torch.set_rng_state(state["random_state"]["cpu"])
        if self.device.type == "cuda" and "cuda" in state["random_state"]:
            torch.cuda.set_rng_state(state["random_state"]["cuda"], self.device)
        progress = dict(state["progress"])
        self.losses = [torch.tensor(loss, device=self.device) for loss in progress.pop("losses")]
        self.progress = Progress(**progress)


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
