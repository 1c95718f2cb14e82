"""`imbalance evaluate`."""

from pathlib import Path
from typing import Annotated, Any

import typer


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint.pt, or the folder of a run.")],
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", "-d", help="Other images of the same classes; by default the run's."),
    ] = None,
    split: Annotated[str, typer.Option(help="test, train, validation, or with -d/--dataset all.")] = "test",
    threshold: Annotated[
        str | None, typer.Option(help="argmax (default), prior, validation, or a probability such as 0.3.")
    ] = None,
    prior: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SHARES",
            help="Correct for images in which the classes occur so: uniform, train, the minority's share such as "
            "0.01, or CLASS=SHARE for every class.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time; the results do not depend on it.")] = 500,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Where downloads and decoded images are kept.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Folders: list unreadable images and go on.")] = False,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Folders: accept an image that occurs twice.")
    ] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Folders: accept a class without images.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder for results.json, predictions.csv and the figures.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files in that folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notices.")] = False,
) -> None:
    """Show what a trained model is worth at every operating point.

    With --output draw it too.
    """
    from imbalance_cli.cli.output import Output
    from imbalance_cli.cli.stopping import naming_the_run
    from imbalance_cli.config import Setting, resolve

    out = Output(as_json=as_json, quiet=quiet)
    resolve(None, [Setting(("device",), device, "--device")])

    from imbalance_cli import checkpoints, experiment_data, predictions, runs
    from imbalance_cli.evaluation import evaluate as evaluate_model
    from imbalance_cli.files import make_folder, refuse_existing
    from imbalance_cli.reports import next_command, results_report

    loaded = checkpoints.load(checkpoint)
    if output is not None:
        from imbalance_cli.figures import draw_evaluation, evaluation_files

        files = (output / runs.RESULTS, output / runs.PREDICTIONS, *evaluation_files(output))
        refuse_existing(*files, overwrite=overwrite)
        make_folder(output)
    changes: dict[str, Any] = {"skip_bad": skip_bad, "allow_leak": allow_leak, "allow_empty": allow_empty}
    changes = {name: value for name, value in changes.items() if value}
    if data_dir is not None:
        changes["data_dir"] = str(data_dir)
    images, source = experiment_data.images_for(loaded, dataset, split, changes, out.notice)
    with naming_the_run(checkpoint):
        results, logits = evaluate_model(
            loaded, images, threshold=threshold, prior=prior or (), batch_size=batch_size, device=device
        )
    results = {"dataset": source, "split": split} | results
    if (present := results["classes_present"]) < len(loaded.class_names):
        absent = ", ".join(row["name"] for row in results["per_class"] if not row["support"])
        out.notice(
            f"warning: balanced accuracy over {present} of {len(loaded.class_names)} classes: no images of {absent}"
        )
    results["warnings"] = out.warnings
    if output is not None:
        runs.remove(output / runs.RESULTS)  # written the last, it says that the figures beside it are its own
        draw_evaluation(loaded, results, logits, images, output)
        answers = output / runs.PREDICTIONS
        predictions.write_predictions(answers, images.items, images.labels.numpy(), logits, loaded.class_names)
        runs.write_json(output / runs.RESULTS, results)
        out.notice(f"results and figures written to {output}")
    suggestion = next_command(experiment_data.experiment_of(loaded), checkpoint, drawn=output is not None)
    out.result(results_report(results, suggestion, prevalences=True), results | {"next": suggestion})
