"""DeCNN-style networks: ResNet-18/34/50 and VGG-16 with grouped convolutions.

A network with `groups` > 1 has a dense first convolution; every convolution
after it, 1x1 and shortcut ones too, works in `groups` groups that exchange
channels only in a channel shuffle. `shuffle` says where shuffles stand:
'stages' (between stages, as DeCNN has it), 'convs' (after every grouped
convolution, as ShuffleNet has it) or 'none'. `width` is DeCNN's multiplier of
the number of kernels (1.5 makes up for what grouping loses); `base` is the
first stage's channel count before it (64 in the originals).

    model = build("resnet18", groups=4, width=1.5, base=16, image=28,
                  classes=10, in_channels=1)
"""

from typing import Callable

import torch
from torch import Tensor, nn

SHUFFLES = ("stages", "convs", "none")
LARGE_IMAGE = 128  # from this input size on: a 7x7 stem of stride 2 and a pool


class ChannelShuffle(nn.Module):
    """Sends channel i of group j to position (i, j): transposes groups x channels."""

    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        g = self.groups
        return x.view(n, g, c // g, h, w).transpose(1, 2).reshape(n, c, h, w)


def shuffled(groups: int, wanted: bool) -> nn.Module:
    return ChannelShuffle(groups) if wanted and groups > 1 else nn.Identity()


def conv_bn(inputs: int, outputs: int, size: int, stride: int = 1,
            groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class Basic(nn.Module):
    """ResNet's block of two 3x3 convolutions."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int, groups: int, shuffle: str):
        super().__init__()
        self.branch = nn.Sequential(
            *conv_bn(inputs, channels, 3, stride, groups), nn.ReLU(),
            shuffled(groups, shuffle == "convs"),
            *conv_bn(channels, channels, 3, 1, groups))
        self.shortcut = shortcut(inputs, channels, stride, groups)
        self.after = shuffled(groups, shuffle == "convs")

    def forward(self, x: Tensor) -> Tensor:
        return self.after(torch.relu(self.branch(x) + self.shortcut(x)))


class Bottleneck(nn.Module):
    """ResNet's block of a 1x1, a 3x3 (with the stride) and a 1x1 convolution."""

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int, groups: int, shuffle: str):
        super().__init__()
        outputs = channels * self.expansion
        self.branch = nn.Sequential(
            *conv_bn(inputs, channels, 1, 1, groups), nn.ReLU(),
            shuffled(groups, shuffle == "convs"),
            *conv_bn(channels, channels, 3, stride, groups), nn.ReLU(),
            shuffled(groups, shuffle == "convs"),
            *conv_bn(channels, outputs, 1, 1, groups))
        self.shortcut = shortcut(inputs, outputs, stride, groups)
        self.after = shuffled(groups, shuffle == "convs")

    def forward(self, x: Tensor) -> Tensor:
        return self.after(torch.relu(self.branch(x) + self.shortcut(x)))


def shortcut(inputs: int, outputs: int, stride: int, groups: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(*conv_bn(inputs, outputs, 1, stride, groups))


def stem(in_channels: int, channels: int, image: int, stride: int) -> nn.Sequential:
    if image >= LARGE_IMAGE:
        return nn.Sequential(*conv_bn(in_channels, channels, 7, 2), nn.ReLU(),
                             nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*conv_bn(in_channels, channels, 3, stride), nn.ReLU())


def stage_channels(base: int, width: float, groups: int, stages: int) -> list[int]:
    """Channels of each stage, doubling, each rounded to a multiple of `groups`."""
    return [max(1, round(base * 2**i * width / groups)) * groups for i in range(stages)]


def head(features: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes)]


def resnet(block: type, depths: list[int], groups: int, width: float, base: int, image: int,
           shuffle: str, classes: int, in_channels: int, stem_stride: int) -> nn.Sequential:
    channels = stage_channels(base, width, groups, len(depths))
    layers = [stem(in_channels, channels[0], image, stem_stride)]
    inputs = channels[0]
    for stage, (outputs, depth) in enumerate(zip(channels, depths)):
        blocks = []
        for i in range(depth):
            stride = 2 if i == 0 and stage > 0 else 1
            blocks.append(block(inputs, outputs, stride, groups, shuffle))
            inputs = outputs * block.expansion
        between = shuffle == "stages" and stage + 1 < len(depths)
        layers += [nn.Sequential(*blocks), shuffled(groups, between)]
    return nn.Sequential(*layers, *head(inputs, classes))


def vgg16_bn(groups: int, width: float, base: int, image: int, shuffle: str, classes: int,
             in_channels: int, stem_stride: int) -> nn.Sequential:
    channels = stage_channels(base, width, groups, 4)
    channels.append(channels[-1])
    depths = [2, 2, 3, 3, 3]
    layers: list[nn.Module] = []
    inputs = in_channels
    for stage, (outputs, depth) in enumerate(zip(channels, depths)):
        for i in range(depth):
            first = stage == 0 and i == 0
            stride = stem_stride if first and image < LARGE_IMAGE else 1
            layers += [*conv_bn(inputs, outputs, 3, stride, 1 if first else groups), nn.ReLU(),
                       shuffled(groups, shuffle == "convs" and not first)]
            inputs = outputs
        between = shuffle == "stages" and stage + 1 < len(depths)
        # The ceiling keeps a 28x28 input from shrinking to nothing.
        layers += [nn.MaxPool2d(2, 2, ceil_mode=image < LARGE_IMAGE), shuffled(groups, between)]
    return nn.Sequential(*layers, *head(inputs, classes))


def resnet_builder(block: type, depths: list[int]) -> Callable[..., nn.Sequential]:
    return lambda **arguments: resnet(block, depths, **arguments)


ARCHITECTURES: dict[str, Callable[..., nn.Sequential]] = {
    "resnet18": resnet_builder(Basic, [2, 2, 2, 2]),
    "resnet34": resnet_builder(Basic, [3, 4, 6, 3]),
    "resnet50": resnet_builder(Bottleneck, [3, 4, 6, 3]),
    "vgg16_bn": vgg16_bn,
}


def build(arch: str, groups: int = 1, width: float = 1.0, base: int = 64, image: int = 224,
          shuffle: str = "stages", classes: int = 1000, in_channels: int = 3,
          stem_stride: int = 1) -> nn.Sequential:
    """A network with He-initialised weights; its arguments are what a checkpoint stores."""
    if arch not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {arch!r}: one of {', '.join(ARCHITECTURES)}")
    if shuffle not in SHUFFLES:
        raise ValueError(f"unknown shuffle {shuffle!r}: one of {', '.join(SHUFFLES)}")
    model = ARCHITECTURES[arch](groups=groups, width=width, base=base, image=image,
                                shuffle=shuffle, classes=classes, in_channels=in_channels,
                                stem_stride=stem_stride)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
    return model


def settle_batch_norm(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Gives an untrained network random scales, and statistics that fit its activations.

    Without this, activations of a deep untrained network explode or vanish.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.6, 1.2)
        nn.init.uniform_(norm.bias, -0.2, 0.2)
        norm.momentum = None  # a plain mean over the batches below
        norm.reset_running_stats()
    model.train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(shape))
    model.eval()


def multiply_adds(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-adds that the convolutions and linear layers do for one input of `shape`."""
    total = 0

    def count(module: nn.Module, _: tuple, output: Tensor) -> None:
        nonlocal total
        total += output[0].numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.modules()
             if isinstance(m, (nn.Conv2d, nn.Linear))]
    training = model.training
    model.eval()
    with torch.no_grad():
        model(torch.zeros(1, *shape[-3:]))
    model.train(training)
    for hook in hooks:
        hook.remove()
    return total
