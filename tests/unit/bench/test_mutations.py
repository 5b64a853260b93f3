"""Forty of the three hundred damaged recordings: each gets an answer within the catalogue, and no process dies."""

from __future__ import annotations

import pytest

from bench.mutations import FORMATS, SHARES, Mutant, judge, mutants, originals


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return originals(tmp_path_factory.mktemp("whole"))


def test_the_same_seed_makes_the_same_mutants(whole):
    made = mutants(whole, 7)
    assert [one.content for one in made] == [one.content for one in mutants(whole, 7)]
    assert [one.content for one in made] != [one.content for one in mutants(whole, 8)]
    assert len(made) == sum(SHARES.values()) == 300
    for kind in SHARES:
        formats = {one.name.split(" ")[1] for one in made if one.name.endswith(kind)}
        assert formats == set(FORMATS)


def test_the_originals_are_whole(whole):
    assert [judge(content).code for content in whole.values()] == ["timeline"] * len(FORMATS)


@pytest.mark.parametrize("part", range(8))
def test_every_mutant_gets_an_answer_of_the_catalogue(whole, part):
    for mutant in mutants(whole, 1, 40)[part::8]:
        assert isinstance(mutant, Mutant)
        outcome = judge(mutant.content)
        assert outcome.in_enum, (mutant.name, outcome)
        assert outcome.code not in ("decode_crashed", "decode_timeout"), (mutant.name, outcome)
