"""`imbalance refit`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from imbalance_cli.cli.output import Output
    from imbalance_cli.config import Setting


def refit(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint.pt, or the folder of a run.")],
    method: Annotated[
        list[str] | None,
        typer.Option(help="Listed by `imbalance methods refit`; by default crt. Several make a table."),
    ] = None,
    resample: Annotated[str | None, typer.Option(help="Listed by `imbalance methods resample`.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option, as in refit.epochs=20.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Where the run's images are, if not where they were.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Where downloads and decoded images are kept.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The new run's folder; by default RUN-METHOD.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notices.")] = False,
) -> None:
    """Give a trained model another classifier, in seconds.

    It decides on the same features. Each is a run of its own; the one that it comes from stays as it is.
    """
    from imbalance_cli.cli.output import Output
    from imbalance_cli.cli.stopping import naming_the_run
    from imbalance_cli.config import Setting, parse_assignment, resolve
    from imbalance_cli.errors import SettingError
    from imbalance_cli.studies.file import absolute

    methods = list(dict.fromkeys(method or ["crt"]))
    if output is not None and len(methods) > 1:
        raise SettingError("--output is the folder of one run; give one --method, or leave it out")
    options = [Setting(("resample",), resample, "--resample")] if resample else []
    options += [parse_assignment(text) for text in settings or ()]
    for option in options:
        if option.path[0] not in ("refit", "resample"):
            raise SettingError(
                f"{option.source}: all but refit and resample stays as it was trained; "
                "change that with: imbalance train RUN/config.yaml"
            )
    options.append(Setting(("device",), device, "--device"))
    if dataset is not None:
        options.append(Setting(("data", "dataset"), dataset, "--dataset"))
    if data_dir is not None:
        options.append(Setting(("data", "data_dir"), str(data_dir), "--data-dir"))
    options = list(absolute(options))
    said = {name: [Setting(("refit",), name, "--method"), *options] for name in methods}
    for each in said.values():  # every mistake is found before torch is imported
        resolve(None, each)
    with naming_the_run(checkpoint):
        _refit(checkpoint, said, Output(as_json=as_json, quiet=quiet), output)


def _refit(place: Path, said: dict[str, list[Setting]], out: Output, output: Path | None) -> None:
    """Refit the model at `place` once for each of `said`, what the user says of a method, by the method's name."""
    from imbalance_cli import checkpoints, experiments, runs
    from imbalance_cli.config import Setting, resolve
    from imbalance_cli.evaluation import evaluate
    from imbalance_cli.files import make_folder
    from imbalance_cli.registry import short_name
    from imbalance_cli.reports import comparison_report, next_command, results_report

    if output is not None:
        runs.require_unlocked(output)
        runs.check_folder(output, overwrite=False)
    checkpoint = checkpoints.load(place)
    origin = place if os.path.isdir(place) else place.parent
    if origin.name in ("", ".."):  # the new folder is named after it
        origin = origin.resolve()
    own_refit = checkpoint.config["refit"]["name"]
    own = [Setting((name,), value, str(place)) for name, value in checkpoint.config.items()]
    wanted = {name: resolve(None, [*own, *more]) for name, more in said.items()}
    before = "as trained" if own_refit == "none" else f"as refitted by {short_name(own_refit)}"
    found: dict[str, dict[str, Any]] = {}
    refitted = experiments.refitted(checkpoint, [experiment for experiment, _ in wanted.values()], out.notice)
    for run, (name, (experiment, sources)) in zip(refitted, wanted.items(), strict=True):
        if len(wanted) > 1 and not found:
            found[before] = evaluate(checkpoint, run.prepared.test, device=experiment.device)[0]
        parts = [origin.name, *(short_name(each) for each in (name, experiment.resample["name"]) if each != "none")]
        folder = output or runs.free_folder(origin.parent, "-".join(parts))
        make_folder(folder)
        with runs.lock(folder, out.notice):
            runs.check_folder(folder, overwrite=False)  # nobody has started a run there meanwhile
            run.start(folder, sources)
            results = run.finish()
        out.notice(f"run folder: {folder}")
        found[name] = results | {"run": str(folder), "next": next_command(experiment, folder)}
    if len(wanted) > 1:
        out.result(comparison_report(found), found)
    else:
        (results,) = found.values()
        out.result(results_report(results, results["next"]), results)
