#!/usr/bin/python3
"""Times ResNet-34 or ResNet-50 in sbcnn's kernels and in PyTorch, in turns, on this machine.

Both compute with the same number of threads and random weights. PyTorch runs four ways and its
best counts: as the model is written, channels_last, and each of them traced and frozen (which
folds batch normalisation and lets oneDNN fuse ReLU). `convolutions` sums the layers of each side
run by themselves, with weights of their own, bias and ReLU included. Beware: as written, PyTorch
1.13 runs 1x1 convolutions of stride 1 through the system's BLAS, which for Debian's reference
libblas3 is some ten times slower than OpenBLAS; the frozen forms go through oneDNN alone.

    bench/net_vs_torch.py build/bench/sbcnn-bench [--network resnet34] [--turns 7] [--json]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", help="path of sbcnn-bench")
    parser.add_argument("--network", default="resnet34", choices=["resnet34", "resnet50"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--isa", help="of sbcnn; default: the best of this machine")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=5, help="runs per turn and side")
    parser.add_argument("--cpu-time", action="store_true",
                        help="time that the thread ran: for one thread on a busy machine")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def time_sbcnn(arguments):
    """Returns seconds: {whole network, convolutions}, the least of the rounds."""
    command = [arguments.bench, "kernels", "--json", "--network", arguments.network]
    command += ["--size", str(arguments.size), "--threads", str(arguments.threads)]
    command += ["--rounds", str(arguments.rounds)]
    if arguments.isa:
        command += ["--isa", arguments.isa]
    if arguments.cpu_time:
        command += ["--cpu-time"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    layers = {layer["layer"]: layer["min_ms"] / 1e3 for layer in json.loads(output)["layers"]}
    return {"network": layers["all"], "convolutions": layers["all convolutions"]}


def least(rounds, clock, function):
    best = float("inf")
    for _ in range(rounds):
        start = clock()
        function()
        best = min(best, clock() - start)
    return best


class Torch:
    def __init__(self, arguments):
        import torch
        import torchvision

        torch.set_num_threads(arguments.threads)
        torch.set_flush_denormal(True)  # random weights breed denormals, trained ones do not
        self.torch = torch
        self.rounds = arguments.rounds
        self.clock = time.thread_time if arguments.cpu_time else time.perf_counter
        model = getattr(torchvision.models, arguments.network)(weights=None).eval()
        image = torch.rand(1, 3, arguments.size, arguments.size)
        last = model.to(memory_format=torch.channels_last)
        image_last = image.to(memory_format=torch.channels_last)
        self.forms = {}
        for name, m, x in [("plain", model, image), ("channels_last", last, image_last)]:
            self.forms[name] = (m, x)
            traced = torch.jit.freeze(torch.jit.trace(m, x))
            self.forms[name + ", frozen"] = (torch.jit.optimize_for_inference(traced), x)
        self.convolutions = self.record_convolutions(model, image)
        with torch.inference_mode():
            for m, x in self.forms.values():
                for _ in range(3):
                    m(x)

    def record_convolutions(self, model, image):
        """(convolution with bias and ReLU, input) for each convolution of the network."""
        torch = self.torch
        found = []

        def record(module, inputs):
            conv = torch.nn.Conv2d(module.in_channels, module.out_channels, module.kernel_size,
                                   module.stride, module.padding)
            block = torch.nn.Sequential(conv, torch.nn.ReLU(inplace=True)).eval()
            found.append((block, inputs[0].contiguous()))

        hooks = [m.register_forward_pre_hook(record) for m in model.modules()
                 if isinstance(m, torch.nn.Conv2d)]
        with torch.inference_mode():
            model(image)
        for hook in hooks:
            hook.remove()
        return found

    def time(self):
        with self.torch.inference_mode():
            times = {name: least(self.rounds, self.clock, lambda: model(image))
                     for name, (model, image) in self.forms.items()}
            convolutions = least(self.rounds, self.clock,
                                 lambda: [conv(x) for conv, x in self.convolutions])
        return times, convolutions


def main():
    arguments = parse_arguments()
    # Only sbcnn's and PyTorch's own threads are to be compared.
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(arguments.threads)
    peer = Torch(arguments)
    ours, theirs, forms = [], [], []
    for _ in range(arguments.turns):
        ours.append(time_sbcnn(arguments))
        times, convolutions = peer.time()
        forms.append(times)
        theirs.append({"network": min(times.values()), "convolutions": convolutions})
    result = {"network": arguments.network, "size": arguments.size, "threads": arguments.threads}
    for what in ["network", "convolutions"]:
        ratios = [t[what] / o[what] for o, t in zip(ours, theirs)]
        result[what + "_ms"] = {"sbcnn": statistics.median(o[what] for o in ours) * 1e3,
                                "torch": statistics.median(t[what] for t in theirs) * 1e3,
                                "ratio": statistics.median(ratios), "least_ratio": min(ratios)}
    result["torch_forms_ms"] = {name: statistics.median(f[name] for f in forms) * 1e3
                                for name in forms[0]}
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{arguments.network} at {arguments.size}, {arguments.threads} thread(s), "
          f"{'CPU' if arguments.cpu_time else 'wall'} time, median of {arguments.turns} turns")
    for what in ["network", "convolutions"]:
        row = result[what + "_ms"]
        print(f"  {what:13} sbcnn {row['sbcnn']:8.2f} ms   torch {row['torch']:8.2f} ms   "
              f"sbcnn is {row['ratio']:.2f} times as fast (at least {row['least_ratio']:.2f})")
    for name, value in result["torch_forms_ms"].items():
        print(f"    torch {name:22} {value:8.2f} ms")


if __name__ == "__main__":
    sys.exit(main())
