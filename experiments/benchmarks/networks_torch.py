"""ViT and ResNet of ``transformers`` in PyTorch: the peer of the networks benchmark.

Needs torch and transformers. Arguments: threads, batch. Prints its versions as a line of JSON, then
answers every line on standard input, ``NETWORK forward`` or ``NETWORK step``, by the seconds that
such a run took. Attention is what ``transformers`` chooses (fused), memory layout the faster one of
channels first and last for the convolutions (``--channels_last``).
"""

import argparse
import json
import sys
import time

import torch
import transformers
from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)


def networks() -> dict[str, torch.nn.Module]:
    """ViT-S/16 and ResNet-50 with 1000 classes and random weights."""
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
    }


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument("threads", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("--channels_last", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    images = torch.randn(args.batch, 3, 224, 224)
    labels = torch.arange(args.batch) % 1000
    made = networks()
    if args.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
        made["ResNet-50"] = made["ResNet-50"].to(memory_format=torch.channels_last)
    optimizers = {
        name: torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9) for name, net in made.items()
    }

    def forward(name: str) -> None:
        made[name].eval()
        with torch.inference_mode():
            made[name](images)

    def step(name: str) -> None:
        made[name].train()
        optimizers[name].zero_grad()
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
