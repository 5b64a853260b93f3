"""Say of every error code of a recording whether a retry can help, and what to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """What to do about one error code."""

    retry_helps: bool
    action: str


_DAMAGED = Advice(False, "The file is damaged or no audio: get it again from where it came from.")
_NOTHING_LEFT = Advice(
    True, "The worker's machine had nothing left: see `earwitness workers`, then try again."
)
_LATER = Advice(True, "This passes with time: try again; if it comes back, look at the service's log.")

ADVICE = {
    "input_not_found": Advice(False, "Check the key's spelling, and whether the object was uploaded; submit it again."),
    "input_access_denied": Advice(False, "Let the workers' S3 credentials read the object, or its folder be "
                                  "listed in EARWITNESS_FILE_ROOTS; then try again."),
    "input_wrong_region": Advice(False, "The bucket is in another region: set EARWITNESS_S3_REGION to it."),
    "input_archived": Advice(False, "Restore the object from its archive class; then try again."),
    "input_changed": Advice(True, "The object was replaced while it was read: try again once it stays as it is."),
    "invalid_uri": Advice(False, "The address cannot be read: correct it and submit it again."),
    "invalid_range": Advice(True, "The stored timeline is shorter than its plan: try again, it is made anew."),
    "storage_unavailable": Advice(True, "The storage did not answer: see its status, then try again."),
    "storage_full": Advice(True, "The storage has no room: make some, then try again."),
    "storage_misconfigured": Advice(True, "The service's own storage is not there or may not be used, whatever the "
                                    "object: correct EARWITNESS_STORAGE_URL or its credentials, then try again."),
    "storage_error": _LATER,
    "disk_too_small": Advice(True, "Give a worker a larger EARWITNESS_DATA_DIR, then try again."),
    "disk_full": _NOTHING_LEFT,
    "disk_read_only": _NOTHING_LEFT,
    "no_permission": _NOTHING_LEFT,
    "no_file_handles": _NOTHING_LEFT,
    "no_processes": _NOTHING_LEFT,
    "no_memory": _NOTHING_LEFT,
    "empty_file": Advice(False, "The file holds no byte: upload it again."),
    "no_audio_stream": Advice(False, "The file has no sound, only pictures or text: nothing to do."),
    "no_audio_samples": _DAMAGED,
    "too_short": Advice(False, "There is less than a tenth of a second of sound: nothing to do."),
    "unsupported_or_corrupt": _DAMAGED,
    "unsupported_format": Advice(False, "Convert it to WAV, FLAC, MP3, Ogg or M4A; playlists are refused on purpose."),
    "corrupt_container": Advice(False, "Its index is missing, mostly because an upload broke off: upload it again."),
    "corrupt_audio": _DAMAGED,
    "drm_protected": Advice(False, "It is locked: get a version without protection."),
    "invalid_sample_rate": _DAMAGED,
    "unsupported_channel_layout": Advice(False, "It has too many channels: mix it down first."),
    "invalid_samples": _DAMAGED,
    "invalid_audio": _DAMAGED,
    "audio_error": _DAMAGED,
    "duration_limit_exceeded": Advice(False, "Cut it, or raise EARWITNESS_MAX_RECORDING_SECONDS and try again."),
    "decode_timeout": Advice(True, "Decoding took too long, mostly on a busy machine: try again."),
    "decode_crashed": Advice(True, "The decoder broke on it: try again; if it comes back, keep the file for a report."),
    "speech_model_missing": Advice(True, "Install silero-vad on the CPU workers (pip install 'earwitness[gpu]')."),
    "truncated": Advice(False, "The file ends early; what there is was heard. Upload the whole file to hear the rest."),
    "chunks_failed": Advice(True, "Some pieces could not be heard: the message says why; a retry runs only those."),
    "worker_crashed": Advice(True, "It took workers down three times: look for it in the workers' logs, mend the cause "
                             "(mostly memory), then try again."),
    "pass_deadline": Advice(True, "The engine was too slow: see `earwitness workers`, then try again."),
    "engine_out_of_memory": Advice(True, "Lower EARWITNESS_PLACES on the GPU workers, then try again."),
    "reference_unavailable": Advice(False, "Submit the recording to compare with first."),
    "no_objects": Advice(False, "Try the prefix, the glob or the manifest out with --dry-run, and submit it again."),
    "manifest_not_text": Advice(False, "Write the manifest in UTF-8, plain or packed with gzip; submit it again."),
    "manifest_invalid": Advice(False, "Correct the manifest as the message says; submit it again."),
    "manifest_too_large": Advice(False, "Split the manifest, or raise EARWITNESS_MAX_MANIFEST_BYTES; submit it again."),
    "too_many_objects": Advice(False, "Split the source over several jobs, or raise EARWITNESS_MAX_JOB_RECORDINGS."),
    "database_unavailable": _LATER,
    "internal_error": Advice(True, "A fault of ours: the worker's log has it; try again, then report it."),
}  # fmt: skip
"""Advice by ``error_code``."""

_UNKNOWN = Advice(True, "See the message; if a retry gives the same, report it.")


def advise(code: str | None) -> Advice:
    """Return the advice for a code; one that is not in the table gets a general one."""
    return ADVICE.get(code or "", _UNKNOWN)
