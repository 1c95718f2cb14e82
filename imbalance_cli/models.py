"""Models: each a `backbone` from images to features followed by a linear `classifier` of its own name.

Every builder has the form `(classes, image_size, *, options) -> Sequential(backbone=..., classifier=...)`. Images
arrive normalised, float [batch, 3, image_size, image_size]; logits leave, float [batch, classes].
"""

from __future__ import annotations

from collections import OrderedDict
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Interval

from imbalance_cli.errors import NetworkError, SettingError
from imbalance_cli.lazy import lazy_import
from imbalance_cli.randomness import keyed_seed
from imbalance_cli.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import nn
    from torch.nn import Module, Sequential

    from imbalance_cli import blocks
else:
    torch = lazy_import("torch")
    nn = lazy_import("torch.nn")
    blocks = lazy_import("imbalance_cli.blocks")


MODELS = Registry("model")  # type: ignore[var-annotated]

Dropout = Annotated[float, Interval(ge=0, lt=1)]
Width = Annotated[int, Interval(ge=1, le=1024)]
Classifier = Literal["linear", "cosine"]


def build_model(choice: Mapping[str, Any], classes: int, image_size: int, seed: int) -> Sequential:
    """The chosen model, its initial weights drawn from `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(keyed_seed(seed, "weights"))
        model: Sequential = MODELS.bind(choice)(classes, image_size)
    return model


def parameter_count(model: Module) -> int:
    """How many numbers training may change."""
    return sum(parameter.numel() for parameter in model.parameters())


@MODELS.register
def cnn(
    classes: int, image_size: int, *, width: Width = 32, dropout: Dropout = 0.0, classifier: Classifier = "linear"
) -> Sequential:
    """Three convolutions with batch norm, 94 thousand parameters: the fast default.

    When: to try methods out on small images, on a laptop too. Where accuracy counts, a residual network has more to
    give; width makes this one larger.
    """
    backbone = nn.Sequential(
        *blocks.convolution(3, width),
        nn.MaxPool2d(2),
        *blocks.convolution(width, 2 * width),
        nn.MaxPool2d(2),
        *blocks.convolution(2 * width, 4 * width),
        nn.MaxPool2d(2),
        blocks.GlobalAverage(),
    )
    return _with_classifier(backbone, 4 * width, classes, dropout, classifier)


@MODELS.register
def tutorial(classes: int, image_size: int, *, dropout: Dropout = 0.0, classifier: Classifier = "linear") -> Sequential:
    """The classroom network: two convolutions and three linear layers, after LeNet (LeCun et al., 1998).

    When: to repeat a course's exercise with the network that it uses, or where batches must hold a single image, for
    it has no batch norm. For all else there is cnn.

    Images must have 16 pixels a side or more.

    Also known as: lenet.

    Raises SettingError for images smaller than 16 pixels.
    """
    side = ((image_size - 4) // 2 - 4) // 2
    if side < 1:
        raise SettingError(
            f"data.image_size must be at least 16 for model tutorial; got {image_size}; "
            "give a larger one, or another model"
        )
    backbone = nn.Sequential(
        nn.Conv2d(3, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * side * side, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
    )
    return _with_classifier(backbone, 84, classes, dropout, classifier)


@MODELS.register
def resnet8(
    classes: int, image_size: int, *, width: Width = 16, dropout: Dropout = 0.0, classifier: Classifier = "linear"
) -> Sequential:
    """The smallest CIFAR-style residual network: three blocks (He et al., 2016).

    When: for small images, as a step up from cnn that a processor without a GPU still manages.
    """
    return _cifar_resnet(1, width, classes, dropout, classifier)


@MODELS.register
def resnet20(
    classes: int, image_size: int, *, width: Width = 16, dropout: Dropout = 0.0, classifier: Classifier = "linear"
) -> Sequential:
    """CIFAR-style residual network with 20 layers (He et al., 2016).

    When: for small images such as CIFAR's, between resnet8 and resnet32 in time and accuracy; best with a GPU.
    """
    return _cifar_resnet(3, width, classes, dropout, classifier)


@MODELS.register
def resnet32(
    classes: int, image_size: int, *, width: Width = 16, dropout: Dropout = 0.0, classifier: Classifier = "linear"
) -> Sequential:
    """The long-tail papers' network: 464,154 parameters on ten classes, 7,386,186 at width 64 (He et al., 2016).

    When: to compare with published numbers on CIFAR-10-LT and CIFAR-100-LT. Look at the width a paper used: 16 and 64
    go by the same name. For their 200 epochs a GPU is wanted.
    """
    return _cifar_resnet(5, width, classes, dropout, classifier)


@MODELS.register
def resnet18(
    classes: int,
    image_size: int,
    *,
    pretrained: bool = False,
    dropout: Dropout = 0.0,
    classifier: Classifier = "linear",
) -> Sequential:
    """torchvision's ResNet-18 for larger images; `pretrained` starts from its ImageNet weights (He et al., 2016).

    When: for photographs of your own, with pretrained=true: a few rare images cannot teach the features that a million
    others did. Those weights expect images of about 224 pixels; small ones such as CIFAR's are for resnet32.

    Images must have 17 pixels a side or more. pretrained needs torchvision, and the network once to fetch the weights.

    Raises SettingError for images smaller than 17 pixels.
    """
    return _torchvision_resnet("resnet18", pretrained, classes, image_size, dropout, classifier)


@MODELS.register
def resnet50(
    classes: int,
    image_size: int,
    *,
    pretrained: bool = False,
    dropout: Dropout = 0.0,
    classifier: Classifier = "linear",
) -> Sequential:
    """torchvision's ResNet-50 for larger images; `pretrained` starts from its ImageNet weights (He et al., 2016).

    When: as resnet18, where there are images and time for a larger network.

    Images must have 17 pixels a side or more. pretrained needs torchvision, and the network once to fetch the weights.

    Raises SettingError for images smaller than 17 pixels.
    """
    return _torchvision_resnet("resnet50", pretrained, classes, image_size, dropout, classifier)


def _with_classifier(
    backbone: Module, features: int, classes: int, dropout: float, classifier: Classifier
) -> Sequential:
    if dropout > 0:
        backbone.append(nn.Dropout(dropout))  # type: ignore[operator]
    head = nn.Linear(features, classes) if classifier == "linear" else blocks.CosineClassifier(features, classes)
    return nn.Sequential(OrderedDict(backbone=backbone, classifier=head))


def _cifar_resnet(depth: int, width: int, classes: int, dropout: float, classifier: Classifier) -> Sequential:
    stages: list[Module] = []
    channels = width
    for out_channels in (width, 2 * width, 4 * width):
        for block in range(depth):
            stride = 2 if block == 0 and out_channels != width else 1
            stages.append(blocks.Residual(channels, out_channels, stride))
            channels = out_channels
    backbone = nn.Sequential(*blocks.convolution(3, width), *stages, blocks.GlobalAverage())
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return _with_classifier(backbone, channels, classes, dropout, classifier)


def _torchvision_resnet(
    name: str, pretrained: bool, classes: int, image_size: int, dropout: float, classifier: Classifier
) -> Sequential:
    # Below that its last stride of 2 would start from a single pixel, of which PyTorch 2.15 computes wrong gradients
    # in bfloat16 on a processor.
    if image_size < 17:
        raise SettingError(
            f"data.image_size must be at least 17 for model {name}; got {image_size}; "
            "give a larger one, or another model"
        )
    from urllib.error import URLError

    models = import_torchvision().models
    try:
        network = getattr(models, name)(weights="DEFAULT" if pretrained else None)
    except URLError as error:
        raise NetworkError(
            f"model.pretrained: the weights of {name} could not be fetched ({error.reason}); "
            "connect to the network once, or set model.pretrained=false"
        ) from error
    features = network.fc.in_features
    network.fc = nn.Identity()
    return _with_classifier(nn.Sequential(network), features, classes, dropout, classifier)


def import_torchvision() -> Any:
    """torchvision, or one line saying which versions do not fit together. Raises SettingError."""
    try:
        import torchvision
    except (ImportError, RuntimeError, OSError) as error:
        try:
            found = f"torchvision {version('torchvision')} does not load beside torch {torch.__version__}"
        except ImportError:
            found = "torchvision is not installed"
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise SettingError(
            f"{found} ({reason}); reinstall the two together: pip install --force-reinstall torch torchvision"
        ) from error
    return torchvision
