"""Losses compared on a pair of classes at ratio 0.01, three seeds each: the table and the picture of the README.

    python benchmarks/losses.py cifar10-folder --classes airplane automobile --runs runs/airplane
    python benchmarks/losses.py shapes --classes square triangle --runs runs/shapes
    python benchmarks/losses.py cifar10-folder --classes airplane automobile --runs runs/recipes --validation 0 \
        --recipes configs/recipes/*.yaml --name recipes

Runs that are finished in the folder of --runs are not run again. Writes NAME.json and NAME.md, and NAME.png, into
benchmarks/results/. Where the runs shared the machine with others, --timed FOLDER runs seed 0 of each method once more,
alone, for the column of seconds.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from imbalance_cli.drawing import COLOURS, new_figure, save_figure, shared_look

METHODS = {
    "cross-entropy": ["--loss", "cross_entropy"],
    "focal, gamma 1": ["--loss", "focal", "--gamma", "1"],
    "focal, gamma 2": ["--loss", "focal", "--gamma", "2"],
    "focal, gamma 5": ["--loss", "focal", "--gamma", "5"],
    "cross-entropy, inverse weights": ["--loss", "cross_entropy", "--class-weights", "inverse"],
    "logit adjustment": ["--loss", "logit_adjustment"],
}
POINTS = {"argmax": "argmax", "prior": "prior-corrected", "validation": "threshold from validation"}
SEEDS = (0, 1, 2)


def run(folder: Path, data: list[str], method: str, seed: int) -> dict:
    """The results of one run with the seconds that it took, from its folder if it is there."""
    if not (folder / "results.json").exists():
        command = [sys.executable, "-m", "imbalance_cli", "train", *METHODS[method], *data]
        command += ["--seed", str(seed), "--output", str(folder), "--overwrite", "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    session = json.loads((folder / "environment.json").read_text())[-1]
    return json.loads((folder / "results.json").read_text()) | {"seconds": session["seconds"], "machine": session}


def spread(values: list[float], scale: float = 100, digits: int = 1) -> str:
    """Mean and sample standard deviation."""
    mean, deviation = statistics.mean(values) * scale, statistics.stdev(values) * scale
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def table(results: dict[str, list[dict]]) -> str:
    """A Markdown table: a row for each method, percentages as mean ± standard deviation over the seeds."""
    head = ["method", "AUROC", *(f"{label}: rare / common / balanced" for label in POINTS.values()), "seconds"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for method, runs in results.items():
        rare = runs[0]["classes"].index(runs[0]["minority"])
        cells = [method, spread([result["auroc"] for result in runs], 1, 3)]
        for point in POINTS:
            found = [result["operating_points"][point] for result in runs]
            if any(each is None for each in found):
                cells.append("-")
                continue
            recalls = [statistics.mean(each["recalls"][index] for each in found) * 100 for index in (rare, 1 - rare)]
            cells.append(
                f"{recalls[0]:.1f} / {recalls[1]:.1f} / **{spread([each['balanced_accuracy'] for each in found])}**"
            )
        cells.append(f"{statistics.mean(result['seconds'] for result in runs):.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


@shared_look()
def picture(results: dict[str, list[dict]], title: str):
    """Balanced accuracy of every method at every operating point: a mark for the mean, a line from worst to best."""
    figure = new_figure(8, 3.4)
    axes = figure.subplots()
    for offset, (point, label) in enumerate(POINTS.items()):
        for row, runs in enumerate(results.values()):
            values = [result["operating_points"][point] for result in runs]
            values = [100 * each["balanced_accuracy"] for each in values if each is not None]
            if not values:
                continue
            height = row + (offset - 1) * 0.22
            axes.plot([min(values), max(values)], [height] * 2, color=COLOURS[offset], linewidth=1.2)
            mark = axes.plot(statistics.mean(values), height, "osD"[offset], color=COLOURS[offset], markersize=5)
            if row == 0:
                mark[0].set_label(label)
    ranks = [statistics.mean(result["auroc"] for result in runs) for runs in results.values()]
    names = [f"{method}  (AUROC {rank:.2f})" for method, rank in zip(results, ranks, strict=True)]
    axes.set_yticks(range(len(results)), names)
    axes.set_ylim(len(results) - 0.2, -0.6)
    axes.axvline(50, color="grey", linewidth=0.8)
    axes.text(50.4, len(results) - 0.28, "always the common class", color="grey", fontsize=8, va="bottom")
    axes.set(xlabel="balanced accuracy on the test images, %", title=title, xlim=(48, 100))
    axes.grid(True, axis="x")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def main() -> None:
    """Run, or read, everything; write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--classes", nargs=2, required=True)
    parser.add_argument("--ratio", default="0.01")
    parser.add_argument("--validation", default="0.2")
    parser.add_argument("--runs", type=Path, required=True, help="where the run folders are kept")
    parser.add_argument("--timed", type=Path, help="where the runs for the column of seconds are kept, if not --runs")
    parser.add_argument("--name", default="losses", help="of the files in benchmarks/results/")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--recipes", nargs="+", type=Path, default=[], help="configuration files to compare instead")
    arguments = parser.parse_args()
    if arguments.recipes:
        METHODS.update({path.stem: [str(path)] for path in arguments.recipes})
        arguments.methods = [path.stem for path in arguments.recipes]
    data = ["-d", arguments.dataset, "--classes", *arguments.classes, "--ratio", arguments.ratio]
    data += ["--set", f"validation={arguments.validation}"]
    results: dict[str, list[dict]] = {}
    for folder in filter(None, (arguments.runs, arguments.timed)):
        folder.mkdir(parents=True, exist_ok=True)
    for method in arguments.methods:
        name = method.replace(", ", "-").replace(" ", "-")
        results[method] = [
            run(arguments.runs / f"{name}-validation{arguments.validation}-seed{seed}", data, method, seed)
            for seed in SEEDS
        ]
        if arguments.timed is not None:
            timed = run(arguments.timed / f"{name}-validation{arguments.validation}", data, method, SEEDS[0])
            for result in results[method]:
                result["seconds"] = timed["seconds"]
    first = results[arguments.methods[0]][0]
    common, rare = (row["train_count"] for row in sorted(first["per_class"], key=lambda row: -row["train_count"]))
    machine = first["machine"]
    caption = (
        f"{' : '.join(arguments.classes)}, {common} : {rare} training images (validation {arguments.validation}), "
        f"{first['n']} test images, {first['parameters']:,} parameters, seeds {', '.join(map(str, SEEDS))} "
        f"(subset, weights and order), mean ± standard deviation, {machine['threads']} CPU threads, "
        f"{machine['precision']}, torch {machine['versions']['torch']}."
    )
    folder = Path(__file__).parent / "results"
    (folder / f"{arguments.name}.md").write_text(f"{caption}\n\n{table(results)}\n")
    (folder / f"{arguments.name}.json").write_text(json.dumps(results, indent=1) + "\n")
    title = f"Same ranking, other threshold: {arguments.classes[0]} {common} : {arguments.classes[1]} {rare}"
    save_figure(picture(results, title), folder / f"{arguments.name}.png")
    print(caption, table(results), sep="\n\n")


if __name__ == "__main__":
    main()
