"""Keep weights of linear layers in 8 bits, with one scale for each output channel; what is computed stays floating."""

from __future__ import annotations

import torch
from torch import nn

LARGEST = 127


class Int8Linear(nn.Module):
    """A linear layer whose ``weight`` is int8 (outputs, inputs), to be multiplied by ``scale``, float32 (outputs,).

    The products are those of whole numbers up to 127, which bfloat16 holds exactly: all that is lost is lost when
    the weights are rounded. A call makes the floating weights anew, so a step takes longer than without; memory is
    what this is for.
    """

    weight: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, inputs: int, outputs: int, *, bias: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(outputs, inputs, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(outputs))
        self.register_buffer("bias", torch.zeros(outputs, dtype=dtype) if bias else None)

    def round(self, weight: torch.Tensor) -> None:
        """Take over floating weights, (outputs, inputs), rounded; they may be dropped afterwards."""
        self.weight, self.scale = to_int8(weight)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Compute (..., inputs) to (..., outputs)."""
        product = nn.functional.linear(states, self.weight.to(states.dtype)) * self.scale
        product = product.to(states.dtype)
        return product if self.bias is None else product + self.bias


def to_int8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round each row to its own scale: (outputs, inputs) to int8 of that shape and float32 (outputs,)."""
    weight = weight.float()
    scale = weight.abs().amax(dim=1) / LARGEST
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))  # a row of zeros stays one
    return torch.round(weight / scale[:, None]).to(torch.int8), scale


def use_int8(layers: nn.Module) -> None:
    """Replace every linear layer inside by an empty ``Int8Linear`` of its size, on the same device."""
    for parent in list(layers.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                with torch.device(child.weight.device):
                    empty = Int8Linear(
                        child.in_features,
                        child.out_features,
                        bias=child.bias is not None,
                        dtype=child.weight.dtype,
                    )
                setattr(parent, name, empty)


def round_layers(layers: nn.Module) -> None:
    """Round every linear layer inside a module that has its weights already."""
    full = {name: module for name, module in layers.named_modules() if isinstance(module, nn.Linear)}
    use_int8(layers)
    for name, linear in full.items():
        layer = layers.get_submodule(name)
        assert isinstance(layer, Int8Linear)
        layer.round(linear.weight.detach())
        layer.bias = None if linear.bias is None else linear.bias.detach()
