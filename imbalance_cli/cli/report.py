"""`imbalance report`."""

from pathlib import Path
from typing import Annotated

import typer

_SUFFIXES = (".html", ".htm")


def report(
    place: Annotated[
        Path, typer.Argument(metavar="RUN_OR_STUDY", help="The folder of a finished run or study, or a file in it.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page (.html); by default report.html in that folder.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page if it exists.")] = False,
    data_dir: Annotated[Path | None, typer.Option(help="Where downloads and decoded images are kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notices.")] = False,
) -> None:
    """Write what a run or a study has shown as one web page.

    It is to read, print or send: it needs no network and no other file.
    Example: imbalance report runs/shapes-focal2-0.01-seed0
    """
    from rich.text import Text

    from imbalance_cli import runs
    from imbalance_cli.cli.output import Output
    from imbalance_cli.errors import CheckpointError, SettingError
    from imbalance_cli.files import refuse_existing, require_places, write_file
    from imbalance_cli.pages.study import study_page
    from imbalance_cli.studies.study import COMPARISON, STUDY

    out = Output(as_json=as_json, quiet=quiet)
    known = {COMPARISON, STUDY, *runs.FILES}
    if place.name in known and place.suffix != ".pt" and not place.is_dir():  # a checkpoint may lie anywhere
        place = place.parent
    folder = place if place.is_dir() else place.parent
    path = output or folder / "report.html"
    if path.suffix.lower() not in _SUFFIXES:
        given = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise SettingError(f"cannot write the page {path}: it has {given}; known: {', '.join(_SUFFIXES)}")
    is_study = not runs.entries(place).isdisjoint({COMPARISON, STUDY})
    if not is_study and not place.exists():
        raise CheckpointError(f"{place} does not exist; give the folder of a finished run or study")
    refuse_existing(path, overwrite=overwrite)
    require_places(path)
    if is_study:
        page = study_page(place)
    else:
        from imbalance_cli.pages.run import run_page

        page = run_page(place, data_dir=data_dir, notice=out.notice)
    write_file(path, page)
    out.result(Text(str(path), overflow="ignore", no_wrap=True), {"report": str(path)})
