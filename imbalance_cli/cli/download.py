"""`imbalance download`."""

from pathlib import Path
from typing import Annotated

import typer


def download(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="cifar10, cifar100; by default cifar10.")
    ] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Where to fetch from instead of the official site."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where data are kept; by default IMBALANCE_DATA, else the user's cache folder."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds without a byte after which a connection is given up.")
    ] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and notices.")] = False,
) -> None:
    """Fetch CIFAR-10 or CIFAR-100, and verify what came.

    A download that was stopped goes on where it was; the archive is never unpacked.
    """
    from imbalance_cli.cli.output import Output
    from imbalance_cli.cli.progress import download_progress
    from imbalance_cli.data.cifar import archive_of
    from imbalance_cli.data.cifar import download as fetch
    from imbalance_cli.data.sources import data_folder

    output = Output(as_json=as_json, quiet=quiet)
    folder = data_folder(data_dir)
    for name in names or ():
        archive_of(name)  # a wrong name is found before the first download
    files = {}
    for name in names or ["cifar10"]:
        with download_progress(output) as report:
            files[name] = str(fetch(name, folder, mirrors=mirror or (), timeout=timeout, report=report))
    output.result("\n".join(files.values()), {"files": files})
