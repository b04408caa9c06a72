"""Runs a checkpoint with PyTorch on its test images and prints the top-1 accuracy.

    python3 evaluate.py fashion.pt
    python3 evaluate.py fashion.pt --outputs y.npy --count 64   # raw outputs of 64 images
    python3 evaluate.py fashion.pt --top1 top1.npy              # the class of each image

The files are a reference for what sbcnn computes from the exported network.
"""

import argparse

import numpy as np
import torch

import data
from export import load_checkpoint, restore
from train import accuracy, predict


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="what train.py wrote")
    parser.add_argument("--data", help="the images, if not those that it was trained with")
    parser.add_argument("--data-dir", help="where Fashion-MNIST's four .gz files are")
    parser.add_argument("--outputs", help="save raw outputs to this .npy file (float32)")
    parser.add_argument("--top1", help="save the likeliest classes to this .npy file")
    parser.add_argument("--count", type=int, help="how many images' outputs to save (all)")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    checkpoint = load_checkpoint(arguments.checkpoint)
    test = data.load(arguments.data or checkpoint["data"], train=False,
                     folder=arguments.data_dir)
    preprocess = checkpoint["preprocess"]
    outputs = predict(restore(checkpoint), test.pixels, preprocess["mean"], preprocess["std"])
    print(f"{100 * accuracy(outputs, test.classes):.2f} % of {len(test.classes)} images")
    if arguments.outputs:
        np.save(arguments.outputs, outputs[:arguments.count].numpy())
    if arguments.top1:
        kind = np.uint8 if outputs.shape[1] <= 256 else np.uint16
        np.save(arguments.top1, outputs.argmax(1).numpy().astype(kind))


if __name__ == "__main__":
    main()
