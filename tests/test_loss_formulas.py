"""The formulas in the losses' docstrings, read as they stand: what they say is what the losses compute."""

import inspect
import re
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from imbalance_cli.methods.losses import LOSSES

IN_WORDS = {"huber", "equalization", "auc_margin", "pairwise_hinge"}  # these formulas are for people only
READ = sorted(set(LOSSES.names()) - IN_WORDS)

OTHER_OPTIONS = [
    ("cross_entropy", {"label_smoothing": 0.2}),
    ("focal", {"gamma": 0.5, "alpha": [0.1, 0.2, 0.3, 0.4]}),
    ("logit_adjustment", {"tau": 0.5}),
    ("logit_adjustment", {"tau": 2.0, "label_smoothing": 0.2}),
    ("hinge", {"margin": 2.0}),
    ("class_balanced_focal", {"beta": 0.99, "gamma": 2.5}),
    ("asymmetric", {"gamma_positive": 1.5, "gamma_negative": 2.0, "label_smoothing": 0.3}),
    ("poly1", {"epsilon": -1.0}),
    ("poly_focal", {"gamma": 0.5, "epsilon": 3.0}),
    ("ldam", {"max_margin": 0.1, "scale": 5.0}),
    ("vector_scaling", {"gamma": 0.4, "tau": 0.7}),
    ("margin_hinge", {"margin": 3.0}),
    ("seesaw", {"mitigation": 1.5, "compensation": 0.5}),
    ("influence_balanced", {"scale": 10.0, "epsilon": 0.1}),
    ("label_aware_smoothing", {"head": 0.1, "tail": 0.4}),
    ("generalized_cross_entropy", {"q": 0.3, "truncation": 0.5}),
    ("symmetric_cross_entropy", {"forward": 6.0, "reverse": 0.1}),
]

LABELS = torch.arange(4).repeat(25)
DRAWN = torch.tensor([400.0, 100, 30, 7], dtype=torch.float64)  # images of each class in the stream
IMAGES = torch.tensor([300.0, 7, 60, 20], dtype=torch.float64)  # and in the data


def as_python(formula: str) -> str:
    """`-(1 - p_y)^gamma log p_y` as `-(1 - p_y)**gamma * log(p_y)`; a sum goes over the product that follows."""
    formula = formula.replace("_{j != y}", "_others").replace("|x|_1", "size_of_x")
    formula = re.sub(r"\b((?:sum|max|min)_(?:j|k|others)) ((?:\([^()]*\)|[^()+/-])+)", r"\1(\2)", formula)
    formula = re.sub(r"\blog (\w+(?:\([^()]*\))?)", r"log(\1)", formula)
    return re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", formula).replace("^", "**")


def documented(name: str, logits: Tensor, features: Tensor, options: dict) -> Tensor:
    """What the formula of the loss comes to, its lines from the last to the first: [batch]."""
    options = {key: option.default for key, option in LOSSES.get(name).options.items()} | options
    known = {
        "log": torch.log, "exp": torch.exp, "sigmoid": torch.sigmoid, "sin": torch.sin, "degrees": torch.pi / 180,
        "max": lambda least, value: value.clamp(min=least), "min": lambda most, value: value.clamp(max=most),
        "C": 4, "size_of_x": features.abs().sum(1, keepdim=True), **options,
    }  # fmt: skip
    others = one_hot(LABELS, 4) == 0
    for word, reduced in (("sum", torch.sum), ("max", torch.amax), ("min", torch.amin)):
        known[f"{word}_j"] = known[f"{word}_k"] = partial(reduced, dim=1, keepdim=True)
        known[f"{word}_others"] = lambda values, reduced=reduced: reduced(values[others].view(-1, 3), 1, True)

    def define(symbol: str, by_class: Tensor) -> None:
        known[f"{symbol}_j"] = known[f"{symbol}_k"] = by_class.expand(100, 4)
        known[f"{symbol}_y"] = known[f"{symbol}_j"].gather(1, LABELS.unsqueeze(1))

    alpha = torch.tensor(options.get("alpha") or [1.0], dtype=torch.float64)
    given = {"z": logits, "p": logits.softmax(1), "n": DRAWN, "N": IMAGES, "pi": DRAWN / DRAWN.sum(), "alpha": alpha}
    for symbol, by_class in given.items():
        define(symbol, by_class)
    for line in reversed(LOSSES.get(name).description.formula):
        left, right = line.split(" = ")
        if function := re.fullmatch(r"(\w)\((\w)\)", left):
            known[function[1]] = eval(f"lambda {function[2]}: {as_python(right)}", known)
        elif left.endswith("_j"):
            define(left.removesuffix("_j"), eval(as_python(right), known))
        else:
            known[left] = eval(as_python(right), known)
    return known["loss"].squeeze(1)


def computed(name: str, logits: Tensor, features: Tensor, options: dict) -> Tensor:
    loss = LOSSES.get(name).function
    more = {"features": features, "class_sizes": IMAGES}
    return loss(
        logits, LABELS, DRAWN, **{k: more[k] for k in more if k in inspect.signature(loss).parameters}, **options
    )


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in READ), *OTHER_OPTIONS])
def test_a_loss_is_what_its_formula_says(name, options):
    generator = torch.Generator().manual_seed(0)
    batch = [torch.randn(100, width, generator=generator, dtype=torch.float64) * 3 for width in (4, 5)]
    found = computed(name, *batch, options)
    torch.testing.assert_close(documented(name, *batch, options), found, rtol=1e-10, atol=1e-12)
    assert not options or not torch.allclose(found, computed(name, *batch, {}))


def test_every_option_is_in_its_formula():
    formulas = {name: " ".join(LOSSES.get(name).description.formula) for name in LOSSES.names()}
    options = {(name, option) for name in formulas for option in LOSSES.get(name).options}
    assert [each for each in options if not re.search(rf"\b{each[1]}(_y)?\b", formulas[each[0]])] == []
