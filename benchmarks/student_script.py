"""The script that a student would write: PIL images, torchvision's transforms, a DataLoader, a float32 loop.

It trains as tutorials do, except that it evaluates once, at the end, as the project does without validation images.
Only the network comes from the project, so that the data path and the loop are all that differs.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms

from imbalance_cli.models import build_model, parameter_count

TO_TENSOR = [transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))]
TRAIN_TRANSFORM = transforms.Compose(
    [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), *TO_TENSOR]
)
TEST_TRANSFORM = transforms.Compose(TO_TENSOR)


class ImageFolder(Dataset):
    """The images of FOLDER/<class>/*.png, decoded once."""

    def __init__(self, folder, transform):
        self.classes = sorted(path.name for path in folder.iterdir())
        self.images, self.labels = [], []
        for label, name in enumerate(self.classes):
            for path in sorted((folder / name).glob("*.png")):
                self.images.append(Image.open(path).convert("RGB"))
                self.labels.append(label)
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(self.images[index]), self.labels[index]


def first_of_each_class(dataset, per_class):
    """The first `per_class` images of every class, as scripts about imbalance take their subset."""
    indices = []
    for label in range(len(dataset.classes)):
        indices += [index for index, other in enumerate(dataset.labels) if other == label][:per_class]
    return Subset(dataset, indices)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--per-class", type=int, required=True)
    parser.add_argument("--model", default="tutorial")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    torch.manual_seed(0)
    train = first_of_each_class(ImageFolder(options.folder / "train", TRAIN_TRANSFORM), options.per_class)
    test = ImageFolder(options.folder / "test", TEST_TRANSFORM)
    train_loader = DataLoader(train, options.batch_size, shuffle=True, num_workers=options.workers)
    test_loader = DataLoader(test, options.batch_size, num_workers=options.workers)

    model = build_model({"name": options.model}, len(test.classes), 32, seed=0).to(options.device)
    print(f"parameters {parameter_count(model)}")
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)

    for epoch in range(options.epochs):
        model.train()
        running_loss = 0.0
        for images, labels in train_loader:
            images, labels = images.to(options.device), labels.to(options.device)
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
        scheduler.step()
        print(f"epoch {epoch + 1}/{options.epochs}  loss {running_loss / len(train_loader):.4f}", flush=True)

    model.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in test_loader:
            images, labels = images.to(options.device), labels.to(options.device)
            correct += (model(images).argmax(1) == labels).sum().item()
    print(f"accuracy {correct / len(test)}")


if __name__ == "__main__":
    main()
