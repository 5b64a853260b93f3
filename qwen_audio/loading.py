"""Find a checkpoint's files and check them before a single weight is read.

transformers warns about missing tensors and goes on with random ones; here every difference is an error that names
the tensor and the file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from qwen_audio.errors import (
    CheckpointNotFound,
    InvalidCheckpoint,
    MissingTensor,
    PickleCheckpoint,
    UnknownTensor,
    UnpinnedRevision,
    WrongShape,
)
from qwen_audio.names import is_ignored
from qwen_audio.tokenizer import VOCABULARY_FILE

ALLOWED_FILES = ("*.json", "*.safetensors", "*.tiktoken")
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SAMPLE_BYTES = 4096


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: ``offset`` and ``size`` in bytes inside ``file``."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int


def find_checkpoint(source: str | PathLike[str], revision: str | None = None) -> Path:
    """Return the folder of a checkpoint: a local one, or a hub name's snapshot at a full commit hash.

    The hash comes as ``revision`` or behind an ``@`` in the name. Only JSON, safetensors and the vocabulary are
    fetched. Raises ``CheckpointNotFound`` or ``UnpinnedRevision``.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    name, _, commit = str(source).partition("@")
    commit = revision or commit
    if not _HUB_NAME.fullmatch(name) or isinstance(source, Path):
        raise CheckpointNotFound(f"no folder {source}: give a checkpoint's folder or owner/name@commit")
    if not _COMMIT.fullmatch(commit):
        raise UnpinnedRevision(f"{name} needs a full commit hash, as {name}@<40 hex digits>, not {commit!r}")
    from huggingface_hub import snapshot_download  # only here: nothing else may reach the network

    return Path(snapshot_download(name, revision=commit, allow_patterns=list(ALLOWED_FILES)))


def check_tensors(folder: Path, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Compare the stored tensors with the official names and shapes, reading headers only.

    Raises ``MissingTensor``, ``WrongShape`` or ``UnknownTensor`` with the first names, ``PickleCheckpoint`` or
    ``CheckpointNotFound`` when there is no safetensors file.
    """
    stored = read_tensors(folder)
    missing = [name for name in expected if name not in stored]
    if missing:
        raise MissingTensor(f"{folder} lacks {_some(missing)}")
    for name, shape in expected.items():
        if stored[name].shape != shape:
            raise WrongShape(
                f"{stored[name].file}: {name} has shape {list(stored[name].shape)}, "
                f"config.json asks for {list(shape)}"
            )
    unknown = [name for name in stored if name not in expected and not is_ignored(name)]
    if unknown:
        raise UnknownTensor(f"{folder} holds {_some(unknown)}, which Qwen-Audio does not have")


def read_tensors(folder: Path) -> dict[str, StoredTensor]:
    """List the tensors of a checkpoint by name, from the headers of its file or its indexed shards."""
    return {name: tensor for file in _weight_files(folder) for name, tensor in _read_header(file)}


def fingerprint(folder: Path) -> str:
    """Identify a checkpoint's content in 16 hex digits: the same for the same weights, however they are sharded.

    Hashes config.json, the vocabulary, and each tensor's name, dtype, shape and first 4 KiB: reading all of a 17 GB
    checkpoint would take longer than loading it, and training does not leave the head of a tensor as it was.
    """
    digest = hashlib.sha256()
    for file in (folder / "config.json", folder / VOCABULARY_FILE):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    for name, tensor in sorted(read_tensors(folder).items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        with tensor.file.open("rb") as stream:
            stream.seek(tensor.offset)
            digest.update(stream.read(min(tensor.size, _SAMPLE_BYTES)))
    return digest.hexdigest()[:16]


def _weight_files(folder: Path) -> list[Path]:
    if (folder / INDEX_FILE).is_file():
        shards = set(_read_json(folder / INDEX_FILE)["weight_map"].values())
        files = [folder / shard for shard in sorted(shards)]
        absent = [file.name for file in files if not file.is_file()]
        if absent:
            raise CheckpointNotFound(f"{folder} lacks {_some(absent)}, which {INDEX_FILE} names")
        return files
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLE_SUFFIXES)
    if pickles:
        raise PickleCheckpoint(f"{folder} holds {_some(pickles)}: convert the weights to safetensors")
    raise CheckpointNotFound(f"{folder} holds neither {WEIGHTS_FILE} nor {INDEX_FILE}")


def _read_header(file: Path) -> Iterator[tuple[str, StoredTensor]]:
    """Read a safetensors header: its length in 8 little-endian bytes, then JSON, then the data."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        data = 8 + int.from_bytes(stream.read(8), "little")
        if data > size:
            raise InvalidCheckpoint(f"{file} is truncated or not a safetensors file: fetch it again")
        header = _parse_json(stream.read(data - 8), file)
    header.pop("__metadata__", None)
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        if data + end > size:
            raise InvalidCheckpoint(f"{file} is truncated: {name} lies behind its end, fetch it again")
        yield name, StoredTensor(file, entry["dtype"], tuple(entry["shape"]), data + start, end - start)


def _read_json(file: Path) -> dict[str, Any]:
    return _parse_json(file.read_bytes(), file)


def _parse_json(content: bytes, file: Path) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        raise InvalidCheckpoint(f"{file} does not hold JSON: fetch it again") from None
    if not isinstance(value, dict):
        raise InvalidCheckpoint(f"{file} does not hold a JSON object: fetch it again")
    return value


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
