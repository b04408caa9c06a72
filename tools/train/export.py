"""Writes a checkpoint, or an untrained network, as ONNX (opset 13, BatchNorm folded).

    python3 export.py fashion.pt --out fashion.onnx
    python3 export.py --untrained --arch resnet50 --groups 4 --width 1.5 --image 224 \\
        --classes 1000 --out resnet50_g4.onnx

The file's metadata says how to use it: `sbcnn.preprocess` is JSON with height, width,
channels ("grey", "rgb" or "bgr"), mean and std (x = (pixel - mean[c]) / std[c], pixels
0..255) and resize ("stretch", or "crop": scale the shorter side, then cut the centre);
`sbcnn.labels` is a JSON array of class names.
"""

import argparse
import json
import sys
from pathlib import Path

import onnx
import torch
from torch import nn

import models
from train import add_network_arguments, network_options

IMAGENET_MEAN = [123.675, 116.28, 103.53]
IMAGENET_STD = [58.395, 57.12, 57.375]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", help="what train.py wrote")
    parser.add_argument("--out", required=True, help="the .onnx file to write")
    parser.add_argument("--opset", type=int, default=13)
    parser.add_argument("--dynamic-batch", action="store_true",
                        help="leave the number of images open")
    parser.add_argument("--untrained", action="store_true",
                        help="random weights, for benchmarks; the options below say which network")
    add_network_arguments(parser)
    parser.add_argument("--image", type=int, default=224)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--in-channels", type=int, choices=[1, 3], default=3)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if bool(arguments.checkpoint) == arguments.untrained:
        parser.error("give either a checkpoint or --untrained")
    return arguments


def load_checkpoint(path: str) -> dict:
    if not Path(path).is_file():
        sys.exit(f"error: there is no checkpoint {path}: train.py writes one")
    return torch.load(path, map_location="cpu")


def restore(checkpoint: dict) -> nn.Module:
    model = models.build(**checkpoint["options"])
    model.load_state_dict(checkpoint["state"])
    return model.eval()


def untrained(arguments: argparse.Namespace) -> tuple[nn.Module, dict, list[str]]:
    """A network with random weights, how to prepare its input, and stand-ins for labels."""
    torch.manual_seed(arguments.seed)
    image, channels = arguments.image, arguments.in_channels
    model = models.build(**network_options(arguments, image, arguments.classes, channels))
    models.settle_batch_norm(model, (8, channels, image, image))
    preprocess = {"height": image, "width": image, "channels": "rgb" if channels == 3 else "grey",
                  "mean": IMAGENET_MEAN if channels == 3 else [127.5],
                  "std": IMAGENET_STD if channels == 3 else [127.5], "resize": "crop"}
    return model, preprocess, [f"class {i}" for i in range(arguments.classes)]


def write_onnx(model: nn.Module, shape: tuple[int, ...], path: str, opset: int,
               dynamic_batch: bool, metadata: dict[str, str]) -> None:
    axes = {"input": {0: "batch"}, "output": {0: "batch"}} if dynamic_batch else None
    torch.onnx.export(model.eval(), torch.zeros(shape), path, opset_version=opset,
                      input_names=["input"], output_names=["output"], dynamic_axes=axes)
    file = onnx.load(path)
    onnx.helper.set_model_props(file, metadata)
    onnx.checker.check_model(file)
    onnx.save(file, path)


def main() -> None:
    arguments = parse_arguments()
    if arguments.untrained:
        model, preprocess, labels = untrained(arguments)
    else:
        checkpoint = load_checkpoint(arguments.checkpoint)
        model = restore(checkpoint)
        preprocess, labels = checkpoint["preprocess"], checkpoint["labels"]
    channels = len(preprocess["mean"])
    shape = (1, channels, preprocess["height"], preprocess["width"])
    write_onnx(model, shape, arguments.out, arguments.opset, arguments.dynamic_batch,
               {"sbcnn.preprocess": json.dumps(preprocess), "sbcnn.labels": json.dumps(labels)})
    print(f"{arguments.out}: {Path(arguments.out).stat().st_size / 2**20:.2f} MiB, "
          f"{models.multiply_adds(model, shape) / 1e6:.2f} million multiply-adds an image")


if __name__ == "__main__":
    main()
