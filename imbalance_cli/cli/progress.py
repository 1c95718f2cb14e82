"""Progress on stderr: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from imbalance_cli.data.download import Notice
from imbalance_cli.errors import printable

if TYPE_CHECKING:
    from imbalance_cli.cli.output import Output
    from imbalance_cli.data import download
    from imbalance_cli.training import Progress

BAR_WIDTH = 10  # of a training; the numbers beside it say more
TIME_WIDTH = 8  # 10:00:00


@contextmanager
def download_progress(output: Output) -> Iterator[Callable[[Notice | download.Progress], None]]:
    """A `report` for a download: size, speed and time left."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    live = output.live
    columns = (BarColumn(20), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output.stderr, disable=not live, transient=True) as bar:
        task = bar.add_task("download", total=None)
        tenth = 0

        def report(event: Notice | download.Progress) -> None:
            nonlocal tenth
            if isinstance(event, Notice):
                output.notice(event.text)
                return
            bar.update(task, completed=event.done, total=event.total)
            if not live and event.total and event.done * 10 // event.total > tenth:
                tenth = event.done * 10 // event.total
                output.notice(f"{tenth * 10} % of {event.total / 1e6:.1f} MB")

        yield report


def show_training(
    steps: Iterable[Progress],
    output: Output,
    *,
    epochs: int,
    steps_per_epoch: int,
    class_names: tuple[str, ...],
) -> Generator[Progress, None, None]:
    """Pass on the progress of a training, shown as a bar in a terminal and as a line an epoch elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    live = output.live
    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(BAR_WIDTH),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=output.stderr, disable=not live, transient=True) as bar:
        task = bar.add_task("", total=epochs)
        for progress in steps:
            bar.update(task, completed=progress.epoch + progress.step / steps_per_epoch)
            if progress.step == 0 and progress.log:
                parts = describe_epoch(progress.log[-1], class_names)
                beside = len(f"epoch {epochs}/{epochs}") + BAR_WIDTH + TIME_WIDTH + 3
                bar.update(task, description=_fitting(parts, output.stderr.width - beside))
                if not live:
                    output.notice(f"epoch {progress.epoch}/{epochs}  {'  '.join(parts)}")
            yield progress


def describe_batches(bounds: list[tuple[int, int]]) -> str:
    """What an epoch with batches of these bounds is made of."""
    images, sizes = bounds[-1][1], sorted({last - first for first, last in bounds})
    if len(bounds) == 1:
        return f"an epoch: batch of {images} (all data)"
    return f"an epoch: {images} images in {len(bounds)} batches of {' or '.join(map(str, sizes))}"


def describe_epoch(line: dict[str, Any], class_names: tuple[str, ...]) -> list[str]:
    """The main numbers of a log line, the most telling first."""
    loss = f"loss {line['train_loss']:.4f}"
    if "validation_recall" not in line:
        return [loss]
    recalls = [recall for recall in line["validation_recall"] if recall is not None]
    if len(class_names) == 2 and len(recalls) == 2:
        named = zip(class_names, recalls, strict=True)
        recall = " ".join(f"{printable(name)[:10]} {recall:.0%}" for name, recall in named)
    else:
        recall = f"mean {sum(recalls) / len(recalls):.0%} worst {min(recalls):.0%}"
    return [loss, f"recall {recall}", f"validation loss {line['validation_loss']:.4f}"]


def _fitting(parts: list[str], room: int) -> str:
    """The first of `parts`, as many as there is room for."""
    from rich.cells import cell_len

    while parts and cell_len("  ".join(parts)) > room:
        parts = parts[:-1]
    return "  ".join(parts)
