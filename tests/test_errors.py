"""What the user reads of an error is lines that a terminal can show, whatever was in the file or flag."""

import errno

import pytest

from imbalance_cli.errors import LONGEST_LINE, SettingError, UserError, is_out_of_memory, one_line


def test_a_message_stays_as_it_is() -> None:
    assert str(UserError("naïve café: found 3, expected 'x' … 😀")) == "naïve café: found 3, expected 'x' … 😀"


def test_several_problems_are_several_lines() -> None:
    assert str(SettingError("a is wrong", "b is wrong")) == "a is wrong\nb is wrong"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\u2028\u202e", r"\u2028\u202e"),
        ("\udcff", r"\udcff"),
        ("\0", r"\x00"),
    ],
)
def test_a_name_cannot_break_the_line_or_steer_the_terminal(name: str, shown: str) -> None:
    assert str(UserError(f"no class {name} here")) == f"no class {shown} here"


def test_of_a_very_long_line_start_and_end_are_kept() -> None:
    message = one_line(f"x.yaml:3: {'9' * 100_000} is out of range")
    assert len(message) <= LONGEST_LINE
    assert message.startswith("x.yaml:3: 999") and message.endswith("999 is out of range")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: out of memory"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_memory_runs_out_in_many_words(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_out_of_memory(OSError(errno.ENOSPC, "No space left on device"))
