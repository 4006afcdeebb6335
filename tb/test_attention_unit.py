"""Heads through the softmax unit and the unit for codes times V in a chain."""

import click
import numpy as np
import pytest

from golden.synthetic import causal_scores
from scripts import attention
from tb import attention_head


def test_head():
    rng = np.random.default_rng(3)
    head = attention.run(2, causal_scores(2.0, 13, rng), rng.normal(size=(13, 3)), 1)
    assert head.mismatches == 0
    assert np.unique(head.run.y).size > 20
    assert 13 * 4 < head.run.cycles < 2000
    assert 0 < head.output < 0.4


@pytest.mark.full
def test_errors_fall_with_the_bits(capsys):
    attention.main(32, 4, 2.0, 1)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()
            if line.split()[:1] in (["2"], ["3"], ["4"])]
    assert [(row[0], row[3]) for row in rows] == [("2", "0"), ("3", "0"), ("4", "0")]
    for column in (4, 5):
        errors = [float(row[column].rstrip("%")) for row in rows]
        assert errors == sorted(errors, reverse=True)
        assert errors[0] > 2 * errors[2]


@pytest.mark.full
def test_a_difference_is_found(monkeypatch):
    right = attention_head.weighted_values
    monkeypatch.setattr(attention_head, "weighted_values",
                        lambda *args, **options: right(*args, **options) ^ 1)
    with pytest.raises(click.ClickException, match="96 of 96 outputs of the head with 2 bits"):
        attention.main(32, 3, 2.0, 1)
