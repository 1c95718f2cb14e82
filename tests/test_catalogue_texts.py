"""What the page of every method has to say, whoever wrote its docstring."""

import re

import pytest

from imbalance_cli.catalogue import KINDS, find_entry
from imbalance_cli.papers import PAPERS
from imbalance_cli.registry import as_said

METHODS = [(kind.name, name) for kind in KINDS.values() for name in kind.registry.names() if name != "none"]
WITH_FORMULA = ("loss", "class_weights", "sampler", "mixing", "schedule", "refit")


def entry_of(kind, name):
    return find_entry(KINDS[kind], name)


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_every_method_says_when_to_use_it(kind, name):
    assert entry_of(kind, name).description.when.endswith(".")


@pytest.mark.parametrize(("kind", "name"), [each for each in METHODS if each[0] in WITH_FORMULA])
def test_every_method_has_its_formula(kind, name):
    assert entry_of(kind, name).description.formula


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_formulas_fit_a_terminal(kind, name):
    formula = entry_of(kind, name).description.formula
    assert all(line.isascii() and len(line) <= 76 for line in formula)


def test_every_paper_that_is_cited_has_its_title_and_no_other_is_kept():
    cited = {paper for kind, name in METHODS for paper in entry_of(kind, name).description.papers}
    assert cited == set(PAPERS)


def test_papers_are_in_order_and_their_links_are_lasting_ones():
    assert list(PAPERS) == sorted(PAPERS, key=str.casefold)
    lasting = r"https://(arxiv\.org/abs/\d{4}\.\d{4,5}|doi\.org/10\.\S+|openreview\.net/forum\?id=\w+|proceedings\S+|(www\.)?jmlr\S+)"
    assert all(paper.title and re.fullmatch(f"({lasting})?", paper.link) for paper in PAPERS.values())


@pytest.mark.parametrize("kind", KINDS)
def test_no_name_stands_for_two_methods_of_a_kind(kind):
    names = [*KINDS[kind].registry.names()]
    for name in KINDS[kind].registry.names():
        names += map(as_said, entry_of(kind, name).description.also_known_as)
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_pages_are_in_plain_words(kind, name):
    said = entry_of(kind, name).description
    text = " ".join([said.summary, said.when, *said.explanation])
    assert not re.search(r"\b(tensor|float32|float64|callback|caller|whoever|argument|kwarg|generator)s?\b", text)


@pytest.mark.parametrize("name", KINDS["threshold_by"].registry.names())
def test_a_criterion_knows_no_features_so_no_x_stands_in_its_formula(name):
    assert "x" not in entry_of("threshold_by", name).symbols


@pytest.mark.parametrize("name", KINDS["schedule"].registry.names())
def test_what_a_schedule_comes_to_is_no_option_of_it(name):
    entry = entry_of("schedule", name)
    results = {line.partition(" = ")[0] for line in entry.description.formula}
    assert results == {"multiplier"} and "multiplier" not in {option.name for option in entry.options}


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_first_lines_point_at_nothing_that_was_not_said(kind, name):
    assert not re.search(r"than that\b|that share|so many|this share", entry_of(kind, name).summary)
