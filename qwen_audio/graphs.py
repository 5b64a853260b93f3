"""Record work on a GPU once and replay it with a single launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch

T = TypeVar("T")


class Recorder(Protocol):
    """Makes a replay of work that reads and writes tensors that stay."""

    def record(self, work: Callable[[], T]) -> Callable[[], T]:
        """Record work without keeping its result; the replay returns the same tensors each time, filled anew."""


class GraphRecorder:
    """Records CUDA graphs, which share one pool of memory: they never run side by side.

    All are recorded on one stream: cuBLAS keeps a workspace for each stream that it has met.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def record(self, work: Callable[[], T]) -> Callable[[], T]:
        """Run work once on another stream, so that libraries are set up, then capture it; raises what CUDA raises."""
        with torch.cuda.device(self._device):
            before = torch.cuda.current_stream()
            try:
                self._stream.wait_stream(before)
                with torch.cuda.stream(self._stream):
                    work()
                before.wait_stream(self._stream)
                graph = torch.cuda.CUDAGraph()
                # Only this thread is captured: others pin memory for new clips meanwhile.
                with torch.cuda.graph(
                    graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
                ):
                    result = work()
            finally:
                torch.cuda.set_stream(before)  # a capture that fails leaves its own behind

        def replay() -> T:
            graph.replay()
            return result

        return replay
