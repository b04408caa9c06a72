"""Image sets as tensors: Fashion-MNIST (IDX files) and folders laid out like Tiny-ImageNet.

    images = load("fashion-mnist", train=False)

Everything is held in memory as bytes; normalising and augmenting happen a batch at a time.
"""

import gzip
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package puts it
FASHION_MNIST_LABELS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal",
                        "Shirt", "Sneaker", "Bag", "Ankle boot"]


@dataclass
class Images:
    pixels: Tensor  # N x C x H x W, uint8
    classes: Tensor  # N, int64
    labels: list[str]  # the name of each class
    order: str  # what the C channels are: "grey" or "rgb"


def fail(message: str) -> None:
    sys.exit(f"error: {message}")


def read_idx(path: Path) -> np.ndarray:
    """An array of bytes from an IDX file (the format of MNIST and its successors)."""
    with gzip.open(path) as file:
        content = file.read()
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, 4).astype(int)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def load_fashion_mnist(folder: Path, train: bool) -> Images:
    prefix = "train" if train else "t10k"
    paths = [folder / f"{prefix}-images-idx3-ubyte.gz", folder / f"{prefix}-labels-idx1-ubyte.gz"]
    for path in paths:
        if not path.is_file():
            fail(f"{path} is missing: install the package dataset-fashion-mnist, "
                 "or say where the four .gz files are with --data-dir")
    pixels, classes = (read_idx(path) for path in paths)
    return Images(torch.tensor(pixels).unsqueeze(1), torch.tensor(classes).long(),
                  FASHION_MNIST_LABELS, "grey")


def read_rgb(path: Path) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError:
        fail("reading an image folder needs PIL: install the package python3-pil")
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def load_folder(folder: Path, train: bool) -> Images:
    """train/<id>/images/*, or val/val_annotations.txt and val/images/*; classes sorted by id."""
    ids = sorted(p.name for p in (folder / "train").glob("*") if (p / "images").is_dir())
    annotations = folder / "val" / "val_annotations.txt"
    if not ids or not annotations.is_file():
        fail(f"{folder} must hold train/<id>/images/ and val/val_annotations.txt "
             "(the layout of Tiny-ImageNet)")
    number = {id: i for i, id in enumerate(ids)}
    if train:
        files = [(path, id) for id in ids
                 for path in sorted((folder / "train" / id / "images").iterdir())]
    else:
        lines = [line.split("\t") for line in annotations.read_text().splitlines()]
        files = [(folder / "val" / "images" / line[0], line[1])
                 for line in lines if line[1] in number]
    pixels = np.stack([read_rgb(path) for path, _ in files])
    classes = [number[id] for _, id in files]
    return Images(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
                  torch.tensor(classes), label_names(folder, ids), "rgb")


def label_names(folder: Path, ids: list[str]) -> list[str]:
    """First name of each id from words.txt ("id<tab>name, other name"), else the id itself."""
    words = folder / "words.txt"
    if not words.is_file():
        return ids
    names = dict(line.split("\t", 1) for line in words.read_text().splitlines() if "\t" in line)
    return [names.get(id, id).split(",")[0] for id in ids]


def load(name: str, train: bool, folder: str | None = None) -> Images:
    """`name` is "fashion-mnist" or the path of an image folder; `folder` overrides its place."""
    if name == "fashion-mnist":
        return load_fashion_mnist(Path(folder) if folder else FASHION_MNIST, train)
    return load_folder(Path(name), train)


def statistics(pixels: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, of pixel values 0..255."""
    sample = pixels[:: max(1, len(pixels) // 10000)].float()
    mean, std = sample.mean((0, 2, 3)), sample.std((0, 2, 3))
    return [round(v, 1) for v in mean.tolist()], [round(v, 1) for v in std.tolist()]


def normalise(pixels: Tensor, mean: list[float], std: list[float]) -> Tensor:
    shape = (1, -1, 1, 1)
    return (pixels.float() - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)


def augment(pixels: Tensor, shift: int) -> Tensor:
    """Mirrors half of the images and moves each by up to `shift` pixels in both directions."""
    n, _, height, width = pixels.shape
    padded = torch.nn.functional.pad(pixels, (shift,) * 4)
    rows = torch.randint(0, 2 * shift + 1, (n, 1)) + torch.arange(height)
    columns = torch.randint(0, 2 * shift + 1, (n, 1)) + torch.arange(width)
    mirrored = torch.rand(n, 1) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    picked = padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)
