from __future__ import annotations

import pytest

from cli.asking import parse_task
from cli.errors import InvalidTask


@pytest.mark.parametrize(
    ("text", "task", "options"),
    [
        ("caption", "caption", {}),
        ("transcribe:timestamps=word,language=en", "transcribe", {"timestamps": "word", "language": "en"}),
        ("transcribe:itn=true", "transcribe", {"itn": True}),
        (
            "x:a=1,b=0.5,c=false,d=null,e=[1],f=",
            "x",
            {"a": 1, "b": 0.5, "c": False, "d": "null", "e": "[1]", "f": ""},
        ),
        (" caption : style = plain ", "caption", {"style": "plain"}),
        ("ask:question=a=b", "ask", {"question": "a=b"}),
        ("ask:question=a?,choices=yes|no", "ask", {"question": "a?", "choices": ["yes", "no"]}),
        ("ask:question=a?,references=x|", "ask", {"question": "a?", "references": ["x"]}),
        ('ask:{"question": "rain, or wind?"}', "ask", {"question": "rain, or wind?"}),
    ],
)
def test_a_task_is_a_name_with_options(text, task, options):
    assert parse_task(text) == {"task": task, "options": options}


@pytest.mark.parametrize(
    "text", ["ask:{", "", ":", "caption:", "caption:style", "caption:=plain", "x:a=1,a=2", ":a=1", "x:a=1,"]
)
def test_what_is_no_task_is_refused_with_the_form(text):
    with pytest.raises(InvalidTask, match="NAME:OPTION=VALUE"):
        parse_task(text)
