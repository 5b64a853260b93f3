"""Root the exceptions of training."""

from __future__ import annotations


class TrainingError(Exception):
    """A training run, its data or its configuration is not as it must be."""

    code = "training_error"
    retryable = False


class EspeakMissing(TrainingError):
    """The library of the speech synthesiser espeak-ng is not installed."""

    code = "espeak_missing"


class FliteMissing(TrainingError):
    """A library of the speech synthesiser flite is not installed."""

    code = "flite_missing"


class VoiceMissing(TrainingError, ValueError):
    """The speech synthesiser has no voice of that name."""

    code = "voice_missing"


class InvalidTrainingConfig(TrainingError, ValueError):
    """The training configuration cannot be used."""

    code = "invalid_training_config"


class InvalidTrainingLine(TrainingError, ValueError):
    """A line of training data cannot be learned from."""

    code = "invalid_training_line"


class NoTrainingData(TrainingError):
    """There is nothing to learn from."""

    code = "no_training_data"


class RunMismatch(TrainingError):
    """The folder holds a run of another configuration or another shape of model."""

    code = "run_mismatch"
