import pytest

from cli.demo_marks import count_right_words, mark_samples, print_marks
from cli.service import prepare_database
from db.database import Database
from db.tables import Annotation, Recording, Request, Segment
from samples import list_samples
from settings import Settings


@pytest.mark.parametrize(
    ("heard", "truth", "right"),
    [
        ("hello martin", "hello martin", 2),
        ("hello anna", "hello martin", 1),
        ("hello hello", "hello", 1),
        ("", "hello", 0),
        ("one two three", "three two one", 1),
        ("please call me monday", "please call me back monday", 4),
    ],
)
def test_right_words_are_counted_in_their_order(heard, truth, right):
    assert count_right_words(heard.split(), truth.split()) == right


@pytest.fixture
def database(tmp_path):
    settings = Settings(data_dir=tmp_path)
    prepare_database(settings)
    return tmp_path / "earwitness.db"


def add_heard(path, name, *, text=None, caption=None, sounds=(), channel=0):
    place = {"channel": channel, "start_sample": 0, "end_sample": 16, "start_ms": 0, "end_ms": 1}
    asked = Request(tenant="t", key="k", task="x", options={}, model="m", prompt_version=1)
    heard = Recording(
        tenant="t", uri=f"upload://{'0' * 36}/{name}", version="1", channels="mix", size_bytes=1
    )
    database = Database(f"sqlite:///{path}")
    with database.write() as session:
        session.add_all([asked, heard])
        session.flush()
        owner = {"tenant": "t", "recording_id": heard.id, "request_id": asked.id}
        if text is not None:
            session.add(Segment(**owner, **place, index=0, text=text))
        if caption is not None:
            session.add(Annotation(**owner, **place, index=0, task="caption", text=caption))
        for index, sound in enumerate(sounds, start=1):
            session.add(Annotation(**owner, **place, index=index, task="events", label=sound, text=sound))
    database.close()


def test_what_is_right_and_what_is_wrong_is_marked(database, capsys):
    (sample,) = [one for one in list_samples() if one.name == "voicemail"]
    add_heard(database, sample.path.name, text=sample.truth["transcribe"], caption="a dog barks")

    marks = {mark.task: mark for mark in mark_samples(database, [sample])}

    assert marks["transcribe"].right == marks["transcribe"].total == len(sample.words)
    assert (marks["caption"].right, marks["caption"].total) == (0, 1)
    print_marks(list(marks.values()))
    shown = capsys.readouterr().out
    assert f"\N{CHECK MARK} {len(sample.words)}" in shown
    assert "\N{BALLOT X} 0 of 1" in shown


def test_each_channel_of_a_split_call_has_its_own_truth(database):
    (sample,) = [one for one in list_samples() if one.split]
    add_heard(database, sample.path.name, caption="a man speaks", channel=1)

    (mark,) = [mark for mark in mark_samples(database, [sample]) if mark.task == "caption"]

    assert (mark.truth, mark.right, mark.total) == ("a man speaks", 1, 1)


def test_missed_and_invented_sounds_count_against_what_was_heard(database):
    (sample,) = [one for one in list_samples() if one.name == "weather"]
    add_heard(database, sample.path.name, sounds=("rain", "dog"))

    (mark,) = [mark for mark in mark_samples(database, [sample]) if mark.task == "events"]

    assert (mark.truth, mark.right, mark.total) == ("bell, rain", 1, 3)


def test_words_where_nobody_speaks_are_wrong(database):
    (sample,) = [one for one in list_samples() if one.name == "weather"]
    add_heard(database, sample.path.name, text="hello")

    (mark,) = [mark for mark in mark_samples(database, [sample]) if mark.task == "transcribe"]

    assert (mark.heard, mark.total) == ("hello", 0)
