import subprocess
import sys

import pytest

from qwen_audio.tags import LANGUAGES, Prompt, Tag, TimeTag, UnknownTag, language_tag, parse_tag


def test_the_misspelt_tag_of_the_official_readme_is_refused():
    assert parse_tag("<|startoftranscript|>") is Tag.START_OF_TRANSCRIPT
    with pytest.raises(UnknownTag, match="startoftranscription"):
        parse_tag("<|startoftranscription|>")


def test_an_unknown_language_is_refused_with_those_that_exist():
    assert language_tag("zh") is Tag.ZH
    with pytest.raises(UnknownTag, match=", ".join(LANGUAGES)):
        language_tag("xx")


@pytest.mark.parametrize("centiseconds", [-1, 3001])
def test_a_time_outside_the_clip_has_no_tag(centiseconds):
    with pytest.raises(UnknownTag):
        TimeTag(centiseconds)


def test_a_prompt_spells_itself_in_the_official_notation():
    assert str(Prompt((Tag.TIMESTAMPS, TimeTag(0), "hi", TimeTag(54)))) == "<|timestamps|><|0.00|>hi<|0.54|>"


def test_tags_answers_and_errors_are_free_of_torch():
    code = (
        "import sys, qwen_audio.tags, qwen_audio.answers, qwen_audio.errors; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
