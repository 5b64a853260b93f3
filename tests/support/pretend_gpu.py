"""Pretend that a tensor lies on a GPU, on a machine without one: compute on the CPU and keep the GPU's rules.

What holds on a real GPU and is silently allowed on a CPU is an error here: a call that mixes tensors of both places.
Written down is what would make the host wait for the GPU, what would be launched there, and what compiled first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")
FREE_BYTES = 1 << 40
_TAG = "_pretends_to_be_on_a_gpu"
_READS = {"tolist", "item", "__bool__", "__float__", "__int__", "__index__", "nonzero", "__contains__"}
_VIEWS = {
    "view", "reshape", "transpose", "permute", "expand", "chunk", "unbind", "split", "narrow", "unsqueeze",
    "squeeze", "T", "mT", "__getitem__", "select", "detach", "expand_as", "view_as", "flatten", "alias",
}  # fmt: skip
_ABOUT = {"size", "dim", "numel", "stride", "element_size", "is_floating_point", "__len__", "is_contiguous"}


class MixedDevices(RuntimeError):
    """A call got tensors of the GPU and of the host."""


def is_on_gpu(value: object) -> bool:
    """Say whether a tensor is pretended to be on the GPU."""
    return isinstance(value, torch.Tensor) and hasattr(value, _TAG)


def place(module: torch.nn.Module) -> None:
    """Pretend that a module lies on the GPU."""
    for tensor in (*module.parameters(), *module.buffers()):
        setattr(tensor, _TAG, True)


def take_back(module: torch.nn.Module) -> None:
    """Pretend so no longer."""
    for tensor in (*module.parameters(), *module.buffers()):
        if is_on_gpu(tensor):
            delattr(tensor, _TAG)


class PretendGpu:
    """What happened on the GPU, by name: ``waits`` of the host for it, ``uploads`` to it, ``launches``, ``compiles``.

    torch compiles some kernels when they are first called, for seconds and only where NVRTC can be loaded.
    """

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()
        self.compiles: Counter[str] = Counter()

    @contextmanager
    def on_this_thread(self) -> Iterator[None]:
        """Keep the rules for whatever this thread does."""
        with _Mode(self):
            yield

    @contextmanager
    def runs(self, kind: type, method: str) -> Iterator[None]:
        """Keep the rules here and in a method that other threads run; ``torch.cuda`` says what a GPU would."""
        run: Callable[..., Any] = getattr(kind, method)

        def run_by_the_rules(instance: Any) -> None:
            with self.on_this_thread():
                run(instance)

        def wait(*_: object) -> None:
            self.waits["synchronize"] += 1

        with (
            patch.object(kind, method, run_by_the_rules),
            patch("torch.cuda.is_available", lambda: True),
            patch("torch.cuda.synchronize", wait),
            patch("torch.cuda.empty_cache", lambda: None),
            patch("torch.cuda.mem_get_info", lambda *_: (FREE_BYTES, FREE_BYTES)),
            patch("torch.cuda.memory_reserved", lambda *_: 0),
            patch("torch.cuda.memory_allocated", lambda *_: 0),
            self.on_this_thread(),
        ):
            yield


class _Mode(TorchFunctionMode):
    def __init__(self, gpu: PretendGpu) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = _name_of(func)
        if name == "device.__get__":
            return GPU if is_on_gpu(args[0]) else CPU
        if name == "is_cuda.__get__":
            return is_on_gpu(args[0])
        if name.endswith("__get__") and not name.startswith(("T.", "mT.", "real.", "imag.")):
            return func(*args, **kwargs)
        if name in ("to", "cpu", "cuda", "pin_memory"):
            return self._move(name, args, kwargs)
        kwargs.pop("pin_memory", None)
        device = kwargs.pop("device", None)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        on_gpu = any(map(is_on_gpu, tensors))
        if on_gpu:
            self._check(name, args, tensors)
        result = func(*args, **kwargs)
        if device is not None:
            on_gpu = torch.device(device).type == "cuda"
            if on_gpu and name in ("tensor", "as_tensor"):
                self._gpu.uploads[name] += 1
        if on_gpu and name not in _ABOUT:
            _tag(result)
            if name not in _VIEWS:
                self._gpu.launches[name] += 1
        return result

    def _check(self, name: str, args: tuple[Any, ...], tensors: list[torch.Tensor]) -> None:
        """Raise ``MixedDevices``, or count what makes the host wait."""
        if name in ("numpy", "__array__"):
            raise MixedDevices("what lies on a GPU is no array of numpy: .cpu() first")
        if name in _READS:
            self._gpu.waits[name] += 1
        if name == "abs" and tensors[0].is_complex():
            self._gpu.compiles[name] += 1
        if name in ("__getitem__", "__setitem__", "index_put_", "index_put"):
            if any(tensor.dtype is torch.bool for tensor in tensors[1:]):
                self._gpu.waits["boolean index"] += 1
            if not all(map(is_on_gpu, tensors[1:])) or any(map(_has_list, args[1:2])):
                self._gpu.uploads["index"] += 1
            return
        if name == "copy_":
            if not all(map(is_on_gpu, tensors)):
                self._gpu.uploads[name] += 1
            return
        strangers = [tensor for tensor in tensors if not is_on_gpu(tensor) and tensor.dim() > 0]
        if strangers:
            raise MixedDevices(f"{name}: tensors of the GPU and of the host, {tuple(strangers[0].shape)}")

    def _move(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensor, *rest = args
        kwargs.pop("non_blocking", None)
        target = {"cpu": CPU, "cuda": GPU, "pin_memory": CPU}.get(name, kwargs.pop("device", None))
        if name == "pin_memory" and is_on_gpu(tensor):
            raise MixedDevices("only memory of the host can be pinned")
        if name == "to":
            places = [value for value in rest if isinstance(value, torch.device | str | torch.Tensor)]
            rest = [
                value for value in rest if not isinstance(value, torch.device | str | bool | torch.Tensor)
            ]
            for value in places:
                target = (GPU if is_on_gpu(value) else CPU) if isinstance(value, torch.Tensor) else value
                rest += [value.dtype] if isinstance(value, torch.Tensor) else []
        else:
            rest = []
        was = is_on_gpu(tensor)
        goes = was if target is None else torch.device(target).type == "cuda"
        result = tensor.to(*rest, **kwargs) if rest or kwargs else tensor
        if goes != was or name == "pin_memory":
            if was:
                self._gpu.waits[name] += 1
            elif goes:
                self._gpu.uploads[name] += 1
            result = result.detach().clone()
        elif goes and result is not tensor:
            self._gpu.launches[name] += 1
        if goes:
            _tag(result)
        return result


def _name_of(func: Callable[..., Any]) -> str:
    name = getattr(func, "__name__", "")
    if name in ("__get__", "__set__"):
        return f"{(resolve_name(func) or '').removesuffix('.' + name).rsplit('.', 1)[-1]}.{name}"
    return name


def _tag(result: Any) -> None:
    def tag(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            setattr(value, _TAG, True)
        return value

    tree_map(tag, result)


def _has_list(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, list) for part in parts)
