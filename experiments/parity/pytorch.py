r"""PyTorch's half of the parity check: random networks of transformers and timm, and their logits.

    python -m experiments.parity.pytorch --out DIR           # every family and size
    python -m experiments.parity.pytorch --out tests/models/golden --tiny
    python -m experiments.parity.pytorch --check DIR         # after experiments.parity --torch DIR

Runs in an environment of its own with torch, transformers, timm (and torchvision, which timm
imports), safetensors and tqdm, without JAX. Every network is saved as it is published
(``save_pretrained``, timm's ``save_for_hf``) in a folder of its own, with ``io.npz``: images
``x0``, ``x1`` ... ``[n, h, w, c]`` and what the network makes of them, ``y0``, ``y1`` ...

Weights are random, biases, norms, tokens and running statistics too: with the usual zeros and ones
a mistake in the mapping would not show. ``--check`` loads what ``experiments.parity`` has softened
and saved, strictly, and compares logits with ours.
"""

import json
import pathlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from torch import nn
from tqdm import tqdm

from experiments.parity.cases import Counterpart, full_cases, timm, tiny_cases
from experiments.shared.command import parser_of

Images = Sequence[np.ndarray]


# What writes to the stream that norms read. It is kept small, so that their epsilons matter.
_QUIET = re.compile(
    r".*(projection|(?<![qkv]_)proj|fc2|convolution|conv\d|downsample\.0|linear_fuse|sequence_reduction"
    r"|patch_embeddings\.layer_norm)\.(weight|bias)|.*(token|pos_embed|position_embeddings)"
)


def randomize(model: nn.Module, seed: int) -> None:
    """Gives every tensor values that tell it from every other, in place.

    Norms see variances of about 1e-3: a wrong epsilon then changes the logits visibly.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d)
    }
    last = _last_norms(norms)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            values = torch.randn(tensor.shape, generator=generator)
            if name in norms or "gamma" in name or "lambda" in name:
                values = (1 + 0.2 * values) * (0.2 if name in last else 1.0)
            elif tensor.ndim > 1 and tensor.shape[0] > 1:
                values *= tensor[0].numel() ** -0.5
            else:
                values *= 0.2
            tensor.copy_(values * (0.03 if _QUIET.fullmatch(name) else 1.0))
    _measure_statistics(model, generator)


def _last_norms(names: Iterable[str]) -> set[str]:
    """The last norm of each residual branch of a ResNet.

    Its gain is kept small, as training does; a deep network of random blocks that count as much as
    their shortcuts multiplies rounding errors.
    """
    last: dict[str, str] = {}
    for name in sorted(names):
        if match := re.fullmatch(r"(.*\.(?:bn|layer\.))\d(\.normalization)?\.weight", name):
            last[match[1]] = name
    return set(last.values())


def _measure_statistics(model: nn.Module, generator: torch.Generator) -> None:
    """Running statistics like those of trained networks: measured, then moved a little."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        model(torch.randn((4, 3, 160, 160), generator=generator))
    model.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        size = norm.running_var.shape
        norm.running_var *= 0.8 + 0.4 * torch.rand(size, generator=generator)
        norm.running_mean += 0.1 * norm.running_var**0.5 * torch.randn(size, generator=generator)


def outputs(model: nn.Module, images: Images) -> list[np.ndarray]:
    """Logits ``[n, classes]`` or ``[n, h, w, classes]``, or the class token ``[n, width]``."""
    results = []
    model.eval()
    for x in images:
        with torch.no_grad():
            y = model(torch.from_numpy(x.astype(np.float32)).permute(0, 3, 1, 2).contiguous())
        if hasattr(y, "logits"):
            y = y.logits
        elif hasattr(y, "last_hidden_state"):
            y = y.last_hidden_state[:, 0]
        y = y.permute(0, 2, 3, 1) if y.ndim == 4 else y
        results.append(y.float().numpy())
    return results


def write(case: Counterpart, folder: pathlib.Path, seed: int) -> None:
    """Saves one network, images, and its outputs."""
    model = case.make(**dict(case.arguments))
    randomize(model, seed)
    model = model.to(case.dtype).float()
    rng = np.random.default_rng(seed)
    images = [
        rng.standard_normal((case.images, *size, 3)).astype(np.float16) for size in case.sizes
    ]
    made = outputs(model, images)
    folder.mkdir(parents=True, exist_ok=True)
    model = model.to(case.dtype)
    if isinstance(model, transformers.PreTrainedModel):
        model.save_pretrained(folder, **dict(case.options))
    else:
        timm.models.save_for_hf(model, folder, safe_serialization=True)
    np.savez(
        folder / "io.npz",
        **{f"x{i}": x for i, x in enumerate(images)},
        **{f"y{i}": y for i, y in enumerate(made)},
    )


def reload(case: Counterpart, folder: pathlib.Path) -> nn.Module:
    """The network with weights from a folder, every tensor in its place.

    Raises:
      RuntimeError: a tensor is missing or left over.
    """
    model = case.make(**dict(case.arguments))
    if isinstance(model, transformers.PreTrainedModel):
        model, info = type(model).from_pretrained(
            folder, output_loading_info=True, **dict(case.arguments)
        )
        problems = {key: sorted(map(str, value)) for key, value in info.items() if value}
        if problems:
            raise RuntimeError(f"{folder}: {problems}")
        return model.float()
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    return model


def check(folder: pathlib.Path, cases: Iterable[Counterpart]) -> None:
    """Loads the softened networks and writes the differences of logits to ``check.json``."""
    record = folder / "check.json"
    found = json.loads(record.read_text()) if record.exists() else {}
    with tqdm(list(cases), unit="network") as bar:
        for case in bar:
            bar.set_description(case.name)
            here = folder / case.name
            with np.load(here / "io.npz") as original, np.load(here / "softened.npz") as ours:
                images = [original[f"x{i}"] for i in range(len(case.sizes))]
                expected = [ours[f"y{i}"] for i in range(len(case.sizes))]
            made = outputs(reload(case, here / "softened"), images)
            pairs = zip(made, expected, strict=True)
            found[case.name] = max(float(np.abs(a - b).max()) for a, b in pairs)
    record.write_text(json.dumps(found, indent=1) + "\n")
    worst = max(found, key=found.get)
    print(f"{len(found)} softened networks; largest difference {found[worst]:.2e} ({worst})")


def main() -> None:
    parser = parser_of(__doc__, "experiments.parity.pytorch")
    parser.add_argument("--out", type=pathlib.Path, help="folder to write the networks to")
    parser.add_argument("--check", type=pathlib.Path, help="folder with softened networks")
    parser.add_argument("--tiny", action="store_true", help="the small ones that tests use")
    parser.add_argument("--only", default="", help="only networks whose name has this in it")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    if (flags.out is None) == (flags.check is None):
        parser.error("one of --out and --check")
    numbered = enumerate(tiny_cases() if flags.tiny else full_cases(), flags.seed)
    chosen = [(seed, case) for seed, case in numbered if flags.only in case.name]
    if flags.check is not None:
        check(flags.check, [case for _, case in chosen])
        return
    with tqdm(chosen, unit="network") as bar:
        for seed, case in bar:
            bar.set_description(case.name)
            write(case, flags.out / case.name, seed)


if __name__ == "__main__":
    main()
