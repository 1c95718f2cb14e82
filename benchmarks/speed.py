"""Time `imbalance train` against the script that a student would write, on the same images and the same network.

Both are timed from outside, in a process of their own, in turn: from one `epoch` line of their output to the next, and
from start to exit.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from imbalance_cli.files import make_folder, write_file

HERE = Path(__file__).parent
EPOCHS = {"tutorial": 10, "cnn": 10, "resnet8": 6, "resnet32": 4}
PER_CLASS = {"tutorial": 5000, "cnn": 5000, "resnet8": 2000, "resnet32": 2000}  # 5000 as in the classroom exercise
CLASSES = ("square", "triangle")
BATCH_SIZE = 128
LEARNING_RATE = 0.05
QUICK = {"models": ["tutorial"], "repeats": 1, "per_class": 100, "epochs": 2}


class Measured(NamedTuple):
    """One run of one side."""

    epoch_seconds: float  # the median of the epochs after the first
    process_seconds: float
    peak_memory_mib: float
    parameters: int
    accuracy: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=EPOCHS, default=list(EPOCHS))
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side and model")
    parser.add_argument("--workers", type=int, default=0, help="DataLoader workers of the student script")
    parser.add_argument("--per-class", type=int, help="training images of each of the two classes, for every model")
    parser.add_argument("--epochs", type=int, help="for every model, instead of its own number")
    parser.add_argument("--quick", action="store_true", help="one short run of each side, to see that it works")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="the folder for the results")
    options = parser.parse_args()
    if options.quick:
        parser.set_defaults(**QUICK)
        options = parser.parse_args()
    require_torchvision()

    measured = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # This process stays small, because on Linux a child's peak memory counts from that of its parent.
        sizes = {model: options.per_class or PER_CLASS[model] for model in options.models}
        for size in set(sizes.values()):
            drawing = multiprocessing.get_context("spawn").Process(target=save_images, args=(folder / str(size), size))
            drawing.start()
            drawing.join()
        load = os.getloadavg()[0]
        for model in options.models:
            epochs = options.epochs or EPOCHS[model]
            images = folder / str(sizes[model])
            pairs = []
            for repeat in range(options.repeats):
                pairs.append((run_student(images, model, epochs, options), run_project(images, model, epochs, options)))
                if len({side.parameters for side in pairs[-1]}) > 1:
                    sys.exit(f"{model}: the two networks differ: {pairs[-1]}")
                print(describe(model, repeat, pairs[-1]), flush=True)
            measured[model] = summary(epochs, pairs) | {"per_class": sizes[model]}

    results = {
        "date": date.today().isoformat(),
        "machine": machine(options.device) | {"load_before": round(load, 2)},
        "task": {"classes": CLASSES, "batch_size": BATCH_SIZE},
        "student_workers": options.workers,
        "repeats": options.repeats,
        "models": measured,
    }
    name = f"speed-{options.device}" + (f"-workers{options.workers}" if options.workers else "")
    make_folder(options.output)
    write_file(options.output / f"{name}.json", json.dumps(results, indent=2) + "\n")
    write_file(options.output / f"{name}.md", report(results))
    print(f"\n{report(results)}")


def require_torchvision() -> None:
    """Exit with one line if the student script could not import torchvision."""
    check = "from imbalance_cli.models import import_torchvision; import_torchvision()"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the student script needs torchvision: {done.stderr.strip().splitlines()[-1]}")


def save_images(folder: Path, per_class: int) -> None:
    """Draw the two classes and save them as train/ and test/ with a folder a class."""
    from PIL import Image

    from imbalance_cli.data.shapes import load_shapes

    dataset = load_shapes(CLASSES, train_per_class=per_class, test_per_class=max(50, per_class // 2))
    for split, images in (("train", dataset.train), ("test", dataset.test)):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
        pixels = images.images.permute(0, 2, 3, 1).numpy()
        for number, (image, label) in enumerate(zip(pixels, images.labels.tolist(), strict=True)):
            Image.fromarray(image).save(folder / split / CLASSES[label] / f"{number:05}.png")


def run_student(folder: Path, model: str, epochs: int, options: argparse.Namespace) -> Measured:
    command = [HERE / "student_script.py", folder, "--per-class", int(folder.name), "--workers", options.workers]
    command += ["--model", model, "--epochs", epochs, "--batch-size", BATCH_SIZE, "--lr", LEARNING_RATE]
    output, times = timed([*command, "--device", options.device])
    said = dict(line.split(maxsplit=1) for line in output if line.startswith(("parameters ", "accuracy ")))
    return Measured(**times, parameters=int(said["parameters"]), accuracy=float(said["accuracy"]))


def run_project(folder: Path, model: str, epochs: int, options: argparse.Namespace) -> Measured:
    """The images are decoded anew, as the student's are: the cache is in a folder of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        command = ["-m", "imbalance_cli", "train", "--dataset", folder, "--image-size", 32, "--data-dir", scratch]
        command += ["--model", model, "--epochs", epochs, "--batch-size", BATCH_SIZE, "--lr", LEARNING_RATE]
        command += ["--set", "warmup=0", "--set", "validation=0", "--device", options.device, "--output", run]
        _, times = timed(command)
        results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return Measured(**times, parameters=results["parameters"], accuracy=results["accuracy"])


def timed(command: list[Any]) -> tuple[list[str], dict[str, float]]:
    """What a run of Python with the arguments `command` printed, and its seconds and MiB."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    output, epoch_ends = [], []
    for line in process.stdout:
        output.append(line.strip())
        if line.startswith("epoch "):
            epoch_ends.append(time.perf_counter())
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit("\n".join([*output, f"exit code {process.returncode} of: {' '.join(map(str, command))}"]))
    return output, {
        "epoch_seconds": median(end - start for start, end in zip(epoch_ends, epoch_ends[1:], strict=False)),
        "process_seconds": seconds,
        "peak_memory_mib": usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10),
    }


def describe(model: str, repeat: int, pair: tuple[Measured, Measured]) -> str:
    """One line about one run of each side."""
    (student, project), name = pair, f"{model} {repeat + 1}"
    return (
        f"{name:12} {student.parameters} parameters; epoch {student.epoch_seconds:.3f} / {project.epoch_seconds:.3f}; "
        f"process {student.process_seconds:.1f} / {project.process_seconds:.1f} s; "
        f"accuracy {student.accuracy:.3f} / {project.accuracy:.3f}  (student / project)"
    )


def summary(epochs: int, pairs: list[tuple[Measured, Measured]]) -> dict[str, Any]:
    """All runs of one model, the median of each side, and how many times the project's the student's is."""
    sides = dict(zip(("student", "project"), zip(*pairs, strict=True), strict=True))
    medians = {
        side: {name: median(getattr(run, name) for run in runs) for name in Measured._fields}
        for side, runs in sides.items()
    }
    ratios = {
        name: medians["student"][name] / medians["project"][name]
        for name in ("epoch_seconds", "process_seconds", "peak_memory_mib")
    }
    runs = {side: [run._asdict() for run in runs] for side, runs in sides.items()}
    return {"epochs": epochs, "ratios": ratios, "medians": medians, "runs": runs}


def machine(device: str) -> dict[str, Any]:
    """What the seconds depend on beside the code."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=HERE)
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "device": graphics_card() if device.startswith("cuda") else device,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("imbalance-cli", "torch", "torchvision", "numpy", "pillow")},
        "commit": commit.stdout.strip() or None,
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def graphics_card() -> str:
    done = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    return done.stdout.partition("\n")[0]


def report(results: dict[str, Any]) -> str:
    """The results as Markdown: where they come from, and a row a model."""
    machine, task = results["machine"], results["task"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    rows = [
        f"{results['date']}, commit {machine['commit']}, {machine['processor']}, {machine['cores']} cores, "
        f"device {machine['device']}, Python {machine['python']}, {versions}.",
        f"Two classes, batches of {task['batch_size']}, "
        f"{results['student_workers']} DataLoader workers. "
        f"Student / project, medians of {results['repeats']} runs; larger ratios favour the project.",
        "",
        "| model | parameters | images | s an epoch | ratio | epochs | s in all | ratio | peak MiB | accuracy |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model, measured in results["models"].items():
        student, project = measured["medians"]["student"], measured["medians"]["project"]
        cells = [
            model,
            f"{project['parameters']:,}",
            f"{2 * measured['per_class']:,}",
            f"{student['epoch_seconds']:.3f} / {project['epoch_seconds']:.3f}",
            f"{measured['ratios']['epoch_seconds']:.2f}",
            f"{measured['epochs']}",
            f"{student['process_seconds']:.1f} / {project['process_seconds']:.1f}",
            f"{measured['ratios']['process_seconds']:.2f}",
            f"{student['peak_memory_mib']:.0f} / {project['peak_memory_mib']:.0f}",
            f"{student['accuracy']:.3f} / {project['accuracy']:.3f}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
