"""Muon for the matrices (Jordan et al. 2024), AdamW for the embedding and the gains."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from lmc.models.train.network import MATRICES

if TYPE_CHECKING:
    from torch import Tensor

MOMENTUM = 0.95
BETAS = (0.9, 0.98)
EPSILON = 1e-10
STEPS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of a quintic that pulls singular values towards 1


def orthogonalised(g: Tensor) -> Tensor:
    """Nearly the nearest semi-orthogonal matrices to a stack [n, rows, columns] (Newton-Schulz)."""
    a, b, c = COEFFICIENTS
    tall = g.shape[-2] > g.shape[-1]
    x = g.bfloat16() if g.is_cuda else g  # bfloat16 is emulated on most CPUs
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if tall else x).float()


class Optimizer:
    """Updates the parameters in place, from their gradients."""

    def __init__(
        self,
        parameters: dict[str, Tensor],
        matrix_rate: float,
        rate: float,
        decay: float,
        matrices: Collection[str] = MATRICES,
        compiled: bool = True,
    ) -> None:
        """Rates at the schedule's peak; `decay` is the weight decay of the matrices, relative to
        the rate. `compiled`: on a GPU, which takes seconds for each shape of a matrix."""
        import torch

        self._parameters = parameters
        self._rates = matrix_rate, rate, decay
        self._first = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._second = {
            name: torch.zeros_like(p) for name, p in parameters.items() if name not in matrices
        }
        self._matrices = matrices
        self._count = 0
        compiled = compiled and next(iter(parameters.values())).is_cuda
        self._orthogonalised = torch.compile(orthogonalised) if compiled else orthogonalised

    def step(self, factor: float) -> None:
        """One update with the rates times `factor`; clears the gradients."""
        import torch

        self._count += 1
        matrix_rate, rate = factor * self._rates[0], factor * self._rates[1]
        with torch.no_grad():
            for name, p in self._parameters.items():
                g, first = p.grad, self._first[name]
                if name in self._matrices:
                    first.lerp_(g, 1 - MOMENTUM)
                    update = self._orthogonalised(g.lerp(first, MOMENTUM))
                    p.mul_(1 - matrix_rate * self._rates[2])
                    p.add_(update, alpha=-matrix_rate * max(1, p.shape[-2] / p.shape[-1]) ** 0.5)
                else:
                    second = self._second[name]
                    first.lerp_(g, 1 - BETAS[0])
                    second.lerp_(g.square(), 1 - BETAS[1])
                    bias = [1 - beta**self._count for beta in BETAS]
                    p.add_((first / bias[0]) / ((second / bias[1]).sqrt() + EPSILON), alpha=-rate)
                p.grad = None
