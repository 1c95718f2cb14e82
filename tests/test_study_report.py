"""The page on a study is whole in one file, says what the comparison says, and works for any study."""

import json
import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import PROGRAM, Browser, browser
from command_line import complaint, imbalance
from small_studies import CONDITIONS, METHODS, comparison

from imbalance_cli.errors import CheckpointError, DamageError
from imbalance_cli.pages.study import page_of, study_page, sweeps

PLACE = Path("runs/the-classroom-study/study.yaml")
STUDY = """# A study, as resolved
title: The classroom study
base:
  epochs: 10
methods:
  cross-entropy: {}
  focal 2: {loss: focal, loss.gamma: 2}
  inverse weights: {class_weights: inverse}
  own: {loss: "mylosses.py:my_loss"}
  balanced sampler + mixup: {sampler: class_balanced, mixing: {name: mixup, alpha: 0.5}}
"""
ONE_OF_EVERYTHING = {"methods": ("cross-entropy",), "conditions": ("",), "seeds": 1, "validation": False}
TWO = ("ratio 0.1", "ratio 0.01")
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """What is in a page; open_tags is empty at the end if each was closed by its own kind."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open_tags.append(tag)
        self._note(attributes)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._note(attributes)

    def _note(self, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href", "action")]
        self.ids += [value or "" for name, value in attributes if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if {"td", "th"} & set(self.open_tags):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def html(study: str | None = STUDY, **changes: Any) -> str:
    return page_of(comparison(**changes), study, PLACE)


@cache
def ordinary() -> str:
    published = {"cross-entropy": {"ratio 0.01": {"value": 70.4, "source": "Cao et al., 2019", "chosen_on_test": True}}}
    failed = [{"condition": "ratio 0.01", "method": "focal 2", "seed": 3, "reason": "the loss is not finite"}]
    without = [("ratio 0.01", "focal 2", 3), ("ratio 0.1", "inverse weights", 4)]
    return html(published=published, failed=failed, without=without, conditions=TWO)


class TestAnOrdinaryStudy:
    def test_it_needs_nothing_from_elsewhere_and_is_well_formed(self) -> None:
        page = Page(ordinary())
        assert page.open_tags == []
        assert all(address.startswith(("#", "data:")) for address in page.addresses)
        assert not re.search(r"url\((?!#)|@import", ordinary())
        assert len(page.ids) == len(set(page.ids))
        assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)

    def test_it_begins_with_the_verdict_on_every_condition(self) -> None:
        conditions = comparison(conditions=TWO)["conditions"]
        text = Page(html(conditions=TWO)).text
        beginning = text[: text.index("Bold is the best")]
        assert all(f"{each['name']} {each['verdict']}" in beginning for each in conditions)

    def test_tables_say_what_the_comparison_says(self) -> None:
        rows = Page(html(conditions=("",))).rows
        best = comparison(conditions=("",))["conditions"][0]["rows"][0]
        (shown,) = [row for row in rows if row[0].strip() == best["method"]]
        low, high = best["interval"]
        assert shown[1:4] == ["1", f"{best['mean']:.1%} ± {best['deviation']:.1%}".replace("%", ""), shown[3]]
        assert shown[3] == f"{100 * low:.1f} to {100 * high:.1f}"
        assert f"{best['auroc']:.3f}" in shown

    def test_the_baseline_is_called_that_and_ties_are_marked(self) -> None:
        rows = Page(html(conditions=("",))).rows
        ranks = {row[0].strip(): row[1] for row in rows if row[0].strip() in METHODS}
        ties = [row for row in comparison(conditions=("",))["conditions"][0]["rows"] if row["rank"] > 1]
        assert ties and all(ranks[row["method"]] == f"{row['rank']} ≈" for row in ties)
        assert any("baseline" in row for row in rows)

    def test_what_failed_or_is_missing_is_named(self) -> None:
        text = Page(ordinary()).text
        assert "1 run failed" in text and "1 run has not finished yet" in text
        assert "focal 2 ratio 0.01 3 the loss is not finite" in text
        assert "(4 of 5 seeds)" in text

    def test_published_numbers_stand_beside_ours_with_their_source_and_what_is_wrong_with_them(self) -> None:
        text = Page(ordinary()).text
        assert "70.4 % †" in text and "Cao et al., 2019 (cross-entropy)" in text and "chosen on the test images" in text

    def test_methods_are_described_as_in_the_catalogue(self) -> None:
        text = Page(html(conditions=("",), methods=(*METHODS, "own"))).text
        assert "loss focal (gamma 2) : Cross-entropy scaled by (1 - p)^gamma" in text
        assert "mixing mixup (alpha 0.5) :" in text and "class weights inverse :" in text
        assert "my_loss :" not in text, "a user's own method is not in the catalogue"

    def test_it_ends_with_the_study_and_the_command_that_repeats_it(self) -> None:
        text = Page(ordinary()).text
        assert "imbalance compare runs/the-classroom-study/study.yaml" in text and "loss.gamma: 2" in text


class TestAnyStudy:
    def test_one_of_everything(self) -> None:
        page = Page(html(**ONE_OF_EVERYTHING))
        assert page.open_tags == [] and "95 % interval" not in page.rows[1]
        assert "1 method, 1 seed, compared by balanced accuracy prior-corrected" in page.text

    def test_names_are_text_whatever_they_hold(self) -> None:
        strange = ("<script>alert(1)</script>", "a & b", 'quo"te', "new\nline\x00")
        text = page_of(
            comparison(methods=strange, conditions=("<b>", "c"), classes=("<i>", "</svg>"), title="<h1>"),
            "# <script>alert(2)</script>\n",
            Path("<u>"),
        )
        page = Page(text)
        assert page.open_tags == [] and "\x00" not in text
        for markup in ("<script>alert", "<b>c", "<i></", "<u>"):
            assert markup not in text.replace("<i>p</i>", "")
        assert all(words in page.text for words in ("<script>alert(1)</script>", "a & b", 'quo"te', "</svg>", "<h1>"))

    def test_a_condition_of_which_nothing_has_finished(self) -> None:
        without = [("b", method, seed) for method in METHODS for seed in range(5)]
        text = Page(html(conditions=("a", "b"), without=without)).text
        assert "No run of this condition has finished." in text and "25 runs have not finished yet" in text

    def test_a_study_of_which_nothing_has_finished(self) -> None:
        cells = [(name, method, seed) for name in ("a", "b") for method in METHODS for seed in range(5)]
        failed = [{"condition": c, "method": m, "seed": s, "reason": "no disk"} for c, m, s in cells]
        page = Page(html(conditions=("a", "b"), without=cells, failed=failed))
        assert page.open_tags == [] and "50 runs failed" in page.text and page.text.count("no disk") >= 50

    @pytest.mark.parametrize("metric", ["log_loss", "auroc", "mcc"])
    def test_any_metric(self, metric: str) -> None:
        made = comparison(metric=metric, conditions=("",))
        text = Page(page_of(made, None, PLACE)).text
        best = made["conditions"][0]["rows"][0]
        assert f"{best['mean']:.3f}" in text and made["metric_words"] in text
        assert ("the lower the better" in text) == (metric == "log_loss")

    def test_many_methods_classes_and_conditions_stay_far_below_five_megabytes(self) -> None:
        changes = {"methods": [f"method {i}" for i in range(12)], "classes": [f"class {i}" for i in range(100)]}
        one, two = (
            len(html(conditions=names, **changes).encode()) for names in (("ratio 1",), ("ratio 1", "ratio 0.1"))
        )
        assert one + 19 * (two - one) < 5e6, "as for 20 conditions"

    @pytest.mark.parametrize(
        "study", [None, "", "- a\n", "methods: [1]\n", "methods: {focal 2: {loss: [1]}}\n", "a: ["]
    )
    def test_a_study_file_that_says_nothing_of_use_stays_out_of_the_way(self, study: str | None) -> None:
        assert "Repeat it" in Page(html(study, **ONE_OF_EVERYTHING)).text


class TestSweeps:
    def found(self, *names: str) -> list[tuple[str, str, list[float]]]:
        conditions = [{"name": name, "rows": [{}]} for name in names]
        return [(each.setting, each.rest, [value for value, _ in each.conditions]) for each in sweeps(conditions)]

    def test_a_setting_with_several_numbers_makes_one(self) -> None:
        assert self.found(*CONDITIONS) == [("ratio", "", [1, 0.1, 0.05, 0.01])]

    def test_beside_another_setting_there_is_one_for_each_of_its_values(self) -> None:
        names = [f"ratio {ratio}, profile {profile}" for ratio in (0.1, 0.01) for profile in ("step", "linear")]
        expected = [("ratio", "profile step", [0.1, 0.01]), ("ratio", "profile linear", [0.1, 0.01])]
        assert self.found(*names) == expected

    def test_of_two_numeric_settings_the_one_with_more_values_is_the_axis(self) -> None:
        names = [f"ratio {ratio}, image_size {size}" for ratio in (1, 0.1) for size in (16, 32, 64)]
        assert [(setting, rest) for setting, rest, _ in self.found(*names)] == [
            ("image_size", "ratio 1"),
            ("image_size", "ratio 0.1"),
        ]

    @pytest.mark.parametrize("names", [("",), ("ratio 0.1",), ("profile step", "profile linear"), ("ratio 1", "b")])
    def test_other_conditions_make_none(self, names: tuple[str, ...]) -> None:
        assert self.found(*names) == []


class TestTheFolder:
    def test_the_page_is_made_of_comparison_and_study(self, tmp_path: Path) -> None:
        (tmp_path / "comparison.json").write_text(json.dumps(comparison(**ONE_OF_EVERYTHING)))
        assert "was not beside" in study_page(tmp_path)
        (tmp_path / "study.yaml").write_text(STUDY)
        assert "loss.gamma: 2" in study_page(tmp_path)

    def test_without_a_comparison_the_error_says_what_makes_one(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="holds no comparison.json; make it by: imbalance compare"):
            study_page(tmp_path)

    def test_a_comparison_of_before_machines_were_noted_has_its_page(self, tmp_path: Path) -> None:
        made = comparison(**ONE_OF_EVERYTHING)
        del made["machines"]
        (tmp_path / "comparison.json").write_text(json.dumps(made))
        assert "run on" not in Page(study_page(tmp_path)).text

    @pytest.mark.parametrize("name", ["", "study.yaml", "comparison.json"])
    def test_a_file_of_the_study_means_the_study(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "study.yaml").write_text(STUDY)
        line = complaint("report", tmp_path / name, exit_code=4)
        assert line.endswith(f"holds no comparison.json; make it by: imbalance compare {tmp_path / 'study.yaml'}")
        (tmp_path / "comparison.json").write_text(json.dumps(comparison(**ONE_OF_EVERYTHING)))
        assert imbalance("report", tmp_path / name, "-q").stdout.strip() == str(tmp_path / "report.html")

    @pytest.mark.parametrize(
        "changes",
        [
            *({"metric": metric} for metric in ("x", ["auroc"])),
            *({"conditions": conditions} for conditions in ([], {}, None, [{}], ["a"], [{"name": "a", "rows": []}])),
            {"seeds": None},
            {"confidence": "high"},
            {"methods": 3},
            {"data": {}},
        ],
        ids=str,
    )
    def test_an_old_or_edited_comparison_is_to_be_made_again(self, changes: dict[str, Any], tmp_path: Path) -> None:
        (tmp_path / "comparison.json").write_text(json.dumps(comparison(**ONE_OF_EVERYTHING) | changes))
        line = complaint("report", tmp_path, exit_code=4)
        assert line == (
            f"{tmp_path / 'comparison.json'} is not what imbalance compare writes; "
            f"make it again by: imbalance compare {tmp_path / 'study.yaml'}"
        )
        assert not (tmp_path / "report.html").exists()

    @pytest.mark.parametrize("text", ["[]", "{", "{}", '{"title": "a"}'])
    def test_a_file_that_is_no_comparison_is_refused(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "comparison.json").write_text(text)
        with pytest.raises(DamageError, match="comparison.json"):
            study_page(tmp_path)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip("no Chromium or Chrome")
    with browser() as started:
        yield started


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_it_without_complaint_at_any_width(
    width: int, dark: bool, chromium: Browser, tmp_path: Path
) -> None:
    (tmp_path / "study.html").write_text(ordinary())
    page = chromium.open(tmp_path / "study.html", width=width, dark=dark)
    assert page.complaints == []
    assert page.value("document.documentElement.scrollWidth") <= width
    reaches = "Math.max(...[...document.querySelectorAll('svg text')].map(text => text.getBoundingClientRect().right))"
    assert page.value(reaches) <= width


@pytest.mark.browser
def test_a_method_is_named_without_a_break_inside_a_word(chromium: Browser, tmp_path: Path) -> None:
    methods = ["focal", "cross_entropy", "logit_adjustment", "class_balanced_focal"]
    (tmp_path / "study.html").write_text(html(methods=methods), encoding="utf-8")
    page = chromium.open(tmp_path / "study.html")
    heights = page.value("[...document.querySelectorAll('tbody th[scope=row]')].map((cell) => cell.offsetHeight)")
    assert len(heights) > len(methods) and max(heights) < 1.5 * min(heights)
