"""Our optimizers take the steps of torch.optim's."""

import pytest
import torch

from imbalance_cli.methods.optimizers import OPTIMIZERS

SHAPES = [(4, 3, 3, 3), (7,), ()]
RATES = [0.1, 0.1, 0.01, 0.05]


def both_trained(choice, reference, weight_decay, dtype=torch.float32):
    """Random weights after steps of ours and of `reference` along the same random gradients."""
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(shape, generator=generator, dtype=dtype) for shape in SHAPES]
    theirs = [weight.clone().requires_grad_() for weight in ours]
    optimizer = reference(theirs, weight_decay)
    memory = {}
    for rate in RATES:
        gradients = [torch.randn(shape, generator=generator, dtype=dtype) for shape in SHAPES]
        for weight, gradient in zip(theirs, gradients, strict=True):
            weight.grad = gradient.clone()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        OPTIMIZERS.bind(choice)(ours, gradients, memory, rate, weight_decay)
    return ours, [weight.detach() for weight in theirs]


def sgd(momentum, nesterov):
    return lambda weights, decay: torch.optim.SGD(
        weights, lr=1, momentum=momentum, nesterov=nesterov, weight_decay=decay
    )


def adamw(beta1, beta2):
    return lambda weights, decay: torch.optim.AdamW(weights, lr=1, betas=(beta1, beta2), weight_decay=decay)


@pytest.mark.parametrize("weight_decay", [0.0, 5e-4])
@pytest.mark.parametrize(
    ("choice", "reference"),
    [
        ({"name": "sgd"}, sgd(0.9, True)),
        ({"name": "sgd", "momentum": 0.5, "nesterov": False}, sgd(0.5, False)),
        ({"name": "sgd", "momentum": 0.0}, sgd(0.0, False)),
        ({"name": "adamw"}, adamw(0.9, 0.999)),
        ({"name": "adamw", "beta1": 0.5, "beta2": 0.9}, adamw(0.5, 0.9)),
    ],
    ids=["sgd", "without nesterov", "without momentum", "adamw", "other betas"],
)
def test_steps_are_those_of_torch(choice, reference, weight_decay):
    for ours, theirs in zip(*both_trained(choice, reference, weight_decay), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_the_first_step_goes_downhill(name):
    weights, gradients = [torch.tensor([1.0, -1.0])], [torch.tensor([2.0, -3.0])]
    OPTIMIZERS.bind({"name": name})(weights, gradients, {}, 0.01, 0.0)
    assert (weights[0].abs() < 1).all()


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_gradients_are_left_alone_and_the_memory_is_plain_data(name):
    gradients, memory = [torch.ones(3)], {}
    OPTIMIZERS.bind({"name": name})([torch.ones(3)], gradients, memory, 0.01, 0.1)
    assert gradients[0].tolist() == [1, 1, 1]
    for value in memory.values():
        assert isinstance(value, int) or all(isinstance(each, torch.Tensor) for each in value)
