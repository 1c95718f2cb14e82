import errno
import hashlib
import os
import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import make_image_folder
from typer.testing import CliRunner

from imbalance_cli.cli import app
from imbalance_cli.data.image_set import Dataset, ImageSet
from imbalance_cli.data.manifest import write_manifest
from imbalance_cli.data.subset import choose_items, exact_ratio, make_subset, profile_counts
from imbalance_cli.errors import DataError, SettingError

NAMES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())


def images(*sizes):
    """Images whose only pixel tells their place, the classes taking turns as in CIFAR."""
    labels = torch.tensor([label for turn in range(max(sizes)) for label, n in enumerate(sizes) if turn < n])
    places = torch.arange(len(labels))
    pixels = torch.stack([places % 256, places // 256, places * 0], dim=1).to(torch.uint8)
    return ImageSet(
        pixels.view(-1, 3, 1, 1),
        labels,
        NAMES[: len(sizes)],
        tuple(str(place) for place in range(len(labels))),
    )


def dataset(*sizes, test=10):
    return Dataset("toy", "identity of toy", images(*sizes), images(*[test] * len(sizes)))


def counts_of(available, ratio, profile, **options):
    named = dict(zip(NAMES, available, strict=False))
    return list(profile_counts(named, Decimal(ratio), profile=profile, **options).values())


@st.composite
def wishes(draw):
    """Class sizes, and how many images of each class a subset and a smaller one shall hold."""
    sizes = draw(st.lists(st.integers(1, 40), min_size=2, max_size=5))
    wanted = [draw(st.integers(1, size)) for size in sizes]
    fewer = [draw(st.integers(1, count)) for count in wanted]
    return sizes, *(dict(zip(NAMES, counts, strict=False)) for counts in (wanted, fewer))


class TestAnySubset:
    @given(wish=wishes(), seed=st.integers(0, 2**32 - 1), protocol=st.sampled_from(["nested", "cao"]))
    @settings(deadline=None)
    def test_holds_what_was_asked_for_each_image_once_under_its_own_label(self, wish, seed, protocol):
        sizes, wanted, _ = wish
        whole = dataset(*sizes)
        manifest, subset = make_subset(whole, counts=wanted, seed=seed, protocol=protocol)
        assert {name: len(items) for name, items in manifest.items.items()} == wanted
        assert subset.train.counts().tolist() == list(wanted.values())
        assert len(set(subset.train.items)) == len(subset.train)
        places = [int(item) for item in subset.train.items]
        assert torch.equal(subset.train.labels, whole.train.labels[places])
        assert torch.equal(subset.train.images, whole.train.images[places])

    @given(wish=wishes(), seed=st.integers(0, 2**32 - 1), shuffle=st.randoms())
    @settings(deadline=None)
    def test_a_smaller_one_lies_within_and_none_depends_on_the_order_of_the_images(self, wish, seed, shuffle):
        sizes, wanted, fewer = wish
        original = images(*sizes)
        order = list(range(len(original)))
        shuffle.shuffle(order)
        shuffled = ImageSet(
            original.images[order], original.labels[order], original.class_names, tuple(map(str, order))
        )
        large, small, elsewhere = (
            choose_items(source, counts, protocol="nested", seed=seed)
            for source, counts in ((original, wanted), (original, fewer), (shuffled, wanted))
        )
        for name in wanted:
            assert set(small[name]) <= set(large[name]) == set(elsewhere[name])

    @given(wish=wishes(), seed=st.integers(0, 2**32 - 1))
    @settings(deadline=None)
    def test_of_a_subset_is_that_of_the_whole(self, wish, seed):
        sizes, wanted, fewer = wish
        _, once = make_subset(dataset(*sizes), counts=wanted, seed=seed)
        _, twice = make_subset(once, counts=fewer, seed=seed)
        _, directly = make_subset(dataset(*sizes), counts=fewer, seed=seed)
        assert twice.train.items == directly.train.items
        assert torch.equal(twice.train.labels, directly.train.labels)
        assert torch.equal(twice.train.images, directly.train.images)


class TestRatio:
    @pytest.mark.parametrize("given", ["0.29", 0.29, Decimal("0.29"), " 0.29 ", "29e-2"])
    def test_is_the_decimal_that_was_written(self, given):
        assert exact_ratio(given) == Decimal("0.29")

    @pytest.mark.parametrize(
        "given", ["nan", float("nan"), "inf", float("inf"), 0, "0", -0.1, 1.01, "1/100x", "", True]
    )
    @pytest.mark.parametrize("name", ["ratio", "test_ratio"])
    def test_outside_its_range_is_refused(self, given, name):
        with pytest.raises(SettingError) as caught:
            make_subset(dataset(9, 9), **{name: given})
        assert str(caught.value) == f"{name} must be in (0, 1]; got {given}"

    def test_factor_is_its_inverse(self):
        assert exact_ratio(None, 100) == Decimal("0.01")
        assert counts_of([15, 15], exact_ratio(None, 6), "step") == [15, 2]  # 2.5, half to even

    @pytest.mark.parametrize("given", [0.5, 0, -3, "nan", "inf", "many"])
    def test_factor_below_one_is_refused(self, given):
        with pytest.raises(SettingError, match=f"factor must be a number of at least 1; got {given}"):
            exact_ratio(None, given)

    def test_ratio_and_factor_exclude_each_other(self):
        with pytest.raises(SettingError, match="give one of them"):
            make_subset(dataset(9, 9), ratio=0.5, factor=2)


class TestCounts:
    def test_the_second_of_two_classes_is_the_minority(self):
        assert counts_of([5000, 5000], "0.01", "step") == [5000, 50]

    @pytest.mark.parametrize("profile", ["exponential", "step", "linear"])
    def test_all_profiles_of_two_classes_are_one(self, profile):
        assert counts_of([300, 200], "0.1", profile) == [300, 30]
        assert counts_of([300, 200], "0.1", profile, minority=[NAMES[0]]) == [20, 200]

    def test_rounding_is_exact_and_half_to_even(self):
        assert counts_of([100, 100], "0.29", "step") == [100, 29]
        assert counts_of([10, 10], "0.25", "step") == [10, 2]
        assert counts_of([10, 10], "0.35", "step") == [10, 4]
        assert counts_of([7, 7, 7], "0.25", "exponential") == [7, 4, 2]  # 3.5 and 1.75
        assert counts_of([20] * 4, "0.125", "exponential") == [20, 10, 5, 2]  # 2.5
        assert counts_of([28] * 4, "0.125", "exponential") == [28, 14, 7, 4]  # 3.5

    def test_exponential_is_the_long_tail_of_the_papers(self):
        ours = counts_of([5000] * 10, "0.01", "exponential")
        assert ours == [5000, 2997, 1797, 1077, 646, 387, 232, 139, 83, 50]

    def test_cao_has_the_counts_of_the_ldam_tables(self):
        long_tail = counts_of([5000] * 10, "0.01", "exponential", protocol="cao")
        assert long_tail == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
        assert sum(long_tail) == 12406
        assert counts_of([5000] * 10, "0.1", "step", protocol="cao") == [5000] * 5 + [500] * 5
        assert counts_of([100, 100], "0.29", "step", protocol="cao") == [100, 28]

    def test_linear_falls_in_equal_steps(self):
        assert counts_of([500] * 5, "0.2", "linear") == [500, 400, 300, 200, 100]

    def test_step_makes_the_last_half_or_the_named_classes_small(self):
        assert counts_of([50] * 5, "0.1", "step") == [50, 50, 50, 5, 5]
        assert counts_of([50, 40, 30], "0.1", "step", minority=[NAMES[1], NAMES[0]]) == [3, 3, 30]

    def test_a_class_must_have_what_is_asked(self):
        for available, profile, message in (
            ([160, 24], "step", "'automobile': asked 80, has 24; 24 to 160 is a ratio of 0.15 already: "),
            ([1000, 900, 9], "exponential", "'bird': asked 500, has 9; "),
            ([1000, 9, 900], "exponential", "'automobile': asked 707, has 9; put larger classes first, or "),
        ):
            with pytest.raises(SettingError) as caught:
                counts_of(available, "0.5", profile)
            assert str(caught.value) == f"class {message}leave out the ratio or take a smaller one"

    def test_the_ratio_that_an_error_tells_works(self):
        with pytest.raises(SettingError, match="; 29 to 701 is a ratio of 0.0413 already"):
            counts_of([701, 300, 31, 29], "0.5", "step")
        assert counts_of([701, 300, 31, 29], "0.0413", "step") == [701, 300, 29, 29]

    @pytest.mark.parametrize("ratio", ["0.0001", "1e-300", "1e-999999999"])
    def test_a_class_without_images_is_refused_with_a_ratio_that_works(self, ratio):
        for profile in ("exponential", "step", "linear"):
            with pytest.raises(SettingError, match="at least 1 image; a ratio of at least 0.0015 gives it one"):
                counts_of([700] * 3, ratio, profile)
        assert min(counts_of([700] * 3, "0.0015", "linear")) == 1

    def test_an_empty_class_has_no_ratio_but_keeps_its_place(self):
        for profile in ("exponential", "step", "linear"):
            with pytest.raises(DataError, match="class 'automobile' has 0 images"):
                make_subset(dataset(9, 0, 9), ratio=0.5, profile=profile)
        manifest, subset = make_subset(dataset(9, 0, 9))
        assert list(manifest.counts.values()) == subset.train.counts().tolist() == [9, 0, 9]
        with pytest.raises(SettingError, match="'automobile': asked 2, has 0"):
            make_subset(dataset(9, 0, 9), counts={"airplane": 5, "automobile": 2})


class TestChoice:
    @pytest.mark.fault("S17")
    def test_a_smaller_ratio_is_contained_in_a_larger_one(self):
        data = dataset(*[200] * 4)
        for profile in ("exponential", "step", "linear"):
            chosen = [make_subset(data, ratio=r, profile=profile, seed=3)[0].items for r in (1, 0.3, 0.1, 0.02)]
            for larger, smaller in zip(chosen, chosen[1:], strict=False):
                assert all(set(smaller[name]) <= set(larger[name]) for name in smaller)

    def test_a_class_is_drawn_the_same_whatever_the_other_classes(self):
        data = dataset(*[200] * 4)
        alone = make_subset(data, classes=["cat", "bird"], ratio=0.1)[0].items["bird"]
        assert make_subset(data, classes=["airplane", "bird"], ratio=0.1)[0].items["bird"] == alone

    def test_nested_draws_never_change(self):
        items = choose_items(images(100, 100), {"automobile": 5, "airplane": 2}, protocol="nested", seed=0)
        assert items == {"automobile": ("47", "141", "149", "183", "195"), "airplane": ("112", "150")}

    @pytest.mark.fault("S16")
    @pytest.mark.parametrize(
        ("protocol", "sha256"),
        [
            ("nested", "33206c7e04a5b1bef2723ae415a3e9a65d35d38c4b338a114b6bf8a4d5ca2cad"),
            ("cao", "ed46601d58fad1ae2bce29c798ab8bc06a48ec79506a85987bb5a1d1ffb3a716"),
        ],
    )
    def test_a_subset_file_is_the_same_bytes_with_any_version_of_the_libraries(self, protocol, sha256, tmp_path):
        manifest, _ = make_subset(dataset(*[300] * 4), ratio=0.05, test_ratio=0.3, protocol=protocol, seed=1)
        write_manifest(manifest, tmp_path / "s.yaml")
        assert hashlib.sha256((tmp_path / "s.yaml").read_bytes()).hexdigest() == sha256

    def test_cao_shuffles_with_numpys_legacy_generator(self):
        # numpy.random.seed(0); shuffle of 0..9 gives 2 8 4 9 1 6 7 3 0 5, and then of 10..19 13 15 ...
        data = images(10, 10)
        sorted_by_class = ImageSet(data.images, torch.arange(20) // 10, data.class_names, data.items)
        items = choose_items(sorted_by_class, {"automobile": 2, "airplane": 4}, protocol="cao", seed=0)
        assert items["airplane"] == ("2", "4", "8", "9")
        assert items["automobile"] == ("13", "15")

    def test_no_library_generator_is_touched(self):
        np.random.seed(1)
        torch.manual_seed(1)
        before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        for protocol in ("nested", "cao"):
            make_subset(dataset(20, 20), ratio=0.1, protocol=protocol)
        assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before

    def test_seeds_differ(self):
        for protocol in ("nested", "cao"):
            first, second = (
                make_subset(dataset(200, 200), ratio=0.1, seed=seed, protocol=protocol)[0].items for seed in (0, 1)
            )
            assert first["automobile"] != second["automobile"]

    @pytest.mark.parametrize("seed", [-1, 10**30, 1.5, "one", True])
    def test_a_seed_out_of_range_is_refused(self, seed):
        with pytest.raises(SettingError, match="seed must be a whole number from 0 to 4294967295; got"):
            make_subset(dataset(9, 9), seed=seed)


class TestMakeSubset:
    def test_labels_follow_the_order_of_the_classes(self):
        data = dataset(*[100] * 10)
        manifest, subset = make_subset(data, classes=["truck", "0"], ratio=0.05)
        assert subset.train.class_names == ("truck", "airplane")
        assert subset.train.counts().tolist() == [100, 5] and subset.test.counts().tolist() == [10, 10]
        assert manifest.counts == {"truck": 100, "airplane": 5}
        for split, source in ((subset.train, data.train), (subset.test, data.test)):
            place = split.images[:, 0, 0, 0].long() + 256 * split.images[:, 1, 0, 0].long()
            assert [str(p) for p in place.tolist()] == list(split.items)
            assert torch.equal(source.labels[place], torch.tensor([9, 0])[split.labels])

    @pytest.mark.parametrize("profile", ["step", "exponential", "linear"])
    def test_of_two_classes_the_rarer_is_the_minority(self, profile):
        manifest, subset = make_subset(dataset(24, 160), ratio=0.1, test_ratio=0.5, profile=profile)
        assert manifest.counts == {"airplane": 16, "automobile": 160} and manifest.minority is None
        assert list(manifest.items) == ["airplane", "automobile"] == list(subset.train.class_names)
        assert subset.train.counts().tolist() == [16, 160]
        assert subset.test.counts().tolist() == [5, 10]  # of equally many test images the same class

    def test_of_two_equal_classes_the_second_is_the_minority(self):
        assert make_subset(dataset(50, 50), ratio=0.1)[1].train.counts().tolist() == [50, 5]

    def test_said_classes_or_a_said_minority_decide_whatever_the_sizes(self):
        data = dataset(24, 160)
        assert make_subset(data, classes=["0", "1"], ratio=0.5)[0].counts == {"airplane": 24, "automobile": 12}
        assert make_subset(data, minority=["1"], ratio=0.5)[0].counts == {"airplane": 24, "automobile": 12}

    def test_of_many_classes_the_larger_keep_more(self):
        def counts(*sizes, **settings):
            return make_subset(dataset(*sizes), **settings)[1].train.counts().tolist()

        assert counts(40, 100, 60, 100, 50, ratio=0.1, profile="step") == [10, 100, 60, 100, 10]
        assert counts(80, 80, 80, 90, ratio=0.1, profile="step") == [80, 9, 9, 90]  # of equals the last
        assert counts(30, 100, 60, ratio=0.04) == [4, 100, 20]
        assert counts(30, 100, 60, ratio=0.04, protocol="cao") == [4, 100, 20]
        assert counts(30, 100, 60, ratio=0.2, profile="linear") == [20, 100, 60]
        assert counts(30, 100, 60, ratio=0.04, classes=["0", "2", "1"]) == [30, 6, 1]

    def test_more_than_there_is_names_the_setting_that_asks_for_it(self):
        told = "'airplane': asked 80, has 24; 24 to 160 is a ratio of 0.15 already: leave out the ratio or"
        with pytest.raises(SettingError, match=told):
            make_subset(dataset(24, 160), ratio=0.5)
        with pytest.raises(SettingError, match="a test_ratio of at least 0.1 gives it one"):
            make_subset(dataset(24, 160), ratio=0.1, test_ratio=0.01)

    def test_without_a_ratio_every_class_keeps_all(self):
        manifest, subset = make_subset(dataset(5, 3, 4))
        assert manifest.profile == "all" and subset.train.counts().tolist() == [5, 3, 4]

    def test_defaults_are_step_for_two_and_exponential_for_more(self):
        assert make_subset(dataset(50, 50), ratio=0.1)[0].profile == "step"
        assert make_subset(dataset(50, 50, 50), ratio=0.1)[0].profile == "exponential"
        assert make_subset(dataset(50, 50, 50), ratio=0.1, minority=["0"])[0].counts == {
            "airplane": 5,
            "automobile": 50,
            "bird": 50,
        }

    def test_counts_choose_the_classes(self):
        manifest, _ = make_subset(dataset(*[9] * 10), counts={"cat": 9, "1": 2})
        assert manifest.counts == {"cat": 9, "automobile": 2} and manifest.profile == "counts"

    def test_classes_that_counts_leaves_out_keep_all(self):
        manifest, _ = make_subset(dataset(*[9] * 10), classes=["dog", "cat"], counts={"cat": 2})
        assert manifest.counts == {"dog": 9, "cat": 2}

    def test_the_test_images_become_imbalanced_only_on_request(self):
        manifest, subset = make_subset(dataset(50, 50, test=20), ratio=0.1, test_ratio=0.5)
        assert subset.train.counts().tolist() == [50, 5] and subset.test.counts().tolist() == [20, 10]
        assert make_subset(dataset(50, 50, test=20), test_ratio=0.5)[1].train.counts().tolist() == [50, 50]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"counts": {"cat": 60}}, "class 'cat': asked 60, has 50"),
            ({"counts": {"cat": 0, "dog": 5}}, "class 'cat': asked 0, needs at least 1"),
            ({"counts": {"cat": 5}}, "at least 2 classes; got only 'cat'"),
            ({"counts": {"cat": 5, "dog": 5}, "ratio": 0.1}, "counts .* leave out ratio"),
            (
                {"counts": {"cat": 5}, "classes": ["dog", "bird"]},
                "'cat' is not among the chosen classes: dog, bird",
            ),
            ({"classes": ["cat"], "ratio": 0.5}, "at least 2 classes; got only 'cat'"),
            ({"minority": ["3", "cat"], "ratio": 0.1}, "'3' and 'cat' both name class 3"),
            ({"classes": ["cat", "dog", "3"]}, "both name class 3"),
            ({"minority": NAMES, "ratio": 0.1}, "no majority class left"),
            ({"minority": ["cat"], "classes": ["dog", "bird"], "ratio": 0.1}, "'cat' is not among"),
            ({"minority": ["cat"]}, "minority needs a ratio or a factor"),
            ({"profile": "step"}, "profile needs a ratio or a factor"),
            ({"minority": ["cat"], "profile": "linear", "ratio": 0.1}, "minority goes with profile step"),
            (
                {"profile": "expnential", "ratio": 0.1},
                "unknown profile 'expnential'; did you mean 'exponential'",
            ),
            ({"protocol": "coa", "ratio": 0.1}, "unknown protocol 'coa'; did you mean 'cao'"),
            (
                {"protocol": "cao", "profile": "linear", "ratio": 0.1},
                "cao has the profiles exponential and step",
            ),
        ],
    )
    def test_wrong_settings_are_refused(self, settings, message):
        with pytest.raises(SettingError, match=message):
            make_subset(dataset(*[50] * 10), **settings)

    def test_an_unknown_class_gets_the_nearest_name(self):
        with pytest.raises(DataError, match="did you mean 'truck'"):
            make_subset(dataset(*[5] * 10), classes=["cat", "truk"])

    def test_a_class_number_of_any_length_is_a_class_or_none(self):
        assert tuple(make_subset(dataset(*[5] * 10), classes=["1", "0"])[0].items) == (NAMES[1], NAMES[0])
        with pytest.raises(DataError, match="no class '999"):
            make_subset(dataset(*[5] * 10), classes=["cat", "9" * 5000])


class TestTheCommand:
    """`imbalance make-subset` refuses in one line, with its exit code, and leaves what was there."""

    @pytest.fixture(autouse=True)
    def in_an_empty_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    @staticmethod
    def run(folder, *flags, exit_code=0):
        shared = ["--image-size", 16, "--data-dir", folder / "cache"]
        result = CliRunner().invoke(app, [str(word) for word in ("make-subset", folder, *shared, *flags)])
        assert result.exit_code == exit_code, result.output
        return result

    def refused(self, folder, *flags, exit_code):
        """The one line of a refusal, which is the same whether or not there is an older file to be replaced."""
        before = {path: path.read_bytes() for path in Path.cwd().glob("**/*") if path.is_file()}
        result = self.run(folder, *flags, "-q", exit_code=exit_code)
        assert {path: path.read_bytes() for path in Path.cwd().glob("**/*") if path.is_file()} == before
        (line,) = result.stderr.splitlines()
        assert result.stdout == "" and line.startswith("error: ")
        return line.removeprefix("error: ")

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            pytest.param(["--ratio", "0"], "--ratio: must be in (0, 1]; got 0.0", marks=pytest.mark.fault("S01")),
            pytest.param(["--ratio", "-0.1"], "--ratio: must be in (0, 1]; got -0.1", marks=pytest.mark.fault("S02")),
            pytest.param(["--ratio", "nan"], "--ratio: must be in (0, 1]; got nan", marks=pytest.mark.fault("S04")),
            pytest.param(["--ratio", "inf"], "--ratio: must be in (0, 1]; got inf", marks=pytest.mark.fault("S05")),
            pytest.param(["--ratio", "1/100x"], "got '1/100x'", marks=pytest.mark.fault("S06")),
            (["--test-ratio", "nan"], "--test-ratio: must be in (0, 1]; got nan"),
            (["--factor", "nan"], "--factor must be a finite number; got nan"),
            pytest.param(
                ["--minority", "common", "rare", "--ratio", "0.1"],
                "no majority class left: all 2 classes are in the minority",
                marks=pytest.mark.fault("S09"),
            ),
            pytest.param(
                ["--minority", "1", "--minority", "rare", "--ratio", "0.1"],
                "'1' and 'rare' both name class 1 ('rare')",
                marks=pytest.mark.fault("S10"),
            ),
            pytest.param(["--seed", "-1"], "--seed must be at least 0; got -1", marks=pytest.mark.fault("S11")),
            pytest.param(["--seed", "1e30"], "a whole number; got '1e30'", marks=pytest.mark.fault("S11")),
            pytest.param(["--seed", "one"], "a whole number; got 'one'", marks=pytest.mark.fault("S11")),
            pytest.param(["--seed", str(2**32)], "--seed must be less than 4", marks=pytest.mark.fault("S11")),
            pytest.param(
                ["--counts", "common=9", "rare=6000"], "'rare': asked 6000, has 24", marks=pytest.mark.fault("S12")
            ),
            (["--counts", "rare=20"], "at least 2 classes; got only 'rare'"),
        ],
    )
    def test_wrong_values_are_usage_errors(self, image_folder, flags, message):
        assert message in self.refused(image_folder, *flags, exit_code=2)
        Path("subset.yaml").write_text("an older one")
        assert message in self.refused(image_folder, *flags, "--overwrite", exit_code=2)

    @pytest.mark.fault("S14")
    def test_0_29_of_100_is_29(self, tmp_path):
        folder = make_image_folder(tmp_path / "hundreds", train=(100, 100), test=(2, 2))
        assert re.search(r"common +100 .*\nrare +29 ", self.run(folder, "--ratio", 0.29).stdout)

    @pytest.mark.fault("S18")
    def test_an_existing_file_is_replaced_on_request_only(self, image_folder):
        Path("subset.yaml").write_text("precious")
        told = self.refused(image_folder, exit_code=4)
        assert told == "subset.yaml exists; choose another name, or replace it with --overwrite"
        self.run(image_folder, "--overwrite")
        assert "imbalance-subset" in Path("subset.yaml").read_text()

    @pytest.mark.fault("S19")
    @pytest.mark.parametrize("place", ["nowhere/s.yaml", "folder", "file/s.yaml"])
    def test_a_place_that_cannot_be_written_is_named(self, image_folder, place):
        Path("folder").mkdir()
        Path("file").touch()
        assert self.refused(image_folder, "-o", place, exit_code=6).startswith(f"cannot write {place}: ")

    @pytest.mark.fault("S19")
    @pytest.mark.parametrize("reason", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EIO])
    def test_a_disk_that_takes_nothing_is_a_write_error(self, image_folder, monkeypatch, reason):
        self.run(image_folder)  # now the decoded images are kept

        def failing(descriptor):
            raise OSError(reason, os.strerror(reason))

        monkeypatch.setattr(os, "fsync", failing)
        told = self.refused(image_folder, "--seed", 1, "--overwrite", exit_code=6)
        assert told.lower().startswith(f"cannot write subset.yaml: {os.strerror(reason).lower()}")
