"""Define the views that analysts start from; the only SQL here that differs between the databases is JSON."""

from __future__ import annotations

_WORDS_HEAD = """
    s.tenant, s.recording_id, s.request_id, s.id AS segment_id, r.uri, s.channel, s.language"""

_WORDS_SQLITE = f"""
SELECT {_WORDS_HEAD},
    w.key AS position,
    json_extract(w.value, '$.word') AS word,
    json_extract(w.value, '$.start_ms') AS start_ms,
    json_extract(w.value, '$.end_ms') AS end_ms,
    json_extract(w.value, '$.confidence') AS confidence
FROM segments s
JOIN recordings r ON r.id = s.recording_id
JOIN json_each(s.words) w
"""

_WORDS_POSTGRESQL = f"""
SELECT {_WORDS_HEAD},
    CAST(w.ordinality - 1 AS integer) AS position,
    w.value ->> 'word' AS word,
    CAST(w.value ->> 'start_ms' AS bigint) AS start_ms,
    CAST(w.value ->> 'end_ms' AS bigint) AS end_ms,
    CAST(w.value ->> 'confidence' AS double precision) AS confidence
FROM segments s
JOIN recordings r ON r.id = s.recording_id
CROSS JOIN LATERAL jsonb_array_elements(s.words) WITH ORDINALITY AS w(value, ordinality)
"""


def _sqlite_field(name: str, kind: str = "text") -> str:
    """Take a field out of an annotation's data; JSON in SQLite keeps its types."""
    return f"json_extract(a.data, '$.{name}') AS {_column(name)}"


def _postgresql_field(name: str, kind: str = "text") -> str:
    return f"CAST(a.data ->> '{name}' AS {kind}) AS {_column(name)}"


def _column(name: str) -> str:
    return "source_language" if name == "from" else name  # FROM is a word of SQL


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
    field = _postgresql_field if dialect == "postgresql" else _sqlite_field
    return {
        "words": _WORDS_POSTGRESQL if dialect == "postgresql" else _WORDS_SQLITE,
        "languages": _of_task("language", f"a.label AS language, {field('probability', 'double precision')}"),
        "translations": _of_task("translate", f"a.label AS language, a.text, {field('from')}"),
        "captions": _of_task("caption", "a.text AS caption"),
        "scenes": _of_task("scene", "a.label AS scene, a.text"),
        "emotions": _of_task("emotion", "a.label AS emotion, a.text"),
        "vocals": _of_task("vocal", "a.label AS vocal, a.text"),
        "sounds": _of_task("events", "a.label AS sound, a.text"),
        "notes": _of_task(
            "music",
            f"a.label AS instrument, {field('pitch', 'integer')}, {field('velocity', 'integer')}, a.text",
        ),
        "answers": _of_task("ask", f"{field('question')}, a.label, a.text AS answer"),
        "places": _of_task("locate", f"a.label AS phrase, a.text, {field('confidence', 'double precision')}"),
    }
