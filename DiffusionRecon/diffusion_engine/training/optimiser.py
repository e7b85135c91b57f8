"""The optimiser of a prior's training: Muon for the convolutions within the network, Adam for everything else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

OUTER = ("head.", "tail.")
"""The first and the last convolution work on pixels, not on features: Adam updates them."""
ADAM_SHARE = 0.03
"""Adam's rate as a share of Muon's, whose updates have a spectral norm of the rate."""


class MuonWithAdam:
    """One optimiser of two: each convolution as a matrix (outputs, inputs x window) is moved along U V^T.

    With the singular value decomposition U S V^T of the momentum of a matrix's gradient, W <- W - r sqrt(max(1,
    rows / columns)) U V^T (torch.optim.Muon; Jordan et al., "Muon", 2024); biases, noise embedding and the outer
    convolutions follow Adam, and so does a network without convolutions, such as an adapter's factors. The network
    must be in the memory format channels_last and keep its tensors. Raises ValueError where PyTorch is older than 2.9,
    which brought Muon.
    """

    def __init__(self, network: nn.Module, rate: float) -> None:
        inner = [
            p for name, p in network.named_parameters()
            if p.ndim == 4 and p.requires_grad and not name.startswith(OUTER)
        ]
        chosen = {id(p) for p in inner}
        # A matrix shares the memory of its convolution, so that what Muon changes is the network itself.
        self.pairs = [(p, nn.Parameter(_matrix(p.detach()))) for p in inner]
        if any(matrix.data_ptr() != p.data_ptr() for p, matrix in self.pairs):
            raise ValueError("the network must be in the memory format channels_last to be trained: convert it first")
        rest = [p for p in network.parameters() if p.requires_grad and id(p) not in chosen]
        self.parts: dict[str, tuple[torch.optim.Optimizer, float]] = {
            "adam": (torch.optim.Adam(rest, lr=ADAM_SHARE * rate, betas=(0.9, 0.99)), ADAM_SHARE)
        }
        if self.pairs:
            if not hasattr(torch.optim, "Muon"):
                raise ValueError(
                    f"expected PyTorch 2.9 or newer to train a network of convolutions, found {torch.__version__}: "
                    "install a newer one"
                )
            matrices = [matrix for _, matrix in self.pairs]
            self.parts["muon"] = torch.optim.Muon(matrices, lr=rate, weight_decay=0.0), 1.0

    def step(self, rate: float) -> None:
        """One step at a rate, from the gradients of the network's parameters."""
        for p, matrix in self.pairs:
            matrix.grad = None if p.grad is None else _matrix(p.grad)
        for optimiser, share in self.parts.values():
            optimiser.param_groups[0]["lr"] = share * rate
            optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """Momenta of both, for a checkpoint."""
        return {name: optimiser.state_dict() for name, (optimiser, _) in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the state of a checkpoint."""
        for name, (optimiser, _) in self.parts.items():
            optimiser.load_state_dict(state[name])


def _matrix(weight: Tensor) -> Tensor:
    """(outputs, inputs, rows, columns) as (outputs, rows x columns x inputs): a view in channels_last."""
    return weight.permute(0, 2, 3, 1).flatten(1)
