"""Say of every error code of a recording whether a retry can help, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Retry(StrEnum):
    """Whether trying again can help."""

    HELPS = "helps"  # as it is
    AFTER_CHANGE = "after_change"  # of a setting, a permission or the object
    NO = "no"


HELPS, AFTER_CHANGE, NO = Retry


@dataclass(frozen=True)
class Advice:
    """What to do about one error code."""

    retry: Retry
    action: str


_DAMAGED = Advice(NO, "The file is damaged or no audio: get it again from where it came from.")
_NOTHING_LEFT = Advice(
    HELPS, "The worker's machine had nothing left: see `earwitness workers`, then try again."
)
_LATER = Advice(HELPS, "This passes with time: try again; if it comes back, look at the service's log.")

ADVICE = {
    "input_not_found": Advice(NO, "Check the key's spelling, and whether the object was uploaded; submit it again."),
    "input_access_denied": Advice(AFTER_CHANGE, "Let the workers' S3 credentials read the object, or its folder be "
                                  "listed in EARWITNESS_FILE_ROOTS; then try again."),
    "input_wrong_region": Advice(AFTER_CHANGE, "The bucket is in another region: set EARWITNESS_S3_REGION to it, "
                                 "then try again."),
    "input_archived": Advice(AFTER_CHANGE, "Restore the object from its archive class; then try again."),
    "input_changed": Advice(HELPS, "The object was replaced while it was read: try again once it stays as it is."),
    "invalid_uri": Advice(NO, "The address cannot be read: correct it and submit it again."),
    "invalid_range": Advice(HELPS, "The stored timeline is shorter than its plan: try again, it is made anew."),
    "storage_unavailable": Advice(HELPS, "The storage did not answer: see its status, then try again."),
    "storage_full": Advice(HELPS, "The storage has no room: make some, then try again."),
    "storage_misconfigured": Advice(HELPS, "The service's own storage is not there or may not be used, whatever the "
                                    "object: correct EARWITNESS_STORAGE_URL or its credentials, then try again."),
    "storage_error": _LATER,
    "disk_too_small": Advice(HELPS, "Give a worker a larger EARWITNESS_DATA_DIR, then try again."),
    "disk_full": _NOTHING_LEFT,
    "disk_read_only": _NOTHING_LEFT,
    "no_permission": _NOTHING_LEFT,
    "no_file_handles": _NOTHING_LEFT,
    "no_processes": _NOTHING_LEFT,
    "no_memory": _NOTHING_LEFT,
    "empty_file": Advice(NO, "The file holds no byte: upload it again."),
    "no_audio_stream": Advice(NO, "The file has no sound, only pictures or text: nothing to do."),
    "no_audio_samples": _DAMAGED,
    "too_short": Advice(NO, "There is less than a tenth of a second of sound: nothing to do."),
    "unsupported_or_corrupt": _DAMAGED,
    "unsupported_format": Advice(NO, "Convert it to WAV, FLAC, MP3, Ogg or M4A; playlists are refused on purpose."),
    "corrupt_container": Advice(NO, "Its index is missing, mostly because an upload broke off: upload it again."),
    "corrupt_audio": _DAMAGED,
    "drm_protected": Advice(NO, "It is locked: get a version without protection."),
    "invalid_sample_rate": _DAMAGED,
    "unsupported_channel_layout": Advice(NO, "It has too many channels: mix it down first."),
    "invalid_samples": _DAMAGED,
    "invalid_audio": _DAMAGED,
    "audio_error": _DAMAGED,
    "duration_limit_exceeded": Advice(AFTER_CHANGE, "Cut it, or raise EARWITNESS_MAX_RECORDING_SECONDS "
                                      "and try again."),
    "decode_timeout": Advice(HELPS, "Decoding took too long, mostly on a busy machine: try again."),
    "decode_crashed": Advice(HELPS, "The decoder broke on it: try again; if it comes back, keep it for a report."),
    "speech_model_missing": Advice(AFTER_CHANGE, "Install silero-vad on the CPU workers "
                                   "(pip install 'earwitness[gpu]'), then try again."),
    "truncated": Advice(NO, "The file ends early; what there is was heard. Upload the whole file to hear the rest."),
    "chunks_failed": Advice(HELPS, "Some pieces could not be heard: the message says why; a retry runs only those."),
    "worker_crashed": Advice(HELPS, "It took workers down three times: look for it in the workers' logs, mend the "
                             "cause (mostly memory), then try again."),
    "pass_deadline": Advice(HELPS, "The engine was too slow: see `earwitness workers`, then try again."),
    "engine_out_of_memory": Advice(HELPS, "Lower EARWITNESS_PLACES on the GPU workers, then try again."),
    "reference_unavailable": Advice(NO, "Submit the recording to compare with first."),
    "no_objects": Advice(NO, "Try the prefix, the glob or the manifest out with --dry-run, and submit it again."),
    "manifest_not_text": Advice(NO, "Write the manifest in UTF-8, plain or packed with gzip; submit it again."),
    "manifest_invalid": Advice(NO, "Correct the manifest as the message says; submit it again."),
    "manifest_too_large": Advice(NO, "Split the manifest, or raise EARWITNESS_MAX_MANIFEST_BYTES; submit it again."),
    "too_many_objects": Advice(AFTER_CHANGE, "Split the source over several jobs, or raise "
                               "EARWITNESS_MAX_JOB_RECORDINGS and try again."),
    "database_unavailable": _LATER,
    "internal_error": Advice(HELPS, "A fault of ours: the worker's log has it; try again, then report it."),
}  # fmt: skip
"""Advice by ``error_code``."""

_UNKNOWN = Advice(HELPS, "See the message; if a retry gives the same, report it.")


def advise(code: str | None) -> Advice:
    """Return the advice for a code; one that is not in the table gets a general one."""
    return ADVICE.get(code or "", _UNKNOWN)
