"""PyTorch as a rival: a process of bench/rivals.

    rival_pytorch.py version
    rival_pytorch.py export MODEL                       writes MODEL.onnx and MODEL.pt
    rival_pytorch.py time MODEL FRAMES.npy [options]    prints {"ms": {form: [...]}, "outputs": [...]}

MODEL is a path whose last part is torchvision's name of a network.
"""
import argparse
import json
import pathlib
import sys
import time

import numpy
import torch
import torchvision


def export(path: pathlib.Path) -> None:
    torch.manual_seed(1)
    model = getattr(torchvision.models, path.name)(weights=None)
    # Batch normalisation gets the statistics of some random images, as if it had been trained:
    # activations then stay in range.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        for _ in range(2):
            model.train()(torch.rand(4, 3, 224, 224))
    model.eval()
    torch.save(model, path.with_suffix(".pt"))
    torch.onnx.export(model, torch.rand(1, 3, 224, 224), path.with_suffix(".onnx"),
                      opset_version=13, input_names=["input"], output_names=["output"])


def forms(model: torch.nn.Module, frames: torch.Tensor):
    """(name, model, frames) one after the other, so that only one is in memory."""
    for name, layout in (("as written", torch.contiguous_format),
                         ("channels_last", torch.channels_last)):
        laid = model.to(memory_format=layout)
        inputs = [frame.unsqueeze(0).contiguous(memory_format=layout) for frame in frames]
        yield name, laid, inputs
        frozen = torch.jit.freeze(torch.jit.trace(laid, inputs[0]))
        yield f"{name}, frozen", torch.jit.optimize_for_inference(frozen), inputs


def time_forms(arguments: argparse.Namespace) -> dict:
    torch.set_num_threads(arguments.threads)
    torch.set_num_interop_threads(1)
    torch.set_flush_denormal(True)
    model = torch.load(arguments.model.with_suffix(".pt")).eval()
    frames = torch.from_numpy(numpy.load(arguments.npy))
    told = {"ms": {}, "outputs": []}
    with torch.inference_mode():
        for name, network, inputs in forms(model, frames):
            ms = []
            for frame in inputs[:arguments.warm_up + arguments.frames]:
                begin = time.perf_counter()
                network(frame)
                ms.append((time.perf_counter() - begin) * 1e3)
            told["ms"][name] = ms[arguments.warm_up:]
            outputs = [network(frame).flatten() for frame in inputs[:arguments.compared]]
            told["outputs"] = torch.cat(outputs).tolist()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["version", "export", "time"])
    parser.add_argument("model", nargs="?", type=pathlib.Path)
    parser.add_argument("npy", nargs="?")
    for option, value in (("threads", 1), ("warm-up", 5), ("frames", 20), ("compared", 1)):
        parser.add_argument(f"--{option}", type=int, default=value)
    arguments = parser.parse_args()
    if arguments.what == "version":
        print(torch.__version__)
    elif arguments.what == "export":
        export(arguments.model)
    else:
        json.dump(time_forms(arguments), sys.stdout)


if __name__ == "__main__":
    main()
