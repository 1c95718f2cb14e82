"""`imbalance report` of a run: one page that needs nothing else, whatever the run was and whatever its names are."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browser import PROGRAM, Browser, browser
from command_line import complaint, imbalance
from PIL import Image
from small_data import complete, new_run, settings_for

from imbalance_cli import checkpoints, plots, runs
from imbalance_cli.config import resolve
from imbalance_cli.metrics import decision_scores
from imbalance_cli.pages.class_effects import class_effects
from imbalance_cli.pages.page import svg
from imbalance_cli.pages.run import run_page
from imbalance_cli.pages.run_scores import logit, probability, threshold_panel
from imbalance_cli.predictions import read_predictions

UNCLOSED = {"meta", "img", "input", "br", "wbr", "link", "hr"}


class Outline(HTMLParser):
    """What a page is made of: its elements, its addresses, its text; elements that are not closed are an error."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in UNCLOSED:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if attributes.get("id")]

    @property
    def addresses(self) -> list[str]:
        return [value for _, each in self.elements for name in ("src", "href") if (value := each.get(name))]


def page_of(folder: Path) -> str:
    return run_page(folder, data_dir=None, notice=lambda _: None)


def words_of(folder: Path) -> str:
    return Outline(page_of(folder)).words.replace("\N{NO-BREAK SPACE}", " ")


def folder_of(classes: dict[str, int], folder: Path, *, test: int = 3, without: str = "", file: str = "") -> Path:
    """train/ and test/ with so many noisy 8x8 images of each class, each class a little redder than the one before.

    Class `without` is missing from the test images; `file` is in the name of every image.
    """
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for place, (name, count) in enumerate(classes.items()):
            (folder / split / name).mkdir(parents=True)
            for number in range(count if split == "train" else 0 if name == without else test):
                pixels = random.integers(0, 200, (8, 8, 3), np.uint8)
                pixels[..., 0] += min(50, 12 * place)
                Image.fromarray(pixels).save(folder / split / name / f"{number:03}{file}.png")
    return folder


def tiny_run(images: Path, folder: Path, **changes: object) -> Path:
    settings = settings_for(images, folder.parent / "cache", data__image_size=8, epochs=1, **changes)
    return complete(new_run(settings, folder)).folder


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a threshold from validation, which needs ten images of each class."""
    place = tmp_path_factory.mktemp("two")
    images = folder_of({"common": 150, "rare": 60}, place / "photos", test=20)
    return tiny_run(images, place / "run")


@pytest.fixture(scope="module")
def many_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 24 classes, of one of which there is no test image."""
    place = tmp_path_factory.mktemp("many")
    images = folder_of({f"kind {n:02}": 30 - n for n in range(24)}, place / "photos", without="kind 05")
    return tiny_run(images, place / "run", data__allow_empty=True)


BAD_NAME, BAD_FILE = "<img src=x onerror=alert(1)>", "script><script>alert(2)&amp;\"'"


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on images whose names are markup: one, with its class, ends a script."""
    place = tmp_path_factory.mktemp("hostile")
    return tiny_run(folder_of({"<": 60, BAD_NAME: 30}, place / "photos", file=BAD_FILE), place / "run")


@pytest.fixture(scope="module")
def page(two_classes: Path) -> str:
    return page_of(two_classes)


class TestThePage:
    def test_is_one_file_that_needs_no_other(self, page: str) -> None:
        for address in Outline(page).addresses:
            assert address.startswith(("data:image/png;base64,", "#")), address
        assert not re.search(r"https?:|//\w+\.|url\((?!#)|@import", page)

    def test_is_well_formed_and_every_link_leads_somewhere(self, page: str) -> None:
        outline = Outline(page)
        assert len(outline.ids) == len(set(outline.ids))
        links = {address.removeprefix("#") for address in outline.addresses if address.startswith("#")}
        assert links <= set(outline.ids)

    def test_is_small_enough_for_a_mail(self, page: str) -> None:
        assert len(page.encode()) < 5_000_000

    def test_says_what_the_results_say(self, page: str, two_classes: Path) -> None:
        results = json.loads((two_classes / runs.RESULTS).read_text())
        words = Outline(page).words.replace("\N{NO-BREAK SPACE}", " ")
        for point in results["operating_points"].values():
            assert f"balanced accuracy {point['balanced_accuracy']:.1%}".replace("%", " %") in words
            low, high = point["recall_intervals"][1]
            assert f"{low * 100:.1f}–{high * 100:.1f}" in words
        assert f"AUROC {results['auroc']:.3f}" in words

    def test_holds_what_repeats_the_run(self, page: str, two_classes: Path) -> None:
        text = Outline(page).text
        assert (two_classes / runs.CONFIG).read_text() in text
        assert "imbalance train config.yaml" in text

    def test_shows_samples_and_mistakes_as_pictures(self, page: str, two_classes: Path) -> None:
        results = json.loads((two_classes / runs.RESULTS).read_text())
        (_, alarms), (missed, _) = results["operating_points"]["validation"]["confusion_matrix"]
        outline = Outline(page)
        assert 0 < missed < 20 and 0 < alarms < 20
        assert sum(tag == "img" for tag, _ in outline.elements) == 20 + missed + alarms  # ten samples of each class
        assert f"{missed} of 20 images of rare missed" in outline.words
        assert f"{alarms} false alarm" in outline.words

    def test_is_the_same_every_time(self, page: str, two_classes: Path) -> None:
        assert page_of(two_classes) == page

    def test_explains_with_the_numbers_of_the_run(self, page: str) -> None:
        words = Outline(page).words.replace("\N{NO-BREAK SPACE}", " ")
        assert "Of the 168 images that this model learned from, 71.4 % are common and 28.57 % are rare" in words
        assert "To an image that says nothing about its class, training would teach the answer" in words
        assert "“rare with probability 0.29”" in words


class TestEveryKindOfRun:
    def test_without_a_threshold_from_validation_it_says_why(self, finished_run: Path) -> None:
        words = Outline(page_of(finished_run)).words
        assert "From validation is missing: a threshold needs 10 validation images of every class" in words
        assert "Decided prior-corrected" in words

    def test_without_any_validation_images(self, image_folder: Path, tmp_path: Path) -> None:
        settings = settings_for(image_folder, image_folder / "cache", validation=0.0, epochs=1)
        words = Outline(page_of(complete(new_run(settings, tmp_path / "run")).folder)).words
        assert "no images were held out" in words

    def test_many_classes_and_one_of_them_absent(self, many_classes: Path) -> None:
        page = page_of(many_classes)
        outline = Outline(page)
        assert "24 classes of photos" in outline.words and "4 classes between these" in outline.words
        assert "Largest confusions by share of the class" in outline.words
        assert {"class": "on-script"} not in [each for _, each in outline.elements]  # no threshold to move
        assert 'type="range"' not in page
        assert len(page.encode()) < 5_000_000
        links = {address.removeprefix("#") for address in outline.addresses if address.startswith("#")}
        assert links <= set(outline.ids)

    def test_of_three_classes_no_right_answer_is_a_confusion(self, tmp_path: Path) -> None:
        images = folder_of({"red": 60, "green": 40, "blue": 30}, tmp_path / "photos", test=10)
        page = page_of(tiny_run(images, tmp_path / "run"))
        row = r'<th scope="row">(\w+)</th><td class="text">(\w+)</td><td>[\d,]+</td><td>([\d.]+)'
        rows = re.findall(row, page)
        assert rows and all(true != taken for true, taken, _ in rows)
        shares = [float(share) for _, _, share in rows]
        assert shares == sorted(shares, reverse=True)
        words = Outline(page).words.replace("\N{NO-BREAK SPACE}", " ")
        assert "ranks poorly (mean AUROC of the classes" in words and "mean AUROC of the classes 0." in words
        assert "guessing a class reaches a precision of its share of these test images" in words

    @pytest.mark.parametrize(
        ("changes", "of_probabilities", "of_argmax"),
        [
            ({}, "of data with the class shares that training saw.", "as common as in training (28.57 % rare)"),
            (
                {"loss": "logit_adjustment"},
                "of data whose classes are equally common",
                "right and the classes are equally common",
            ),
            (
                {"sampler": "class_balanced"},
                "of data whose classes are equally common",
                "right and the classes are equally common",
            ),
            (
                {"loss.name": "logit_adjustment", "loss.tau": 0.5},
                "neither of data with the class shares that training saw nor",
                "right neither for the shares in training (28.57 % rare) nor for classes that are equally common",
            ),
        ],
    )
    def test_what_it_says_of_probabilities_follows_from_the_training(
        self, tmp_path: Path, changes: dict[str, object], of_probabilities: str, of_argmax: str
    ) -> None:
        images = folder_of({"common": 150, "rare": 60}, tmp_path / "photos")
        words = words_of(tiny_run(images, tmp_path / "run", **changes))
        assert f"Probabilities are {of_probabilities}" in words and of_argmax in words
        assert (
            ("Probabilities are of data with" in words) == ("as common as in training (28.57" in words) == (not changes)
        )

    def test_the_pull_of_a_class_is_that_of_the_training(self, finished_run: Path) -> None:
        checkpoint = checkpoints.load(finished_run)
        changes = {"loss": {"name": "label_aware_smoothing", "head": 0.3, "tail": 0.0}, "sampler": "class_balanced"}
        config = resolve({**checkpoint.config, **changes})[0].model_dump()
        known = replace(checkpoint, config=config, class_names=["common", "rare"], counts=[5000, 50], calibration={})
        # Both are drawn alike; at equal logits an image pulls by the distance of its target, 0.7 or 1, from 1/2.
        pulls = [row["pull"] for row in class_effects(known)["rows"]]
        assert pulls == pytest.approx([0.2 / 0.7, 0.5 / 0.7], rel=1e-9)

    def test_test_images_that_were_drawn_are_not_called_all(self, two_classes: Path, tmp_path: Path) -> None:
        images = folder_of({"common": 100, "rare": 50}, tmp_path / "photos") / "train"
        run = tiny_run(images, tmp_path / "run")
        drawn = "20 % of each class, drawn with seed 0"
        assert f"{drawn}, as the data mark none for testing: common 20, rare 10" in words_of(run)
        images.rename(tmp_path / "elsewhere")
        assert f"those that the data mark for testing or, if they mark none, {drawn}: common 20" in words_of(run)
        assert "all of these classes: common 20, rare 20" in words_of(two_classes)

    def test_two_classes_of_which_one_is_absent(self, tmp_path: Path) -> None:
        images = folder_of({"here": 60, "gone": 30}, tmp_path / "photos", without="gone")
        page = page_of(tiny_run(images, tmp_path / "run", data__allow_empty=True))
        assert "Only one class occurs in" in Outline(page).words

    def test_names_cannot_write_into_the_page(self, hostile_run: Path) -> None:
        outline = Outline(page_of(hostile_run))
        assert BAD_NAME in outline.text and BAD_FILE in outline.text
        assert not [each for tag, each in outline.elements if tag == "img" and each.get("onerror")]
        assert sum(tag == "script" for tag, _ in outline.elements) == 2  # the scores and the page's own

    def test_a_name_that_is_not_utf8_is_shown_escaped(self) -> None:
        from imbalance_cli.pages.page import _readable

        assert _readable("a\udcffb\n\x00") == "a\\udcffb\n\\x00"

    def test_without_its_data_it_leaves_the_pictures_out_and_says_so(self, hostile_run: Path) -> None:
        images = hostile_run.parent / "photos"
        said: list[str] = []
        images.rename(images.parent / "elsewhere")
        try:
            outline = Outline(run_page(hostile_run, data_dir=None, notice=said.append))
        finally:
            (images.parent / "elsewhere").rename(images)
        assert [line for line in said if line.startswith("no pictures")]
        assert "No pictures, because the images of the run cannot be had" in outline.words
        assert "Samples of each class" not in outline.words
        assert not [each for tag, each in outline.elements if tag == "img"]
        assert BAD_FILE in outline.text  # the mistakes are named all the same

    def test_of_an_older_run_without_predictions(self, two_classes: Path, tmp_path: Path) -> None:
        run = shutil.copytree(two_classes, tmp_path / "run")
        (run / runs.PREDICTIONS).unlink()
        sessions = json.loads((run / runs.ENVIRONMENT).read_text())
        del sessions[-1]["predictions_sha256"]
        (run / runs.ENVIRONMENT).write_text(json.dumps(sessions))
        outline = Outline(page_of(run))
        assert "Curves, threshold, scores and mistakes are left out" in outline.words
        links = {address.removeprefix("#") for address in outline.addresses if address.startswith("#")}
        assert links <= set(outline.ids)

    def test_of_a_session_that_noted_no_versions(self, two_classes: Path, tmp_path: Path) -> None:
        run = shutil.copytree(two_classes, tmp_path / "run")
        sessions = json.loads((run / runs.ENVIRONMENT).read_text())
        versions = sessions[-1].pop("versions")
        (run / runs.ENVIRONMENT).write_text(json.dumps(sessions))
        words = Outline(page_of(run)).words
        assert sessions[-1]["platform"] in words and f"torch {versions['torch']}" not in words


class TestTheCommand:
    def test_writes_the_page_beside_the_run_and_prints_its_path(self, two_classes: Path, tmp_path: Path) -> None:
        run = shutil.copytree(two_classes, tmp_path / "run")
        result = imbalance("report", run / runs.CHECKPOINT, "--quiet")
        assert result.stdout.strip() == str(run / "report.html")
        assert (run / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
        line = complaint("report", run, exit_code=4)
        assert line == f"{run / 'report.html'} exists; choose another name, or replace it with --overwrite"
        imbalance("report", run, "--overwrite", "--quiet")

    def test_writes_where_it_is_told(self, finished_run: Path, tmp_path: Path) -> None:
        imbalance("report", finished_run, "--output", tmp_path / "a.html", "--quiet")
        assert {path.name for path in tmp_path.iterdir()} == {"a.html"}

    @pytest.mark.parametrize(("name", "given"), [("a.pdf", "the suffix '.pdf'"), ("page", "no suffix")])
    def test_refuses_to_call_the_page_something_else(
        self, two_classes: Path, tmp_path: Path, name: str, given: str
    ) -> None:
        line = complaint("report", two_classes, "--output", tmp_path / name, exit_code=2)
        assert line == f"cannot write the page {tmp_path / name}: it has {given}; known: .html, .htm"
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize("name", [runs.RESULTS, runs.CONFIG, runs.PREDICTIONS])
    def test_a_file_of_the_run_means_the_run(self, two_classes: Path, tmp_path: Path, name: str) -> None:
        run = shutil.copytree(two_classes, tmp_path / "run")
        result = imbalance("report", run / name, "--quiet")
        assert result.stdout.strip() == str(run / "report.html")

    def test_refuses_what_is_no_run(self, tmp_path: Path) -> None:
        assert "does not exist" in complaint("report", tmp_path / "none", exit_code=4)
        assert complaint("report", tmp_path, exit_code=4)

    def test_refuses_a_run_that_is_not_finished(self, two_classes: Path, tmp_path: Path) -> None:
        run = shutil.copytree(two_classes, tmp_path / "run")
        (run / runs.RESULTS).unlink()
        line = complaint("report", run, exit_code=4)
        assert f"finish its run: imbalance train --resume {run}" in line
        assert not (run / "report.html").exists()

    @pytest.mark.parametrize("name", [runs.RESULTS, runs.PREDICTIONS])
    def test_refuses_results_that_were_edited(self, two_classes: Path, tmp_path: Path, name: str) -> None:
        run = shutil.copytree(two_classes, tmp_path / "run")
        (run / name).write_text((run / name).read_text().replace("1", "2", 1))
        assert f"{name} was edited or damaged" in complaint("report", run, exit_code=4)


class TestTheThresholds:
    IS_RARE = np.array([False, False, False, True, True])
    SCORES = np.array([-3.0, -1.0, 0.5, -0.5, 2.0])

    def rows(self, *, ties_found: bool = True, **points: float) -> list[dict[str, object]]:
        return threshold_panel(self.IS_RARE, self.SCORES, points, ties_found=ties_found)["rows"]

    def test_a_row_counts_what_the_threshold_decides(self) -> None:
        (row,) = [row for row in self.rows(argmax=0.0) if row["name"] == "argmax"]
        counts = {name: row[name] for name in ("found", "missed", "alarms", "right")}
        assert counts == {"found": 1, "missed": 1, "alarms": 1, "right": 2}
        assert row["recall"] == 0.5 and row["precision"] == 0.5 and row["specificity"] == pytest.approx(2 / 3)
        assert row["balanced"] == pytest.approx((1 / 2 + 2 / 3) / 2)
        assert row["cost"] == 10 * 1 + 1 * 1

    def test_the_balanced_accuracy_is_that_of_the_results_to_the_last_bit(self):
        """Of 650 and 913 found of 1000 each the mean of the recalls is not 1563 / 2000 in floating point."""
        labels = np.repeat([0, 1], 1000)
        scores = np.concatenate(
            [np.where(np.arange(1000) < 650, -1.0, 1.0), np.where(np.arange(1000) < 913, 1.0, -1.0)]
        )
        (row,) = [
            row for row in threshold_panel(labels == 1, scores, {"argmax": 0.0}, ties_found=True)["rows"] if row["name"]
        ]
        exact = decision_scores(labels, (scores >= 0).astype(int), 2)
        assert row["balanced"] == exact["balanced_accuracy"] == exact["accuracy"] == 1563 / 2000

    @pytest.mark.parametrize(("ties_found", "found"), [(True, 2), (False, 1)])
    def test_a_score_at_the_threshold_is_decided_as_the_run_does(self, ties_found: bool, found: int) -> None:
        (row,) = [row for row in self.rows(ties_found=ties_found, prior=-0.5) if row["name"]]
        assert row["found"] == found

    def test_thresholds_that_decide_alike_have_one_row(self) -> None:
        decisions = [(row["found"], row["alarms"]) for row in self.rows(argmax=0.0)]
        assert len(decisions) == len(set(decisions))

    def test_more_scores_than_a_page_holds_are_thinned_out_evenly(self) -> None:
        scores = np.linspace(-5, 5, 250_000)
        panel = threshold_panel(scores > 9, scores, {}, ties_found=True)
        common, rare = panel["scores"]
        assert common["each"] == 3 and len(common["values"]) == pytest.approx(250_000 / 3, abs=1)
        assert rare == {"each": 1, "values": []}

    def test_the_slider_of_a_confident_model_reaches_all_its_scores_and_points(self) -> None:
        scores = np.array([-900.0, -25.0, 18.0, 17.0, 40.0])
        panel = threshold_panel(self.IS_RARE, scores, {"argmax": 0.0, "validation": 17.5}, ties_found=True)
        common, rare = (np.array(each["values"]) for each in panel["scores"])
        for end, share in (("low", 1), ("high", 0)):
            assert [np.mean(common >= panel[end]), np.mean(rare >= panel[end])] == [share, share]
        (row,) = [row for row in panel["rows"] if row["name"] == "validation"]
        (point,) = [point for point in panel["points"] if point["name"] == "validation"]
        assert panel["low"] < point["at"] < panel["high"], "a slider stops at its ends"
        assert 0 < point["place"] < 100
        assert [row["found"], row["alarms"]] == [np.sum(rare >= point["at"]), np.sum(common >= point["at"])] == [1, 1]

    def test_log_odds_and_probabilities_are_each_others_inverse(self) -> None:
        assert probability(logit(0.01)) == pytest.approx(0.01)
        assert [probability(-900), probability(900)] == [0, 1]


class TestFigures:
    def test_take_their_colours_and_letters_from_the_page(self) -> None:
        figure = plots.recall_bars(np.array([0.5, 1.0]), [10, 1], ["#000000 <b>", 'xlink:href " id="x"'])
        text = str(svg(figure))
        assert "currentColor" in text and "font-family" not in text and "xmlns" not in text
        assert "#000000 &lt;b&gt;" in text  # a class may be called like a colour
        assert 'xlink:href " id="x"' in text

    def test_have_ids_that_no_other_figure_has(self) -> None:
        ids = [
            set(re.findall(r' id="([^"]*)"', svg(plots.recall_bars(np.array([value, 1.0]), [10, 1], ["a", "b"]))))
            for value in (0.25, 0.5)
        ]
        assert ids[0] and not ids[0] & ids[1]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def file(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


@pytest.mark.browser
@pytest.mark.skipif(PROGRAM is None, reason="there is no chromium or chrome on this machine")
class TestInABrowser:
    def test_every_operating_point_is_what_the_results_say(
        self, chromium: Browser, file: Path, two_classes: Path
    ) -> None:
        results = json.loads((two_classes / runs.RESULTS).read_text())
        shown = chromium.open(file)
        for number, point in enumerate(results["operating_points"].values()):
            shown.value(f"document.querySelectorAll('button[data-at]')[{number}].click()")
            cells = ["right", "alarms", "missed", "found"]
            counts = [int(shown.value(f"document.querySelector('#{name} b').textContent")) for name in cells]
            assert [counts[:2], counts[2:]] == point["confusion_matrix"]
            balanced = shown.value("document.getElementById('balanced').textContent")
            assert balanced == f"{point['balanced_accuracy'] * 100:.1f}\N{NO-BREAK SPACE}%"
        assert shown.complaints == []

    def test_the_slider_goes_from_everything_to_nothing(self, chromium: Browser, file: Path) -> None:
        shown = chromium.open(file)
        for end, expected in (("min", ["20", "20"]), ("max", ["0", "0"])):
            shown.value(
                f"(() => {{ const s = document.getElementById('threshold'); s.value = s.{end};"
                " s.dispatchEvent(new Event('input')); })()"
            )
            cells = [shown.value(f"document.querySelector('#{name} b').textContent") for name in ("found", "alarms")]
            assert cells == expected

    def test_the_keyboard_moves_it(self, chromium: Browser, file: Path) -> None:
        shown = chromium.open(file)
        shown.value("document.getElementById('threshold').focus()")
        before = shown.value("Number(document.getElementById('threshold').value)")
        shown.press("ArrowRight")
        assert shown.value("Number(document.getElementById('threshold').value)") > before
        assert "recall" in shown.value("document.getElementById('threshold').getAttribute('aria-valuetext')")

    def test_the_cheapest_threshold_is_found_and_called_a_peek(
        self, chromium: Browser, file: Path, two_classes: Path
    ) -> None:
        answers = read_predictions(two_classes)
        scores, is_rare = answers.logits[:, 1] - answers.logits[:, 0], answers.labels == 1
        costs = [
            7 * int((is_rare & (scores < at)).sum()) + 2 * int((~is_rare & (scores >= at)).sum())
            for at in [*scores, scores.max() + 1]
        ]
        shown = chromium.open(file)
        assert shown.value("document.getElementById('peek').hidden")
        shown.value(
            "(() => { document.getElementById('miss').value = 7; document.getElementById('alarm').value = 2;"
            " document.getElementById('cheapest').click(); })()"
        )
        assert shown.value("document.getElementById('cost').textContent") == f"{min(costs):,}"
        assert not shown.value("document.getElementById('peek').hidden")

    def test_without_scripts_the_table_says_it(self, chromium: Browser, file: Path) -> None:
        shown = chromium.open(file, scripts=False)
        assert shown.value("document.querySelector('.panel').getBoundingClientRect().height") == 0
        assert shown.value("document.querySelector('#threshold-section table.numbers').rows.length") > 3

    @pytest.mark.parametrize("dark", [False, True])
    @pytest.mark.parametrize("width", [390, 1280])
    def test_fits_the_screen_and_follows_its_scheme(
        self, chromium: Browser, file: Path, width: int, dark: bool
    ) -> None:
        shown = chromium.open(file, width=width, dark=dark)
        assert shown.value("document.documentElement.scrollWidth") <= width
        paper, ink = (
            np.mean([int(part) for part in re.findall(r"\d+", shown.value(f"getComputedStyle(document.body).{name}"))])
            for name in ("backgroundColor", "color")
        )
        assert (paper < 50 and ink > 200) if dark else (paper > 250 and ink < 50)
        stroke = shown.value("getComputedStyle(document.querySelector('figure.plot text')).fill")
        assert (np.mean([int(part) for part in re.findall(r"\d+", stroke)]) > 200) == dark
        assert shown.complaints == []

    def test_many_classes_fit_a_phone(self, chromium: Browser, many_classes: Path, tmp_path: Path) -> None:
        (tmp_path / "many.html").write_text(page_of(many_classes), encoding="utf-8")
        shown = chromium.open(tmp_path / "many.html", width=390)
        assert shown.value("document.documentElement.scrollWidth") <= 390
        assert shown.complaints == []

    def test_prints_on_paper_even_from_a_dark_screen(self, chromium: Browser, file: Path) -> None:
        shown = chromium.open(file, dark=True)
        assert shown.as_pdf().startswith(b"%PDF")
        shown.ask("Emulation.setEmulatedMedia", media="print", features=[])
        assert shown.value("getComputedStyle(document.querySelector('nav.contents')).display") == "none"
        assert shown.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
