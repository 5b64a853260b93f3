"""Define the views that analysts start from; the only SQL here that differs between the databases is JSON."""

from __future__ import annotations

_WORDS_HEAD = """
    s.tenant, s.recording_id, s.request_id, s.id AS segment_id, r.uri, s.channel, s.language"""

_WORDS_SQLITE = f"""
SELECT {_WORDS_HEAD},
    w.key AS position,
    json_extract(w.value, '$.word') AS word,
    json_extract(w.value, '$.start_ms') AS start_ms,
    json_extract(w.value, '$.end_ms') AS end_ms
FROM segments s
JOIN recordings r ON r.id = s.recording_id
JOIN json_each(s.words) w
"""

_WORDS_POSTGRESQL = f"""
SELECT {_WORDS_HEAD},
    CAST(w.ordinality - 1 AS integer) AS position,
    w.value ->> 'word' AS word,
    CAST(w.value ->> 'start_ms' AS bigint) AS start_ms,
    CAST(w.value ->> 'end_ms' AS bigint) AS end_ms
FROM segments s
JOIN recordings r ON r.id = s.recording_id
CROSS JOIN LATERAL jsonb_array_elements(s.words) WITH ORDINALITY AS w(value, ordinality)
"""


def _of_task(task: str, columns: str) -> str:
    return f"""
SELECT a.tenant, a.recording_id, a.request_id, a.id AS annotation_id, r.uri, a.channel,
    a.start_ms, a.end_ms, {columns}
FROM annotations a
JOIN recordings r ON r.id = a.recording_id
WHERE a.task = '{task}'
"""


def view_definitions(dialect: str) -> dict[str, str]:
    """Return the SELECT of each view by name, for ``sqlite`` or ``postgresql``."""
    return {
        "words": _WORDS_POSTGRESQL if dialect == "postgresql" else _WORDS_SQLITE,
        "captions": _of_task("caption", "a.text AS caption"),
        "emotions": _of_task("emotion", "a.label AS emotion, a.text"),
    }
