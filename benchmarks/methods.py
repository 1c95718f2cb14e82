"""Time every loss against cross-entropy, every sampler against PyTorch's, every augmentation against torchvision's.

    python benchmarks/methods.py            # ten minutes
    python benchmarks/methods.py --quick    # seconds, on small shapes, to see that it works

A method and what it is compared with take turns in this one process, so that what else the machine does falls on both.
A ratio is the median over the turns. Writes methods.json and methods.md into the folder of --output.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from speed import HERE, machine, require_torchvision
from torch import Tensor
from torch.utils.data import WeightedRandomSampler

from imbalance_cli.data.batches import batch_bounds
from imbalance_cli.data.order import epoch_length, epoch_order
from imbalance_cli.files import make_folder, write_file
from imbalance_cli.methods.augment import AUGMENTATIONS, DRAWS
from imbalance_cli.methods.losses import LOSSES
from imbalance_cli.methods.samplers import SAMPLERS, class_draws

LIMIT = 1.3  # times cross-entropy, above which a loss needs a reason
REASONS = {  # what a loss does to every logit for which cross-entropy has no counterpart
    "equalization": "a random number for every logit",
    "pairwise_hinge": "sorts the scores of every class over the batch: log n comparisons for every logit",
}
FEATURES = 64  # of an example, for losses that look at them

BATCH_SIZE = 128
SIDE = 32  # of an image


class Shape(NamedTuple):
    """How much is measured."""

    examples: int
    classes: int
    labels: int
    turns: int


FULL, QUICK = Shape(65_536, 1000, 10_000_000, turns=7), Shape(2048, 100, 100_000, turns=3)
LONGEST = 60.0  # seconds in which a row may go on taking turns


class Compared(NamedTuple):
    """Seconds, the medians over the turns, and the median over the turns of ours divided by theirs."""

    ours: float
    theirs: float | None  # None, as is the ratio, where there is nothing to compare with
    ratio: float | None
    turns: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small shapes and few turns, to see that it works")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="the folder for the results")
    options = parser.parse_args()
    require_torchvision()
    shape = QUICK if options.quick else FULL
    load = os.getloadavg()[0]
    results = {
        "date": date.today().isoformat(),
        "machine": machine("cpu") | {"threads": torch.get_num_threads(), "load_before": round(load, 2)},
        "shape": shape._asdict(),
        "losses": measured_losses(shape),
        "samplers": measured_samplers(shape),
        "augmentations": measured_augmentations(shape),
    }
    make_folder(options.output)
    write_file(options.output / "methods.json", json.dumps(results, indent=2) + "\n")
    write_file(options.output / "methods.md", report(results))
    print(f"\n{report(results)}")


def in_turn(name: str, ours: Callable[[], object], theirs: Callable[[], object] | None, turns: int) -> Compared:
    """Time both, one after the other, after a first turn that does not count."""
    sides = [ours] if theirs is None else [ours, theirs]
    taken = []
    began = time.perf_counter()
    while len(taken) <= turns and (len(taken) < 2 or time.perf_counter() - began < LONGEST):
        taken.append([seconds(side) for side in sides])
    medians = [median(side) for side in zip(*taken[1:], strict=True)]
    ratio = None if theirs is None else median(one / other for one, other in taken[1:])
    print(f"{name:26} {' / '.join(f'{each:.4f}' for each in medians)} s, {len(taken) - 1} turns", flush=True)
    return Compared(medians[0], None if theirs is None else medians[1], ratio, len(taken) - 1)


def seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def measured_losses(shape: Shape) -> dict[str, dict[str, Any]]:
    """Forward and backward of every loss with its defaults, and of cross-entropy as PyTorch has it."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(shape.examples, shape.classes, generator=generator)
    labels = torch.randint(shape.classes, (shape.examples,), generator=generator)
    features = torch.randn(shape.examples, FEATURES, generator=generator)
    counts = long_tail(shape.labels, shape.classes).float()
    logits.requires_grad_()
    # Until a process has freed a block of some size, glibc hands every block of it back to the system at once. Any
    # training soon has; cross-entropy, whose matrices are larger than that ever counts, goes on as it was.
    torch.empty(2**22)

    def step(loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return torch.autograd.grad(loss(logits, labels).mean(), logits)[0]

    plain = partial(step, partial(F.cross_entropy, reduction="none"))
    found = {}
    for method in LOSSES:
        extra = {"features": features} if "features" in method.inputs else {}
        loss = partial(step, partial(method.function, counts=counts, **extra))
        compared = in_turn(method.name, loss, plain, shape.turns)
        memory = [peak_memory(each) for each in (loss, plain)]
        found[method.name] = compared._asdict() | dict(zip(("memory", "memory_theirs"), memory, strict=True))
    return found


def peak_memory(function: Callable[[], object]) -> int | None:
    """The bytes that `function` held at most beyond those of before, where Linux tells."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    except OSError:
        return None
    before = memory_in_use("VmRSS")
    function()
    return memory_in_use("VmHWM") - before


def memory_in_use(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


def long_tail(images: int, classes: int) -> Tensor:
    """Class counts that fall exponentially by a factor of 100 from the first to the last, about `images` in all."""
    shares = torch.logspace(0, -2, classes, dtype=torch.float64)
    return (images * shares / shares.sum()).round().clamp(min=1)


def batch_size(classes: int) -> int:
    """Large enough for at_least, which has every class in every batch."""
    return max(BATCH_SIZE, 2 * classes)


def measured_samplers(shape: Shape) -> dict[str, dict[str, Any]]:
    """The indices of an epoch by every sampler, and as many of the same frequencies by WeightedRandomSampler."""
    counts = long_tail(shape.labels, shape.classes)
    labels = torch.arange(shape.classes).repeat_interleave(counts.long())
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    size = batch_size(shape.classes)
    batches = len(batch_bounds(len(labels), size))
    generator = torch.Generator().manual_seed(1)
    found = {}
    for method in SAMPLERS:
        draws = class_draws({"name": method.name}, counts, batches)
        per_batch = method.options["per_batch"].default if "per_batch" in method.options else 0
        more = {"at_least": per_batch, "bounds": batch_bounds(epoch_length(draws), size)} if per_batch else {}
        ours = partial(epoch_order, labels, draws, generator=generator, **more)
        weights = (draws / counts)[labels]
        theirs = partial(list, WeightedRandomSampler(weights, epoch_length(draws), generator=generator))
        compared = in_turn(method.name, ours, theirs, min(shape.turns, 3))
        found[method.name] = compared._asdict() | {"drawn": epoch_length(draws)}
    return found


def measured_augmentations(shape: Shape) -> dict[str, dict[str, Any]]:
    """Every augmentation of a batch at once, and of its images one by one as torchvision has it, where it has it."""
    from torchvision.transforms import v2

    bilinear = v2.InterpolationMode.BILINEAR
    per_image = {  # what they are given is what a script gives them: PIL images, or tensors where they take no others
        "crop": v2.RandomCrop(SIDE, padding=4),
        "flip": v2.RandomHorizontalFlip(),
        "affine": v2.RandomAffine(15, scale=(0.85, 1.15), interpolation=bilinear),
        "colour": v2.ColorJitter(0.2, 0.2, 0.2, 0.02),
        "erasing": v2.Compose([v2.PILToTensor(), v2.RandomErasing()]),
        "trivial_augment": v2.TrivialAugmentWide(),
        "rand_augment": v2.RandAugment(),
        "auto_augment": v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
    }
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (BATCH_SIZE, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last)
    pictures = [v2.functional.to_pil_image(image) for image in images]
    found = {}
    for method in AUGMENTATIONS:

        def ours(augment: Callable[[Tensor, Tensor], Tensor] = method.function) -> Tensor:
            return augment(images, torch.rand(BATCH_SIZE, DRAWS, generator=generator))

        theirs = partial(each_of, pictures, per_image[method.name]) if method.name in per_image else None
        found[method.name] = in_turn(method.name, ours, theirs, 5 * shape.turns)._asdict()
    return found


def each_of(pictures: list[Any], transform: Callable[[Any], Any]) -> list[Any]:
    return [transform(picture) for picture in pictures]


def report(results: dict[str, Any]) -> str:
    """The results as Markdown: where they come from, a table a kind, and the losses that are slow for a reason."""
    machine, shape = results["machine"], results["shape"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    size = 4 * shape["examples"] * shape["classes"]
    lines = [
        f"{results['date']}, commit {machine['commit']}, {machine['processor']}, {machine['cores']} cores, "
        f"{machine['threads']} threads, load before {machine['load_before']}, Python {machine['python']}, {versions}.",
        "",
        f"Losses: forward and backward of {shape['examples']:,} x {shape['classes']:,} float32 logits, in seconds "
        "and in how many times those of `F.cross_entropy`; the most memory beyond the logits, in matrices of their "
        "size.",
        "",
        "| loss | seconds | cross-entropy | ratio | memory | cross-entropy |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in results["losses"].items():
        memory = ["-" if row[key] is None else f"{row[key] / size:.1f}" for key in ("memory", "memory_theirs")]
        lines.append(
            f"| {name} | {row['ours']:.3f} | {row['theirs']:.3f} | {row['ratio']:.2f} | {' | '.join(memory)} |"
        )
    slow = [name for name, row in results["losses"].items() if row["ratio"] > LIMIT]
    if slow:
        lines += ["", f"More than {LIMIT} times cross-entropy:", ""]
        lines += [f"- {name}: {REASONS.get(name, 'for no reason that is known')}" for name in slow]
    lines += [
        "",
        f"Samplers: the indices of an epoch of {shape['labels']:,} labels of {shape['classes']:,} classes, the largest "
        "100 times the smallest, and as many from `WeightedRandomSampler`, in seconds; larger ratios favour the "
        f"project. Batches, which concern at_least alone, are of {batch_size(shape['classes']):,}.",
        "",
        "| sampler | drawn | seconds | WeightedRandomSampler | ratio |",
        "|---|---|---|---|---|",
    ]
    for name, row in results["samplers"].items():
        cells = [name, f"{row['drawn']:,}", f"{row['ours']:.3f}", f"{row['theirs']:.3f}", f"{1 / row['ratio']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Augmentations: a batch of {BATCH_SIZE} images of {SIDE} x {SIDE}, at once, and image by image with "
        "torchvision, in milliseconds; larger ratios favour the project.",
        "",
        "| augmentation | milliseconds | torchvision | ratio |",
        "|---|---|---|---|",
    ]
    for name, row in results["augmentations"].items():
        other = ["-", "-"] if row["ratio"] is None else [f"{1000 * row['theirs']:.2f}", f"{1 / row['ratio']:.1f}"]
        lines.append(f"| {name} | {1000 * row['ours']:.2f} | {' | '.join(other)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
