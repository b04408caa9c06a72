"""Trains a DeCNN-style network with PyTorch and saves a checkpoint.

    python3 train.py --arch resnet18 --groups 4 --width 1.5 --base 16 --stem-stride 2 \\
        --epochs 20 --seed 1 --out fashion.pt

SGD with Nesterov momentum under a one-cycle or cosine schedule. The checkpoint holds the
weights and all that export.py and evaluate.py need: architecture, preprocessing, labels.
"""

import argparse
import time

import torch
from torch import nn

import data
import models


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion-mnist",
                        help="fashion-mnist, or a folder laid out like Tiny-ImageNet")
    parser.add_argument("--data-dir", help="where Fashion-MNIST's four .gz files are")
    add_network_arguments(parser)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=0.2, help="highest learning rate")
    parser.add_argument("--schedule", choices=["one-cycle", "cosine"], default="one-cycle")
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--label-smoothing", type=float, default=0.0)
    parser.add_argument("--shift", type=int, default=2, help="augmentation: pixels to move by")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", required=True, help="the checkpoint to write")
    return parser.parse_args()


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arch", choices=sorted(models.ARCHITECTURES), default="resnet18")
    parser.add_argument("--groups", type=int, default=1)
    parser.add_argument("--width", type=float, default=1.0,
                        help="multiplier of the number of kernels")
    parser.add_argument("--base", type=int, default=64, help="channels of the first stage")
    parser.add_argument("--shuffle", choices=models.SHUFFLES, default="stages")
    parser.add_argument("--stem-stride", type=int, choices=[1, 2], default=1,
                        help="stride of the first convolution of a network for small images")


def network_options(arguments: argparse.Namespace, image: int, classes: int,
                    in_channels: int) -> dict:
    """The arguments of models.build()."""
    return {"arch": arguments.arch, "groups": arguments.groups, "width": arguments.width,
            "base": arguments.base, "shuffle": arguments.shuffle,
            "stem_stride": arguments.stem_stride, "image": image, "classes": classes,
            "in_channels": in_channels}


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Weights decay; biases and BatchNorm's scales do not."""
    weights = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    return [{"params": weights, "weight_decay": weight_decay},
            {"params": others, "weight_decay": 0.0}]


def make_schedule(kind: str, optimizer: torch.optim.Optimizer, rate: float, steps: int):
    if kind == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.2,
                                               cycle_momentum=False, final_div_factor=1e3)


def train_epoch(model: nn.Module, images: data.Images, arguments: argparse.Namespace,
                loss_of: nn.Module, optimizer: torch.optim.Optimizer, schedule,
                mean: list[float], std: list[float]) -> float:
    model.train()
    total, batches = 0.0, steps_per_epoch(images, arguments.batch)
    order = torch.randperm(len(images.pixels))
    for i in range(batches):
        batch = order[i * arguments.batch:(i + 1) * arguments.batch]
        x = data.normalise(data.augment(images.pixels[batch], arguments.shift), mean, std)
        loss = loss_of(model(x.contiguous(memory_format=torch.channels_last)),
                       images.classes[batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item()
    return total / batches


def steps_per_epoch(images: data.Images, batch: int) -> int:
    return max(1, len(images.pixels) // batch)  # the incomplete last batch is left out


def predict(model: nn.Module, pixels: torch.Tensor, mean: list[float], std: list[float],
            batch: int = 250) -> torch.Tensor:
    """Raw outputs for all of `pixels`, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(data.normalise(part, mean, std)) for part in pixels.split(batch)])


def accuracy(outputs: torch.Tensor, classes: torch.Tensor) -> float:
    return (outputs.argmax(1) == classes).float().mean().item()


def main() -> None:
    arguments = parse_arguments()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    images = data.load(arguments.data, train=True, folder=arguments.data_dir)
    test = data.load(arguments.data, train=False, folder=arguments.data_dir)
    mean, std = data.statistics(images.pixels)
    _, channels, height, width = images.pixels.shape

    options = network_options(arguments, height, len(images.labels), channels)
    model = models.build(**options).to(memory_format=torch.channels_last)
    mega = models.multiply_adds(model, (channels, height, width)) / 1e6
    print(f"{arguments.arch}: {sum(p.numel() for p in model.parameters())} parameters, "
          f"{mega:.2f} million multiply-adds an image", flush=True)

    optimizer = torch.optim.SGD(parameter_groups(model, arguments.weight_decay), arguments.rate,
                                momentum=0.9, nesterov=True)
    steps = arguments.epochs * steps_per_epoch(images, arguments.batch)
    schedule = make_schedule(arguments.schedule, optimizer, arguments.rate, steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=arguments.label_smoothing)
    for epoch in range(1, arguments.epochs + 1):
        start = time.monotonic()
        loss = train_epoch(model, images, arguments, loss_of, optimizer, schedule, mean, std)
        top1 = accuracy(predict(model, test.pixels, mean, std), test.classes)
        print(f"epoch {epoch:3d}  loss {loss:.4f}  top-1 {100 * top1:.2f} %  "
              f"{time.monotonic() - start:.0f} s", flush=True)

    torch.save({"options": options, "state": model.state_dict(), "labels": images.labels,
                "preprocess": {"height": height, "width": width, "channels": images.order,
                               "mean": mean, "std": std, "resize": "stretch"},
                "data": arguments.data, "top1": top1, "seed": arguments.seed}, arguments.out)


if __name__ == "__main__":
    main()
