"""Choose the kernels of an engine on a GPU, where torch's defaults fit training better than clips of all lengths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

_ATTENTION = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)


@contextmanager
def gpu_kernels(*, cudnn_attention: bool) -> Iterator[None]:
    """Keep a process to the kernels that an engine wants, and give it back its own in the end.

    cuDNN attends only where that is asked for: it plans anew for every shape. And float32 means float32: by default
    cuDNN's convolutions round to ten bits of it.
    """
    backends = [*_ATTENTION, *([SDPBackend.CUDNN_ATTENTION] if cudnn_attention else [])]
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with sdpa_kernel(backends):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
