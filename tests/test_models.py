"""Every model is a backbone and a classifier, of the size it says, with weights that only its seed decides."""

import sys
from importlib.metadata import PackageNotFoundError
from urllib.error import URLError

import pytest
import torch
from torch import nn

from imbalance_cli import models
from imbalance_cli.checkpoints import Checkpoint
from imbalance_cli.data.batches import Normalisation
from imbalance_cli.errors import NetworkError, SettingError
from imbalance_cli.models import MODELS, build_model, import_torchvision, parameter_count

every_model = pytest.mark.parametrize("name", MODELS.names())


@every_model
class TestEveryModel:
    def test_turns_images_into_logits(self, name):
        model = build_model({"name": name}, classes=3, image_size=32, seed=0)
        images = torch.randn(2, 3, 32, 32)
        for layout in (torch.contiguous_format, torch.channels_last):
            logits = model.to(memory_format=layout)(images.contiguous(memory_format=layout))
            assert logits.shape == (2, 3)
            assert logits.dtype == torch.float32
            assert logits.isfinite().all()
        logits.square().sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())

    def test_is_a_backbone_and_a_linear_classifier(self, name):
        model = build_model({"name": name}, classes=5, image_size=32, seed=0).eval()
        assert [part for part, _ in model.named_children()] == ["backbone", "classifier"]
        assert isinstance(model.classifier, nn.Linear)
        features = model.backbone(torch.zeros(2, 3, 32, 32))
        assert features.shape == (2, model.classifier.in_features)
        assert model.classifier.out_features == 5

    def test_has_the_weights_of_its_seed_and_draws_from_no_other_generator(self, name):
        torch.manual_seed(5)
        state = torch.get_rng_state()
        first = build_model({"name": name}, 2, 32, seed=1).state_dict()
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(6)
        again = build_model({"name": name}, 2, 32, seed=1).state_dict()
        other = build_model({"name": name}, 2, 32, seed=2).state_dict()
        assert all(torch.equal(weight, again[key]) for key, weight in first.items())
        assert not torch.equal(first["classifier.weight"], other["classifier.weight"])

    def test_dropout_acts_before_the_classifier_in_training_only(self, name):
        model = build_model({"name": name, "dropout": 0.5}, 2, 32, seed=0)
        plain = build_model({"name": name}, 2, 32, seed=0)
        images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        assert (model.backbone(images) == 0).float().mean() > 0.2
        assert parameter_count(model) == parameter_count(plain)
        torch.testing.assert_close(model.eval()(images), model(images))


@pytest.mark.parametrize("name", MODELS.names())
def test_takes_the_smallest_and_other_image_sizes(name):
    for side in ({"tutorial": 16, "resnet18": 17, "resnet50": 17}.get(name, 8), 33):
        assert build_model({"name": name}, 2, side, seed=0)(torch.zeros(2, 3, side, side)).shape == (2, 2)


@pytest.mark.parametrize(
    ("choice", "classes", "parameters"),
    [
        ({"name": "cnn"}, 2, 93_730),
        ({"name": "tutorial"}, 10, 62_006),  # as in PyTorch's classifier tutorial
        ({"name": "resnet8"}, 10, 75_290),
        ({"name": "resnet20"}, 10, 269_722),
        ({"name": "resnet32"}, 10, 464_154),
        ({"name": "resnet32", "width": 64}, 10, 7_386_186),
        ({"name": "resnet18"}, 1000, 11_689_512),
        ({"name": "resnet50"}, 1000, 25_557_032),
    ],
    ids=str,
)
def test_parameter_counts_are_the_published_ones(choice, classes, parameters):
    assert parameter_count(build_model(choice, classes, 32, seed=0)) == parameters


class TestTutorial:
    @pytest.mark.parametrize("side", [16, 17, 19, 20, 32])
    def test_takes_images_from_16_pixels_on(self, side):
        assert build_model({"name": "tutorial"}, 2, side, seed=0)(torch.zeros(2, 3, side, side)).shape == (2, 2)

    @pytest.mark.parametrize("side", [8, 15])
    def test_refuses_smaller_ones(self, side):
        with pytest.raises(SettingError) as caught:
            build_model({"name": "tutorial"}, 2, side, seed=0)
        assert str(caught.value) == (
            f"data.image_size must be at least 16 for model tutorial; got {side}; give a larger one, or another model"
        )


class TestTorchvision:
    @pytest.mark.parametrize("name", ["resnet18", "resnet50"])
    def test_refuses_images_that_its_strides_bring_down_to_a_pixel_too_soon(self, name):
        with pytest.raises(SettingError) as caught:
            build_model({"name": name}, 2, 16, seed=0)
        assert str(caught.value) == (
            f"data.image_size must be at least 17 for model {name}; got 16; give a larger one, or another model"
        )
        sizes = []
        network = build_model({"name": name}, 2, 17, seed=0).eval()
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d) and module.stride == (2, 2):
                module.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[-1]))
        network(torch.zeros(1, 3, 17, 17))
        assert min(sizes) > 1

    @pytest.mark.parametrize("reason", ["operator torchvision::nms does not exist", ""])
    @pytest.mark.parametrize("error", ["RuntimeError", "ImportError", "OSError"])
    def test_that_does_not_load_beside_torch_is_one_line_with_both_versions(self, error, reason, tmp_path, monkeypatch):
        message = f"{reason}\nand more" if reason else ""
        (tmp_path / "torchvision.py").write_text(f"raise {error}({message!r})")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "torchvision", raising=False)
        monkeypatch.setattr(models, "version", lambda name: {"torchvision": "0.99.0"}[name])
        with pytest.raises(SettingError) as caught:
            import_torchvision()
        assert str(caught.value) == (
            f"torchvision 0.99.0 does not load beside torch {torch.__version__} ({reason or error}); "
            "reinstall the two together: pip install --force-reinstall torch torchvision"
        )

    def test_that_is_not_installed(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "torchvision", None)

        def no_version(name):
            raise PackageNotFoundError(name)

        monkeypatch.setattr(models, "version", no_version)
        with pytest.raises(SettingError, match=r"^torchvision is not installed \(.*\); reinstall the two"):
            import_torchvision()

    def test_is_not_needed_by_the_other_models(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "torchvision", None)
        for name in MODELS.names():
            if name not in MODELS.having("pretrained"):
                build_model({"name": name}, 2, 32, seed=0)

    def test_weights_that_cannot_be_fetched_are_one_line(self, monkeypatch):
        def unreachable(weights):
            assert weights == "DEFAULT"
            raise URLError("Name or service not known")

        monkeypatch.setattr(import_torchvision().models, "resnet18", unreachable)
        with pytest.raises(NetworkError) as caught:
            build_model({"name": "resnet18", "pretrained": True}, 2, 32, seed=0)
        assert str(caught.value) == (
            "model.pretrained: the weights of resnet18 could not be fetched (Name or service not known); "
            "connect to the network once, or set model.pretrained=false"
        )

    @pytest.mark.parametrize("name", MODELS.having("pretrained"))
    def test_a_checkpoint_never_asks_for_pretrained_weights(self, name, monkeypatch):
        weights = build_model({"name": name}, 2, 32, seed=3).state_dict()
        checkpoint = Checkpoint(
            weights=weights,
            model={"name": name, "pretrained": True, "dropout": 0.0},
            class_names=["common", "rare"],
            counts=[90, 9],
            image_size=32,
            normalisation=Normalisation((0.5,) * 3, (0.25,) * 3),
            config={},
            manifest={},
        )
        network = getattr(import_torchvision().models, name)
        asked = []
        monkeypatch.setattr(
            import_torchvision().models, name, lambda weights: asked.append(weights) or network(weights=None)
        )
        built = checkpoint.build()
        assert asked == [None]
        assert not built.training
        assert all(torch.equal(weight, weights[key]) for key, weight in built.state_dict().items())
