"""ViT and ResNet-50 of ``transformers``, ResNet-20 of CIFAR: peers of the networks benchmark.

Needs torch and transformers. Arguments: threads, batch (ResNet-20: eight times that). Prints its
versions as a line of JSON, then
answers every line on standard input, ``NETWORK forward`` or ``NETWORK step``, by the seconds that
such a run took. Attention is what ``transformers`` chooses (fused), memory layout the faster one of
channels first and last for the convolutions (``--channels_last``).
"""

import argparse
import itertools
import json
import sys
import time
import types

import torch
import transformers
from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)


class CifarBlock(torch.nn.Module):
    """Two 3x3 convolutions with batch norm, added to a shortcut without parameters."""

    def __init__(self, source: int, target: int, stride: int):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(source, target, 3, stride, 1, bias=False)
        self.conv2 = torch.nn.Conv2d(target, target, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = torch.nn.BatchNorm2d(target), torch.nn.BatchNorm2d(target)
        self.stride, self.more = stride, (target - source) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        kept = x[:, :, :: self.stride, :: self.stride]
        kept = torch.nn.functional.pad(kept, (0, 0, 0, 0, self.more, self.more))
        return torch.relu(self.bn2(self.conv2(y)) + kept)


class CifarPeer(torch.nn.Module):
    """ResNet-20 for small images; logits as an attribute, as ``transformers`` has them."""

    def __init__(self) -> None:
        super().__init__()
        widths = [16] * 4 + [32] * 3 + [64] * 3
        blocks = [
            CifarBlock(source, target, target // source)
            for source, target in itertools.pairwise(widths)
        ]
        self.conv = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn = torch.nn.BatchNorm2d(16)
        self.blocks = torch.nn.Sequential(*blocks)
        self.head = torch.nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> types.SimpleNamespace:
        x = self.blocks(torch.relu(self.bn(self.conv(x))))
        return types.SimpleNamespace(logits=self.head(x.mean((2, 3))))


def networks() -> dict[str, torch.nn.Module]:
    """The networks with random weights."""
    vit = ViTConfig(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        intermediate_size=1536,
        image_size=224,
        patch_size=16,
        num_labels=1000,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return {
        "ViT-S/16": ViTForImageClassification(vit),
        "ResNet-50": ResNetForImageClassification(ResNetConfig(num_labels=1000)),
        "ResNet-20": CifarPeer(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument("threads", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("--channels_last", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    large = torch.randn(args.batch, 3, 224, 224), torch.arange(args.batch) % 1000
    small = torch.randn(8 * args.batch, 3, 32, 32), torch.arange(8 * args.batch) % 10
    made = networks()
    data = {name: small if name == "ResNet-20" else large for name in made}
    if args.channels_last:
        last = {"memory_format": torch.channels_last}
        data = {name: (x.contiguous(**last), labels) for name, (x, labels) in data.items()}
        made |= {name: made[name].to(**last) for name in ("ResNet-50", "ResNet-20")}
    optimizers = {
        name: torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9) for name, net in made.items()
    }

    def forward(name: str) -> None:
        made[name].eval()
        with torch.inference_mode():
            made[name](data[name][0])

    def step(name: str) -> None:
        made[name].train()
        optimizers[name].zero_grad()
        images, labels = data[name]
        logits = made[name](images).logits
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimizers[name].step()

    runs = {"forward": forward, "step": step}
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps(versions), flush=True)
    for line in sys.stdin:
        name, run = line.split()
        start = time.perf_counter()
        runs[run](name)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
