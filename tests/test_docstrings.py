"""What is read from the docstring of a method."""

import pytest

from imbalance_cli.docstrings import describe

WHOLE = """Does this and that (Lin et al., 2017).

    When: always, and
    on Sundays.

        loss = -(1 - p_y)^gamma log p_y
          = less

    More words (after Rust and Hocking, 2023, Table 2).

        rest = 1

    Also known as: other (gamma = 1, as usual), another,
    third one.

    The end. Raises SettingError for nothing.
    """


def test_each_part_is_found():
    found = describe(WHOLE)
    assert found.summary == "Does this and that (Lin et al., 2017)."
    assert found.when == "always, and on Sundays."
    assert found.formula == ["loss = -(1 - p_y)^gamma log p_y", "  = less", "rest = 1"]
    assert found.explanation == ["More words (after Rust and Hocking, 2023, Table 2).", "The end."]
    assert found.also_known_as == {"other": "gamma = 1, as usual", "another": "", "third one": ""}
    assert found.papers == ["Lin et al., 2017", "Rust and Hocking, 2023"]


@pytest.mark.parametrize("text", ["", "One line.", "One line.\n\n    And more.\n    "])
def test_a_plain_docstring_has_a_summary_and_an_explanation_at_most(text):
    found = describe(text)
    assert found.summary == text.partition("\n")[0]
    assert found.explanation == (["And more."] if "more" in text else [])
    assert (found.when, found.formula, found.also_known_as, found.papers) == ("", [], {}, [])


@pytest.mark.parametrize(
    ("text", "papers"),
    [
        ("One (van Rijsbergen, 1979; also f1).", ["van Rijsbergen, 1979"]),
        (
            "One (Menon et al., 2021; Ren et al., 2020), (Menon et al., 2021).",
            ["Menon et al., 2021", "Ren et al., 2020"],
        ),
        ("One (Tomek, 1976b) of 10 (out of 20, 1976 or so).", ["Tomek, 1976b"]),
        ("Not in brackets: Doe, 2024.", []),
        (
            "One (Shwartz-Ziv et al., 2023; Özgür and Şahin, 2020).",
            ["Shwartz-Ziv et al., 2023", "Özgür and Şahin, 2020"],
        ),
    ],
)
def test_papers_are_cited_in_brackets(text, papers):
    assert describe(text).papers == papers
