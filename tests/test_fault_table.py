"""Every case of FAULTS.md is covered by a test, or says why it cannot come up."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
EXIT_CODES = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "129", "130", "143", "137, then 0"}


def table() -> list[list[str]]:
    """The rows of FAULTS.md: id, command, case, exit code, and `test` or a reason."""
    lines = (HERE / "FAULTS.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    return rows[1:]


def marked_cases() -> Iterator[str]:
    """The cases that the tests say they cover, by `pytest.mark.fault`."""
    for path in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
                yield from map(ast.literal_eval, node.args)


def test_the_table_lists_each_case_once() -> None:
    rows = table()
    assert all(len(row) == 5 and all(row) for row in rows)
    assert len(rows) == 175
    assert [name for name, count in Counter(row[0] for row in rows).items() if count > 1] == []
    assert {row[3] for row in rows} <= EXIT_CODES


def test_every_case_has_a_test_or_a_reason() -> None:
    marked = set(marked_cases())
    assert [name for name, *_, last in table() if last == "test" and name not in marked] == []
    assert [name for name, *_, last in table() if last == "TODO"] == []


def test_a_case_with_a_reason_has_no_test() -> None:
    marked = set(marked_cases())
    assert [name for name, *_, last in table() if last != "test" and name in marked] == []


def test_no_test_covers_an_unknown_case() -> None:
    assert set(marked_cases()) - {name for name, *_ in table()} == set()
