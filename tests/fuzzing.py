"""Feeding a parser spoiled inputs: each is read or refused in one line, soon; the figures tell how it went."""

import gc
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from imbalance_cli.errors import LONGEST_LINE, UserError

SECONDS = 2.0  # of processor time for one input: what else the machine does is not the input's fault
LISTS_PROBLEMS = ("config", "command line")  # what says several lines, one for each wrong setting

Make = Callable[[Random], bytes]
Read = Callable[[bytes], object]


class TooSlow(BaseException):
    """One input took too long; no parser catches this."""


class Refused(Exception):
    """A parser refused an input otherwise than by raising UserError, with this message."""


def feed(parser: str, inputs: int, make: Make, read: Read, folder: Path) -> dict[str, Any]:
    """Read `inputs` inputs, each made by a generator of its own seed, and return the figures.

    Raises AssertionError for the first that is neither read nor refused as it should be, which is kept in `folder`.
    """
    _forget_peak()
    accepted, slowest, began = 0, 0.0, time.perf_counter()
    for number in range(inputs):
        seed = f"{parser} {number}"
        given = make(Random(seed))
        start, problem, cause = time.process_time(), "", None
        try:
            with _time_limit():
                read(given)
            accepted += 1
        except (UserError, Refused) as error:
            problem, cause = _bad_message(str(error), lists_problems=parser in LISTS_PROBLEMS), error
        except TooSlow as error:
            problem, cause = f"took more than {SECONDS} s", error
        except Exception as error:
            problem, cause = f"raised {type(error).__name__}: {str(error)[:300]!r}", error
        slowest = max(slowest, time.process_time() - start)
        if problem:
            (saved := folder / f"{parser}-{number}.input").write_bytes(given)
            raise AssertionError(f"seed {seed!r}: {problem}; the input is {saved}") from cause
    return {
        "parser": parser,
        "inputs": inputs,
        "accepted": accepted,
        "refused": inputs - accepted,
        "seconds": round(time.perf_counter() - began, 1),
        "slowest_seconds": round(slowest, 3),
        "peak_mib": _peak_mib(),
    }


def _bad_message(message: str, *, lists_problems: bool) -> str:
    """What is wrong with a message for the user; empty if nothing is."""
    found = message.split("\n")
    if not all(found) or len(found) > 1 and not lists_problems:
        return f"said {len(found)} lines: {message[:300]!r}"
    if any(len(line) > LONGEST_LINE for line in found):
        return f"said a line of {max(map(len, found))} characters: {message[:300]!r}"
    if not all(line.isprintable() for line in found):
        return f"said control characters: {message[:300]!r}"
    return f"advises on torch: {message!r}" if "weights_only" in message else ""


@contextmanager
def _time_limit() -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _forget_peak() -> None:
    """Make the system measure this process's peak memory anew, where it can."""
    gc.collect()
    if (counters := Path("/proc/self/clear_refs")).exists():
        counters.write_text("5")


def _peak_mib() -> float:
    if (status := Path("/proc/self/status")).exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return round(int(peak.split()[1]) / 2**10, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)
