"""Map where speech is likely, with the Silero model, 32 ms at a time and in one pass over a stream.

The *sequence* model inside the ``silero-vad`` wheel takes many windows in one call and hands its state on; it equals
the step model that the package documents. Its file is found without importing the package, which imports torch.
"""

from __future__ import annotations

import importlib.metadata
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline.errors import SpeechModelMissing
from pipeline.speech_spans import WINDOW_SAMPLES, Probabilities
from pipeline.timeline import Samples, to_float

CONTEXT_SAMPLES = 64  # of the window before, seen again
STATE_WIDTH = 128
MODEL_FILE = "silero_vad_16k_sequence.onnx"


class SpeechModel:
    """The loaded model; may be shared by threads, while each stream of samples has its own ``SpeechStream``."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(
        self, windows: NDArray[np.float32], hidden: NDArray[np.float32], cell: NDArray[np.float32]
    ) -> tuple[Probabilities, NDArray[np.float32], NDArray[np.float32]]:
        """Return ``(windows,)`` probabilities and the new state, from ``(windows, 576)`` samples in [-1, 1)."""
        probabilities, hidden, cell = self._session.run(
            ["speech_probs", "hn", "cn"], {"input": windows, "h": hidden, "c": cell}
        )
        return probabilities.reshape(-1), hidden, cell


class SpeechStream:
    """One channel's samples on their way through the model; keeps state and what does not fill a window yet."""

    def __init__(self, model: SpeechModel) -> None:
        self._model = model
        self._hidden = np.zeros((1, 1, STATE_WIDTH), np.float32)
        self._cell = np.zeros((1, 1, STATE_WIDTH), np.float32)
        self._held = np.zeros(CONTEXT_SAMPLES, np.float32)  # context, then samples of the next window

    def push(self, samples: Samples) -> Probabilities:
        """Take ``(samples,)`` int16 and return the probabilities of the windows that are full now."""
        held = np.concatenate([self._held, to_float(samples)])
        count = (len(held) - CONTEXT_SAMPLES) // WINDOW_SAMPLES
        self._held = held[count * WINDOW_SAMPLES :]
        if count == 0:
            return np.zeros(0, np.float32)
        wide = np.lib.stride_tricks.sliding_window_view(held, CONTEXT_SAMPLES + WINDOW_SAMPLES)
        windows = np.ascontiguousarray(wide[::WINDOW_SAMPLES])  # (count, 576)
        probabilities, self._hidden, self._cell = self._model.run(windows, self._hidden, self._cell)
        return probabilities

    def finish(self) -> Probabilities:
        """Return the probability of the last, unfilled window, heard with silence behind it; empty if none."""
        missing = -(len(self._held) - CONTEXT_SAMPLES) % WINDOW_SAMPLES
        return self.push(np.zeros(missing, np.int16))


@cache
def load_speech_model() -> SpeechModel:
    """Return the process's model; raises ``SpeechModelMissing`` with what to install."""
    return SpeechModel(find_model_file())


def find_model_file() -> Path:
    """Return where the wheel put the model; raises ``SpeechModelMissing``."""
    try:
        files = importlib.metadata.files("silero-vad") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == MODEL_FILE:
            return Path(str(file.locate()))
    raise SpeechModelMissing(f"{MODEL_FILE} is not installed: pip install 'silero-vad>=6.2'")
