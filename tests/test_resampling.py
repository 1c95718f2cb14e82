"""Resampling of features: every method's contract, what each adds or leaves, and what it cannot work with."""

import math

import imblearn.combine
import imblearn.under_sampling
import pytest
import torch
from command_line import complaint

from imbalance_cli.config import Setting, resolve
from imbalance_cli.errors import DataError, SettingError
from imbalance_cli.methods.resampling import RESAMPLERS, require_enough, resample

COUNTS = [120, 40, 12]
NAMES = ("common", "some", "rare")

ADD = ["random_over_sampling", "smote", "borderline_smote", "adasyn", "svm_smote", "kmeans_smote"]
CUT = ["random_under_sampling", "near_miss", "cluster_centroids"]
CLEAN = ["tomek_links", "edited_nearest_neighbours", "repeated_edited_nearest_neighbours", "all_knn"]
CHOOSE = {  # imbalanced-learn's own
    "condensed_nearest_neighbour": imblearn.under_sampling.CondensedNearestNeighbour(random_state=9),
    "one_sided_selection": imblearn.under_sampling.OneSidedSelection(random_state=9),
    "neighbourhood_cleaning_rule": imblearn.under_sampling.NeighbourhoodCleaningRule(),
    "instance_hardness_threshold": imblearn.under_sampling.InstanceHardnessThreshold(random_state=9),
    "repeated_edited_nearest_neighbours": imblearn.under_sampling.RepeatedEditedNearestNeighbours(),
    "all_knn": imblearn.under_sampling.AllKNN(),
    "smote_tomek": imblearn.combine.SMOTETomek(random_state=9),
    "smote_enn": imblearn.combine.SMOTEENN(random_state=9),
}
LIKE_SMOTE = ["smote", "borderline_smote", "adasyn", "svm_smote", "kmeans_smote", "smote_tomek", "smote_enn"]

every_resampler = pytest.mark.parametrize("method", list(RESAMPLERS), ids=lambda method: method.name)


def some_features(counts=COUNTS, *, distance=1.5):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    noise = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(3))
    return noise + distance * torch.nn.functional.one_hot(labels, 6), labels


def resampled(name, features, labels, seed=5, **options):
    if name == "kmeans_smote":
        options = {"share": 0.01, "clusters": 4} | options
    choice = {"name": name, **RESAMPLERS.get(name).schema.model_validate(options).model_dump()}
    return resample(choice, features, labels, NAMES, seed)


def sizes(labels) -> list[int]:
    return labels.bincount(minlength=3).tolist()


class TestEveryMethod:
    def test_belongs_to_a_kind(self):
        assert {method.name for method in RESAMPLERS} == {"none", *ADD, *CUT, *CLEAN, *CHOOSE}

    @every_resampler
    def test_takes_features_labels_seed_and_named_options_with_valid_defaults(self, method):
        assert method.inputs == ["features", "labels", "seed"]
        defaults = {name: option.default for name, option in method.options.items()}
        assert method.schema.model_validate({}).model_dump() == defaults
        assert method.summary.endswith(".")

    @every_resampler
    def test_gives_float32_features_and_a_label_for_each_and_leaves_what_it_is_given(self, method):
        features, labels = some_features()
        given = features.clone(), labels.clone()
        found, found_labels = resampled(method.name, *given)
        assert found.dtype == torch.float32 and found_labels.dtype == torch.int64
        assert found.shape == (len(found_labels), 6)
        assert found.isfinite().all()
        assert torch.equal(features, given[0]) and torch.equal(labels, given[1])

    @every_resampler
    def test_gives_the_same_bytes_for_the_same_seed_however_large(self, method):
        first, again = (resampled(method.name, *some_features(), seed=2**63 - 1) for _ in range(2))
        assert all(map(torch.equal, first, again))

    @every_resampler
    def test_is_not_disturbed_by_a_class_without_images(self, method):
        features, labels = some_features([120, 0, 12])
        assert sizes(resampled(method.name, features, labels)[1])[1] == 0

    @pytest.mark.parametrize("name", ["none", *ADD, *CUT])
    def test_changes_nothing_where_all_classes_are_alike(self, name):
        assert sizes(resampled(name, *some_features([30, 30, 30]))[1]) == [30, 30, 30]


class TestAdding:
    @pytest.mark.parametrize("name", [name for name in ADD if name != "svm_smote"])  # adds what it can
    @pytest.mark.parametrize(("ratio", "wanted"), [(1.0, [120, 120, 120]), (0.5, [120, 60, 60]), (0.1, COUNTS)])
    def test_brings_small_classes_to_a_share_of_the_largest(self, name, ratio, wanted):
        found = sizes(resampled(name, *some_features(), ratio=ratio)[1])
        assert found == pytest.approx(wanted, abs=8 if name in ("adasyn", "kmeans_smote") else 0)

    @pytest.mark.parametrize("name", ADD)
    def test_keeps_all_that_is_there(self, name):
        features, labels = some_features()
        found, found_labels = resampled(name, features, labels)
        assert torch.equal(found[: len(labels)], features) and torch.equal(found_labels[: len(labels)], labels)

    def test_repeats(self):
        features, labels = some_features()
        found, found_labels = resampled("random_over_sampling", features, labels)
        rare = {tuple(row) for row in features[labels == 2].tolist()}
        assert {tuple(row) for row in found[found_labels == 2].tolist()} == rare

    @pytest.mark.parametrize("name", ["smote", "adasyn"])
    def test_puts_new_features_between_one_of_the_class_and_a_near_one_of_it(self, name):
        features, labels = some_features()
        found, found_labels = resampled(name, features, labels, k_neighbours=3)
        own = features[labels == 2].double()
        near = torch.cdist(own, own).topk(4, largest=False).indices[:, 1:]
        starts, ends = own.repeat_interleave(3, 0), own[near.flatten()]
        added = found[len(labels) :][found_labels[len(labels) :] == 2].double()
        through = torch.cdist(added, starts) + torch.cdist(added, ends) - (starts - ends).norm(dim=1)
        assert len(added) > 50
        assert float(through.min(1).values.max()) < 1e-5  # on the line between the two, where the detour is 0


class TestCutting:
    @pytest.mark.parametrize("name", CUT)
    @pytest.mark.parametrize(("ratio", "wanted"), [(1.0, [12, 12, 12]), (0.5, [24, 24, 12]), (0.1, COUNTS)])
    def test_brings_large_classes_to_the_smallest_over_the_ratio(self, name, ratio, wanted):
        assert sizes(resampled(name, *some_features(), ratio=ratio)[1]) == wanted

    @pytest.mark.parametrize("name", ["random_under_sampling", "near_miss", *CLEAN])
    def test_leaves_features_that_were_there(self, name):
        features, labels = some_features()
        given = {(*row, label) for row, label in zip(features.tolist(), labels.tolist(), strict=True)}
        found, found_labels = resampled(name, features, labels)
        left = {(*row, label) for row, label in zip(found.tolist(), found_labels.tolist(), strict=True)}
        assert left < given and len(left) == len(found)


class TestCleaning:
    LINE = torch.tensor([[0.0], [1.0], [2.0], [3.1], [3.4], [8.0], [9.0]])
    LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 1])

    def test_tomek_links_lose_the_common_end_or_both(self):
        assert resampled("tomek_links", self.LINE, self.LABELS)[0].flatten().tolist() == pytest.approx(
            [0, 1, 2, 3.4, 8, 9]
        )
        both = resampled("tomek_links", self.LINE, self.LABELS, classes="all")[0]
        assert both.flatten().tolist() == pytest.approx([0, 1, 2, 8, 9])

    def test_edited_neighbours_must_agree_all_or_mostly(self):
        kept = resampled("edited_nearest_neighbours", self.LINE, self.LABELS, classes="all", agreement="mode")[0]
        assert kept.flatten().tolist() == pytest.approx([0, 1, 2, 3.1, 8, 9])
        strict = resampled("edited_nearest_neighbours", self.LINE, self.LABELS, neighbours=2)[0]
        assert strict.flatten().tolist() == pytest.approx([0, 1, 2, 3.4, 8, 9])

    @pytest.mark.parametrize("name", CHOOSE)
    def test_is_what_imbalanced_learn_does(self, name):
        features, labels = some_features()
        found, found_labels = resampled(name, features, labels, seed=9)
        expected, expected_labels = CHOOSE[name].fit_resample(features.numpy(), labels.numpy())
        assert found.tolist() == expected.tolist() and found_labels.tolist() == expected_labels.tolist()


class TestWhatDoesNotFit:
    @pytest.mark.parametrize("name", LIKE_SMOTE)
    def test_too_few_neighbours_names_the_class_its_images_and_a_cure(self, name):
        with pytest.raises(SettingError) as caught:
            resampled(name, *some_features([40, 20, 4]), k_neighbours=4)
        assert str(caught.value) == (
            f"resample.k_neighbours: {name} needs more than 4 images of a class, but 'rare' has 4; "
            "set resample.k_neighbours=3, or resample=random_over_sampling"
        )

    # but for kmeans_smote, whose clusters have to hold enough of the class, too
    @pytest.mark.parametrize("name", [name for name in LIKE_SMOTE if name != "kmeans_smote"])
    def test_the_cure_works(self, name):
        resampled(name, *some_features([40, 20, 4]), k_neighbours=3)

    def test_one_image_has_no_neighbour(self):
        with pytest.raises(SettingError, match=r"'rare' has 1; set resample=random_over_sampling$"):
            resampled("smote", *some_features([40, 20, 1]))

    def test_a_class_that_is_not_added_to_may_be_small(self):
        choice = {"name": "smote", "k_neighbours": 5, "ratio": 0.04}
        require_enough(choice, [100, 4, 50], NAMES)
        with pytest.raises(SettingError, match="'some' has 3"):
            require_enough(choice, [100, 3, 50], NAMES)

    @pytest.mark.parametrize(
        ("name", "counts", "options", "most", "reason"),
        [
            ("near_miss", [40, 20, 4], {}, 4, "near_miss looks at 5 images of the smallest class, but 'rare' has 4; "),
            ("near_miss", [40, 20, 4], {"version": 3}, 4, "near_miss looks at 5 images of the smallest class, "),
            ("condensed_nearest_neighbour", [40, 20, 4], {}, 5, "finds at most 5 neighbours here (common 40, some 20"),
            ("one_sided_selection", [40, 20, 4], {}, 5, "finds at most 5 neighbours here (common 40, some 20, rare 4)"),
            ("edited_nearest_neighbours", [8, 0, 4], {}, 11, "finds at most 11 neighbours here (common 8, rare 4); "),
            ("repeated_edited_nearest_neighbours", [8, 0, 4], {}, 11, "finds at most 11 neighbours here"),
            ("neighbourhood_cleaning_rule", [8, 0, 4], {}, 11, "finds at most 11 neighbours here (common 8, rare 4)"),
            ("smote_enn", [8, 0, 4], {"k_neighbours": 2}, 15, "finds at most 15 neighbours here (common 8, rare 4)"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:The number of the samples to be selected")
    def test_as_many_neighbours_as_there_are_do_and_one_more_is_refused(self, name, counts, options, most, reason):
        option = "k_neighbours" if name == "near_miss" else "neighbours"
        features, labels = some_features(counts, distance=9.0)
        choice = {"name": name, **RESAMPLERS.get(name).schema.model_validate(options).model_dump()}
        require_enough(choice | {option: most}, counts, NAMES)
        RESAMPLERS.bind(choice | {option: most})(features.numpy(), labels.clamp(max=1).numpy(), 0)
        with pytest.raises(ValueError, match="n_neighbors"):
            RESAMPLERS.bind(choice | {option: most + 1})(features.numpy(), labels.numpy(), 0)
        with pytest.raises(SettingError) as caught:
            require_enough(choice | {option: most + 1}, counts, NAMES)
        assert str(caught.value).startswith(f"resample.{option}: ") and reason in str(caught.value)
        assert f"set resample.{option}={most}" in str(caught.value)

    @pytest.mark.parametrize("name", ["all_knn", "near_miss"])
    def test_what_makes_do_with_fewer_is_not_refused(self, name):
        options = {"neighbours": 1000} if name == "all_knn" else {"k_neighbours": 1000, "version": 2}
        assert min(sizes(resampled(name, *some_features(), **options)[1])) > 0

    @pytest.mark.parametrize("name", [name for name in RESAMPLERS.names() if name != "none"])
    def test_a_single_class_has_no_balance(self, name):
        with pytest.raises(SettingError, match=f"resample: {name} balances classes, but only one of them has images"):
            resampled(name, *some_features([20, 0, 0]))

    def test_a_forest_needs_a_class_of_five(self):
        with pytest.raises(SettingError, match="needs 5 images of the largest class, which has 4; set resample=random"):
            resampled("instance_hardness_threshold", *some_features([4, 4, 2]))
        assert sizes(resampled("instance_hardness_threshold", *some_features([5, 2, 2]))[1])[1:] == [2, 2]

    @pytest.mark.parametrize("name", ["borderline_smote", "svm_smote"])
    def test_ten_images_are_enough_to_see_which_are_in_danger(self, name):
        features = torch.tensor([[0.0], [1.0], [1.4], [1.2], [1.5], [2.0]])
        found = resampled(name, features, torch.tensor([0, 0, 0, 2, 2, 0]), k_neighbours=1)
        assert sizes(found[1])[2] > 2

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("borderline_smote", "no image of a class that is to grow is in danger, so nothing would be added"),
            ("adasyn", "of a class that is to grow, no image has a neighbour of another class"),
        ],
    )
    def test_classes_that_do_not_touch_leave_nothing_to_add(self, name, reason):
        with pytest.raises(DataError) as caught:
            resampled(name, *some_features(distance=50.0))
        assert str(caught.value) == (
            f"resample: {name} does not work on these features (common 120, some 40, rare 12): {reason}"
        )

    def test_classes_that_are_large_enough_leave_nothing_to_say(self):
        assert sizes(resampled("borderline_smote", *some_features(distance=50.0), ratio=0.1)[1]) == COUNTS

    def test_no_cluster_with_enough_of_a_class_is_said_with_the_sizes(self):
        with pytest.raises(DataError) as caught:
            resampled("kmeans_smote", *some_features(), share=1.0)
        assert str(caught.value) == (
            "resample: kmeans_smote does not work on these features (common 120, some 40, rare 12): no cluster holds "
            "enough of a small class; resample.share=0.01 or more resample.clusters may change that"
        )

    def test_a_class_that_cleaning_would_lose_is_named(self):
        features, labels = some_features([200, 8, 20], distance=0.0)
        with pytest.raises(DataError) as caught:
            resampled("edited_nearest_neighbours", features, labels, classes="all")
        assert "edited_nearest_neighbours leaves none of the 8 images of class 'some'" in str(caught.value)

    def test_features_that_coincide_are_worth_no_warning(self):
        found = resampled("cluster_centroids", torch.ones(172, 6), some_features()[1])
        assert found[0].isfinite().all()


class TestTheSetting:
    def test_without_a_refit_is_refused_with_the_reason(self):
        assert complaint("train", "-d", "shapes", "--set", "resample=smote") == (
            "resample: it works on the features of the trained model; set a refit too, as in refit=crt: "
            "pixels say little of what is near, and between those of two images lies a ghost of both"
        )

    def test_suggests_a_name(self):
        with pytest.raises(SettingError, match="unknown resample 'smot'; did you mean 'smote'"):
            resolve(None, [Setting(("refit",), "crt", "test"), Setting(("resample",), "smot", "test")])

    @pytest.mark.parametrize("wrong", [0, -1, math.nan, 1.5])
    def test_ratio_is_a_share(self, wrong):
        settings = [("refit", "crt"), ("resample", {"name": "smote", "ratio": wrong})]
        with pytest.raises(SettingError, match="ratio"):
            resolve(None, [Setting((key,), value, "test") for key, value in settings])
