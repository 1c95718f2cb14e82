"""The report of one run: what it was trained on, what its method did, and what came of it, as one HTML page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imbalance_cli import checkpoints, plots, runs, threshold_plots
from imbalance_cli.catalogue import KINDS, find_entry
from imbalance_cli.checkpoints import Checkpoint
from imbalance_cli.config import REGISTRIES, Experiment, resolve
from imbalance_cli.data.folder import TEST_SHARE
from imbalance_cli.drawing import MOST_CURVES, shared_look
from imbalance_cli.errors import CheckpointError, DamageError
from imbalance_cli.experiment_data import Notice, experiment_of
from imbalance_cli.files import read_file
from imbalance_cli.metrics import class_score, softmax
from imbalance_cli.pages.class_effects import class_effects, shares_meant
from imbalance_cli.pages.page import png, render, svg
from imbalance_cli.pages.run_pictures import images_of, mistakes, samples
from imbalance_cli.pages.run_scores import outline, threshold_panel
from imbalance_cli.predictions import Predictions, read_predictions
from imbalance_cli.registry import is_own, short_name
from imbalance_cli.run_verdict import auroc_words, verdict, worst_confusions
from imbalance_cli.studies.scores import POINT_NAMES, POINTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 20  # of a table that need not name every class: of more classes the commonest and the rarest
MOST_CELLS = 20  # classes of a confusion matrix with numbers; a larger one is a picture
_CONFUSIONS = 12
_BINS = 20


def run_page(place: Path, *, data_dir: Path | None, notice: Notice) -> str:
    """The report of the finished run `place`, its folder or its checkpoint, as HTML.

    data_dir: where downloaded and decoded images are, if not where the run had them. Raises CheckpointError.
    """
    checkpoint, folder = checkpoints.load(place), run_folder(place)
    runs.require_run(folder)
    if runs.RESULTS not in runs.entries(folder):
        raise CheckpointError(f"{folder} holds no {runs.RESULTS}; finish its run: imbalance train --resume {folder}")
    results, sessions = runs.read_results(folder), runs.read_sessions(folder)
    if results["classes"] != checkpoint.class_names:
        raise CheckpointError(f"{folder}: {runs.RESULTS} and {runs.CHECKPOINT} have other classes; train the run again")
    answers, without_answers = _answers(folder, results, notice)
    images = images_of(checkpoint, data_dir, notice)
    experiment, rarest = experiment_of(checkpoint), checkpoint.minority
    chosen = "prior" if results["operating_points"]["validation"] is None else "validation"
    effects = class_effects(checkpoint)
    commonest_first = sorted(range(len(checkpoint.counts)), key=lambda label: -checkpoint.counts[label])
    if len(commonest_first) <= MOST_ROWS:
        shown_classes, gap = list(range(len(commonest_first))), 0
    else:
        ends = commonest_first[: MOST_ROWS // 2] + commonest_first[-MOST_ROWS // 2 :]
        shown_classes, gap = ends, len(commonest_first) - len(ends)
    return render(
        "run.html",
        title=Path(results["dataset"]).name,
        results=results,
        verdict=verdict(results).replace(" %", "\N{NO-BREAK SPACE}%"),
        auroc_words=auroc_words(results),
        points={name: point for name, point in results["operating_points"].items() if point is not None},
        point_names=POINT_NAMES,
        phrases=POINTS,
        chosen=chosen,
        rarest=rarest,
        commonest=max(range(len(checkpoint.counts)), key=lambda label: (checkpoint.counts[label], -label)),
        classes=_classes(checkpoint, results),
        shown_classes=shown_classes,
        gap=gap,
        facts=_facts(checkpoint, experiment) | {"drawn": images.drawn},
        experiment=experiment,
        methods=_methods(experiment),
        effects=effects,
        meant=shares_meant(checkpoint),
        remarks=images.remarks,
        samples={} if images.train is None else samples(images.train, shown_classes),
        curves=_fit(plots.learning_curves(checkpoint.progress.get("log", []), checkpoint.class_names), 5.0, 5.4),
        matrices=_matrices(results),
        confusions=_confusions(results, chosen),
        without_answers=without_answers,
        **_of_answers(answers, checkpoint, results),
        mistakes=[] if answers is None else mistakes(answers, rarest, _offsets(results, chosen), images.test),
        config=read_file(folder / runs.CONFIG).decode("utf-8", "surrogateescape"),
        command=_typed(sessions[0].get("command", [])),
        environment=_environment(sessions, results),
        folder=folder.resolve().name,
    )


def run_folder(place: Path) -> Path:
    """The folder of the run whose folder or checkpoint `place` is."""
    return place if place.is_dir() else place.parent


def _answers(folder: Path, results: Mapping[str, Any], notice: Notice) -> tuple[Predictions | None, str]:
    """The run's predictions, or none and why."""
    try:
        answers = read_predictions(folder)
    except DamageError:
        raise
    except CheckpointError as error:
        notice(f"no curves, no threshold and no mistakes: {error}")
        return None, str(error)
    if list(answers.class_names) != results["classes"] or len(answers.items) != results["n"]:
        raise CheckpointError(f"{folder}: {runs.PREDICTIONS} is not of the run that {runs.RESULTS} is of")
    return answers, ""


def _offsets(results: Mapping[str, Any], point: str) -> NDArray[np.float64]:
    return np.asarray(results["operating_points"][point]["offsets"], np.float64)


def _of_answers(answers: Predictions | None, checkpoint: Checkpoint, results: Mapping[str, Any]) -> dict[str, Any]:
    """Curves, reliability, scores and threshold; None where there are no predictions or not two classes."""
    if answers is None:
        return dict.fromkeys(("roc", "precision_recall", "reliability", "panel", "score_shapes"))
    names, counts, rarest = checkpoint.class_names, checkpoint.counts, checkpoint.minority
    labels, logits = answers.labels, answers.logits
    probabilities = softmax(logits)
    points = {name: point for name, point in results["operating_points"].items() if point is not None}
    roc = threshold_plots.roc_curve(labels, logits, names, counts, points)
    precision_recall = threshold_plots.precision_recall(labels, logits, names, counts, points)
    panel = shapes = None
    if len(names) == 2:
        offsets = {name: np.asarray(point["offsets"]) for name, point in points.items()}
        panel = threshold_panel(
            labels == rarest,
            class_score(logits, rarest),
            {name: float(each[1 - rarest] - each[rarest]) for name, each in offsets.items()},
            ties_found=rarest == 1,  # as in `decide`, where a tie goes to the last class
        )
    else:
        shapes = _score_shapes(labels, probabilities)
    # Curves are square, above a line for each in the legend, for guessing and, of two classes, for operating points.
    height = 4.9 + 0.19 * min(len(names), MOST_CURVES)
    return {
        "roc": _fit(roc, 4.6, height),
        "precision_recall": _fit(precision_recall, 4.6, height),
        "reliability": _fit(plots.reliability(probabilities.max(1), probabilities.argmax(1) == labels), 4.8, 4.8),
        "panel": panel,
        "score_shapes": shapes,
    }


@shared_look()
def _fit(figure: Figure, width: float, height: float) -> str:
    """`figure` as an inline SVG that a phone shows without shrinking its letters much; sizes in inches."""
    figure.set_size_inches(width, height)
    return svg(figure)


def _classes(checkpoint: Checkpoint, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each class: images of each kind, and what became of it at every operating point."""
    held = [len(items) for items in checkpoint.manifest["items"].values()]
    rows = []
    for label, row in enumerate(results["per_class"]):
        at = {
            name: {
                "recall": point["recalls"][label],
                "interval": point["recall_intervals"][label],
                "precision": point["precisions"][label],
                "f1": point["f1s"][label],
            }
            for name, point in results["operating_points"].items()
            if point is not None
        }
        train = checkpoint.counts[label]
        counts = {"train": train, "validation": held[label] - train, "test": row["support"]}
        rows.append({"name": row["name"], **counts, "at": at})
    return rows


def _facts(checkpoint: Checkpoint, experiment: Experiment) -> dict[str, Any]:
    manifest = checkpoint.manifest
    counts = [len(items) for items in manifest["items"].values()]
    return {
        "dataset": manifest["dataset"],
        "profile": manifest["profile"],
        "protocol": manifest["protocol"],
        "seed": manifest["seed"],
        "train": sum(checkpoint.counts),
        "validation": sum(counts) - sum(checkpoint.counts),
        "smallest": min(counts),
        "largest": max(counts),
        "size": checkpoint.image_size,
        "test_ratio": manifest["test_ratio"],
        "test_share": TEST_SHARE,
        "split_seed": experiment.data.split_seed,
    }


def _methods(experiment: Experiment) -> list[dict[str, Any]]:
    """The chosen loss, and what else was chosen that is not the default, each as the catalogue describes it."""
    default, chosen = resolve(None)[0], []
    for setting in ("loss", *(setting for setting in REGISTRIES if setting != "loss")):
        choice = getattr(experiment, setting)
        if setting != "loss" and choice == getattr(default, setting):
            continue
        options = {name: value for name, value in choice.items() if name not in ("name", "sha256")}
        found: dict[str, Any] = {"summary": "a method of the user's own", "when": ""}
        if not is_own(choice["name"]):
            kind = next(kind for kind in KINDS.values() if setting in kind.settings)
            entry = find_entry(kind, choice["name"])
            found = {"summary": entry.summary, "when": entry.when}
        chosen.append({"setting": setting, "name": short_name(choice["name"]), "options": options} | found)
    return chosen


def _matrices(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The confusion matrix of each operating point: rows of counts and shares, or of many classes a picture."""
    matrices = []
    for name, point in results["operating_points"].items():
        if point is None:
            continue
        matrix = np.asarray(point["confusion_matrix"])
        totals = matrix.sum(1, keepdims=True)
        shares = matrix / np.maximum(totals, 1)
        each: dict[str, Any] = {"name": name, "balanced": point["balanced_accuracy"], "accuracy": point["accuracy"]}
        each |= {"threshold": point.get("threshold"), "tau": point.get("tau"), "rows": [], "picture": None}
        if len(matrix) <= MOST_CELLS:
            each["rows"] = [
                [{"count": count, "share": share} for count, share in zip(counts, row, strict=True)]
                for counts, row in zip(matrix.tolist(), shares.tolist(), strict=True)
            ]
        else:
            order = np.argsort([-row["train_count"] for row in results["per_class"]], kind="stable")
            each["picture"] = _heat(shares[np.ix_(order, order)])
        matrices.append(each)
    return matrices


def _heat(shares: NDArray[np.float64]) -> str:
    """Shares [classes, classes] as the address of a picture that is the more opaque the larger the share."""
    from PIL import Image

    pixels = np.zeros((*shares.shape, 4), np.uint8)
    pixels[..., :3] = (0x1F, 0x7F, 0xD6)  # between the accents of the light and the dark page
    pixels[..., 3] = np.round(255 * np.sqrt(shares))  # the square root shows also rare confusions
    return png(Image.fromarray(pixels))


def _confusions(results: Mapping[str, Any], point: str) -> list[dict[str, Any]]:
    """The worst confusions of more than two classes; of two the matrix says it all."""
    matrix = results["operating_points"][point]["confusion_matrix"]
    return worst_confusions(results, matrix, _CONFUSIONS) if len(matrix) > 2 else []


def _score_shapes(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> list[dict[str, Any]]:
    """For each class a histogram of the probability that its images got for it, and the median."""
    shapes = []
    for label in range(probabilities.shape[1]):
        own = probabilities[labels == label, label]
        counts, _ = np.histogram(own, np.linspace(0, 1, _BINS + 1))
        shapes.append(
            {"path": outline(counts / max(1, counts.max())), "median": float(np.median(own)) if len(own) else None}
        )
    return shapes


def _typed(arguments: Sequence[str]) -> str:
    """The command line of a session; nothing if the run was started from Python."""
    started = arguments and Path(arguments[0]).name in ("imbalance", "imbalance.exe", "__main__.py")
    return shlex.join(["imbalance", *arguments[1:]]) if started else ""


def _environment(sessions: Sequence[Mapping[str, Any]], results: Mapping[str, Any]) -> dict[str, str]:
    """What the numbers may depend on beside the configuration, in words."""
    last = sessions[-1]
    seconds = [session["seconds"] for session in sessions if "seconds" in session]
    values = {
        "versions": ", ".join(f"{name} {number}" for name, number in last.get("versions", {}).items()) or None,
        "Python": last.get("python"),
        "system": last.get("platform"),
        "processor": last.get("processor"),
        "device": last.get("accelerator") or last.get("device"),
        "precision": last.get("precision"),
        "threads": last.get("threads"),
        "commit": last.get("git_commit"),
        "parameters": f"{results['parameters']:,}" if "parameters" in results else None,
        "epochs, steps": f"{results['epochs']:,}, {results['steps']:,}" if "steps" in results else None,
        "seconds": f"{sum(seconds):,.0f}" if len(seconds) == len(sessions) else None,
        "sessions": len(sessions),
        "peak memory": f"{last['peak_memory_mib']:,.0f} MiB" if "peak_memory_mib" in last else None,
    }
    return {name: str(value) for name, value in values.items() if value is not None}
