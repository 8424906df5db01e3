"""The double-backward Lie derivative in PyTorch: the peer of the measures benchmark.

Written from its formula. With ``f_t(x) = softmax net(T_t x)`` and T_t a bilinear resampling that
is differentiable in t, the derivative at t = 0 is had from two reverse passes: the gradient of
``<u, f_t(x)>`` in t is linear in the dummy cotangent u, and its gradient in u is d/dt f_t.

Needs torch and numpy only. Reads the network and the images from an ``.npz``, prints what it found
as a line of JSON, then answers every line on standard input ("forward", "one" or "four") by the
seconds that such a run took.
"""

import json
import sys
import time

import numpy as np
import torch

GENERATORS = ("translation_x", "translation_y", "rotation", "scale")


def matrix(name: str, t: torch.Tensor) -> torch.Tensor:
    """The 2 x 3 sampling matrix at t, from output to input coordinates."""
    one, zero = torch.ones_like(t), torch.zeros_like(t)
    rows = {
        "translation_x": ((one, zero, t), (zero, one, zero)),
        "translation_y": ((one, zero, zero), (zero, one, t)),
        "rotation": ((torch.cos(t), torch.sin(t), zero), (-torch.sin(t), torch.cos(t), zero)),
        "scale": ((1 - t, zero, zero), (zero, 1 - t, zero)),
    }[name]
    return torch.stack([torch.stack(row) for row in rows])


def resampled(x: torch.Tensor, sampling: torch.Tensor) -> torch.Tensor:
    """Bilinear resampling of ``[n, c, h, w]``, corners aligned, mirrored beyond the edges."""
    h, w = x.shape[-2:]
    v, u = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
    at = (
        sampling[:, 0, None, None] * u + sampling[:, 1, None, None] * v + sampling[:, 2, None, None]
    )
    col, row = (at[0] + 1) * (w - 1) / 2, (at[1] + 1) * (h - 1) / 2
    left, top = col.detach().floor(), row.detach().floor()
    right_weight, lower_weight = col - left, row - top

    def read(r: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        r = (h - 1) - ((h - 1) - r.abs()).abs()
        c = (w - 1) - ((w - 1) - c.abs()).abs()
        return x[:, :, r.long(), c.long()]

    upper = (1 - right_weight) * read(top, left) + right_weight * read(top, left + 1)
    lower = (1 - right_weight) * read(top + 1, left) + right_weight * read(top + 1, left + 1)
    return (1 - lower_weight) * upper + lower_weight * lower


class TorchNetwork:
    """The convolution network of the file; circular padding is not used."""

    def __init__(self, file: dict[str, np.ndarray]):
        self.strides = [int(stride) for stride in file["strides"]]
        self.kernels = [
            torch.tensor(file[f"w{i}"].transpose(3, 2, 0, 1)) for i in range(len(self.strides))
        ]
        self.biases = [torch.tensor(file[f"b{i}"]) for i in range(len(self.strides))]
        self.head = torch.tensor(file["head"])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        for kernel, bias, stride in zip(self.kernels, self.biases, self.strides, strict=True):
            x = torch.relu(torch.nn.functional.conv2d(x, kernel, bias, stride, padding=1))
        return torch.softmax(x.mean((2, 3)) @ self.head, dim=-1)


def lie_derivative(network: TorchNetwork, x: torch.Tensor, name: str) -> torch.Tensor:
    """``d/dt f_t(x)`` at t = 0."""
    t = torch.zeros((), requires_grad=True)
    y = network(resampled(x, matrix(name, t)))
    dummy = torch.zeros_like(y, requires_grad=True)
    (slope,) = torch.autograd.grad(y, t, dummy, create_graph=True)
    return torch.autograd.grad(slope, dummy)[0].detach()


def main() -> None:
    torch.set_num_threads(int(sys.argv[2]))
    with np.load(sys.argv[1]) as archive:
        file = dict(archive)
    network = TorchNetwork(file)
    x = torch.tensor(file["images"].transpose(0, 3, 1, 2))

    def forward() -> None:
        with torch.no_grad():
            network(x)

    runs = {
        "forward": forward,
        "one": lambda: lie_derivative(network, x, GENERATORS[0]).abs().mean(1),
        "four": lambda: [lie_derivative(network, x, name).abs().mean(1) for name in GENERATORS],
    }
    found = {name: lie_derivative(network, x, name).tolist() for name in GENERATORS}
    print(json.dumps({"torch": torch.__version__, "found": found}), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        runs[line.strip()]()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
