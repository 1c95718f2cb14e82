"""Runs of the command in forks of one warm process, so that hundreds of them are affordable.

Importing torch and matplotlib takes seconds. The server imports them once, carries out one command, and then forks for
each command that it is asked for. A child stops itself before it begins, so that strace can be attached first.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn


@dataclass(frozen=True)
class Child:
    """A command in a fork of the server, stopped before its first line."""

    pid: int
    stdout: Path
    stderr: Path
    server: "ForkServer"

    def go(self) -> None:
        """Let it run."""
        os.kill(self.pid, signal.SIGCONT)

    def wait(self) -> int:
        """Its exit code, or minus the signal that ended it."""
        return self.server.ask({"wait": self.pid})


class ForkServer:
    """The test's side of the server."""

    def __init__(self, folder: Path, *warm_up: object) -> None:
        """folder: where the output of the commands goes; warm_up: a command that imports what the others will use."""
        self.folder, self.number = folder, 0
        words = [sys.executable, __file__, *map(str, warm_up)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with open(folder / "server.err", "w") as errors:
            self.process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )

    def ask(self, question: dict[str, object]) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, *args: object) -> Child:
        """`imbalance ARGS`, stopped."""
        self.number += 1
        out, err = (self.folder / f"{self.number}.{kind}" for kind in ("out", "err"))
        pid = self.ask({"args": list(map(str, args)), "out": str(out), "err": str(err)})
        return Child(pid, out, err, self)

    def run(self, *args: object) -> tuple[int, str]:
        """The exit code of `imbalance ARGS`, and what it said on stderr."""
        child = self.start(*args)
        child.go()
        return child.wait(), child.stderr.read_text()

    def close(self) -> None:
        self.process.communicate()


def serve(warm_up: list[str]) -> None:
    """The server's side: a line of JSON for each question, a line with a number for each answer."""
    questions, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    redirect(os.devnull, os.devnull)
    if code := command(warm_up):
        raise SystemExit(code)
    for line in questions:
        question = json.loads(line)
        if "wait" in question:
            answer = os.waitstatus_to_exitcode(os.waitpid(question["wait"], 0)[1])
        else:
            answer = os.fork()
            if not answer:
                become(**question)
            os.waitpid(answer, os.WUNTRACED)
        print(answer, file=answers, flush=True)


def become(args: list[str], out: str, err: str) -> NoReturn:
    redirect(out, err)
    os.closerange(3, 100)  # the server's pipes
    os.kill(os.getpid(), signal.SIGSTOP)
    code = 1
    try:
        code = command(args)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def command(args: list[str]) -> int:
    from imbalance_cli.cli import main

    sys.argv = ["imbalance", *args]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def redirect(out: str, err: str) -> None:
    for descriptor, path in ((0, os.devnull), (1, out), (2, err)):
        handle = os.open(path, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(handle, descriptor)
        os.close(handle)


if __name__ == "__main__":
    serve(sys.argv[1:])
