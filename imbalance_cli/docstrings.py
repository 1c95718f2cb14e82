"""What a text in the form of a method's docstring says: what the method does, its formula, when to use it."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from textwrap import dedent

WHEN = "When: "
ALSO_KNOWN_AS = "Also known as: "

_BRACKETS = re.compile(r"\(([^()]*)\)")
_CITATION = re.compile(r"(?:van |von |de )?[^\W\d_][\w-]*(?: et al\.| and [^\W\d_][\w-]*)?, (?:18|19|20)\d\d[a-z]?\b")


@dataclass(frozen=True)
class Description:
    """The parts of such a text, each empty where it is left out.

    formula: its lines. also_known_as: other names, each with what is said of it. papers: as they are cited.
    """

    summary: str
    when: str
    formula: list[str]
    explanation: list[str]
    also_known_as: dict[str, str]
    papers: list[str]


def describe(docstring: str) -> Description:
    """The parts of `docstring`: its first line, and paragraphs of which those that are indented are formulas."""
    summary, _, rest = inspect.cleandoc(docstring).partition("\n")
    when, formula, explanation, names = "", [], [], {}
    for paragraph in re.split(r"\n\s*\n", rest.strip("\n")):
        # What a docstring says of errors is said last, and to who calls the function.
        text = " ".join(paragraph.split()).partition("Raises ")[0].strip()
        if paragraph.startswith("    "):
            formula += dedent(paragraph).rstrip().splitlines()
        elif text.startswith(WHEN):
            when = text.removeprefix(WHEN)
        elif text.startswith(ALSO_KNOWN_AS):
            names = _names(text.removeprefix(ALSO_KNOWN_AS).removesuffix("."))
        elif text:
            explanation.append(text)
    return Description(summary, when, formula, explanation, names, _papers(" ".join(docstring.split())))


def _names(text: str) -> dict[str, str]:
    """`balanced_softmax (tau = 1), another` as names, each with what stands in brackets behind it."""
    parts = [part.partition(" (") for part in re.split(r",\s+(?![^()]*\))", text)]
    return {name.strip(): note.removesuffix(")") for name, _, note in parts}


def _papers(text: str) -> list[str]:
    """What is cited in brackets, each once."""
    return list(dict.fromkeys(paper for brackets in _BRACKETS.findall(text) for paper in _CITATION.findall(brackets)))
