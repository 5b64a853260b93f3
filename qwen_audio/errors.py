"""Root the exceptions of the model; free of torch, so that any process can name them."""

from __future__ import annotations


class QwenAudioError(Exception):
    """Something about audio, a prompt, a checkpoint or the engine is not as it must be.

    ``code`` is stable and may be stored; ``retryable`` says whether the same call can succeed later.
    """

    code = "qwen_audio_error"
    retryable = False


class InvalidPrompt(QwenAudioError, ValueError):
    """The prompt cannot be turned into token ids, or does not fit."""

    code = "invalid_prompt"


class InvalidAudio(QwenAudioError, ValueError):
    """The samples cannot be heard."""

    code = "invalid_audio"


class AudioTooShort(InvalidAudio):
    """The clip is too short to give a single audio token."""

    code = "audio_too_short"


class AudioTooLong(InvalidAudio):
    """The clip is longer than the 30 s that the model can hear at once."""

    code = "audio_too_long"


class AudioNotFinite(InvalidAudio):
    """The clip holds NaN or infinite samples."""

    code = "audio_not_finite"


class InvalidCheckpoint(QwenAudioError):
    """The checkpoint cannot be loaded as it is."""

    code = "invalid_checkpoint"


class CheckpointNotFound(InvalidCheckpoint):
    """There is no checkpoint at that place."""

    code = "checkpoint_not_found"


class UnpinnedRevision(InvalidCheckpoint):
    """A hub name was given without the commit that fixes its content."""

    code = "unpinned_revision"


class PickleCheckpoint(InvalidCheckpoint):
    """The weights are pickle files, which can run code when they are read."""

    code = "pickle_checkpoint"


class MissingTensor(InvalidCheckpoint):
    """The checkpoint lacks tensors that the model needs."""

    code = "missing_tensor"


class WrongShape(InvalidCheckpoint):
    """A tensor's shape does not follow from the checkpoint's own config.json."""

    code = "wrong_shape"


class UnknownTensor(InvalidCheckpoint):
    """The checkpoint holds tensors that the model has no place for."""

    code = "unknown_tensor"


class UnsupportedConfiguration(InvalidCheckpoint, ValueError):
    """The configuration asks for a variant of the model that was never published."""

    code = "unsupported_configuration"


class InvalidVocabulary(InvalidCheckpoint):
    """The vocabulary file is damaged, or belongs to another checkpoint."""

    code = "invalid_vocabulary"


class AudioMismatch(QwenAudioError, ValueError):
    """The audio places in the input ids and the clips given do not match."""

    code = "audio_mismatch"


class EngineClosed(QwenAudioError):
    """The engine was closed before it could answer."""

    code = "engine_closed"
    retryable = True


class EngineFull(QwenAudioError):
    """Every place of the engine is taken by an open prefix."""

    code = "engine_full"
    retryable = True


class PrefixClosed(QwenAudioError):
    """The prefix was closed and takes no more branches."""

    code = "prefix_closed"


class AnswerNotFinite(QwenAudioError):
    """The model computed NaN or infinite scores for this branch."""

    code = "answer_not_finite"


class EngineOutOfMemory(QwenAudioError):
    """A single branch does not fit the device's memory any more: end this process and start another."""

    code = "engine_out_of_memory"
    retryable = True


class NoRoom(QwenAudioError):
    """There is memory for shorter prefixes, and none for one so long: a device with more of it may answer."""

    code = "no_room"
    retryable = True
