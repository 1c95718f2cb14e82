"""Images through a trained model, to logits."""

import os

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from imbalance_cli.data.batches import Normalisation
from imbalance_cli.errors import SettingError

SMALLEST_BATCH = 64


def find_device(name: str) -> torch.device:
    """The device called `name`; auto takes CUDA if there is one. Raises SettingError if it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingError(
            f"device {name}: this machine has {torch.cuda.device_count() or 'no'} CUDA device; use --device cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SettingError("device mps: this machine has no Apple GPU; use --device cpu")
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic algorithms need there
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return device


@torch.inference_mode()
def predict(
    model: Module,
    images: Tensor,
    normalise: Normalisation,
    *,
    device: torch.device,
    batch_size: int = 500,
    precision: torch.dtype = torch.float32,
    flip: bool = False,
) -> Tensor:
    """Logits, float32 [n, classes] on the CPU, of uint8 images [n, 3, h, w]; the model is in evaluation mode.

    Small batches are filled up, because matrix kernels round differently for them: the result does not depend on
    the batch size. flip: the mean over each image and its mirror image.
    """
    model.eval()
    logits = []
    for batch in torch.split(images, batch_size):
        filling = max(0, SMALLEST_BATCH - len(batch))
        filled = F.pad(batch.to(device), (0, 0, 0, 0, 0, 0, 0, filling))
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            found = model(normalise(filled))
            if flip:
                found = (found.float() + model(normalise(filled.flip(3))).float()) / 2
            logits.append(found[: len(batch)].float())
    return torch.cat(logits).cpu()
