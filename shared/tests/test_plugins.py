"""Strategies and venues are found by name, and a slip of the pen is one sentence."""

import pytest

from kimp.shared.errors import ConfigurationError
from kimp.shared.plugins import parameters_of, plugin


def test_thresholds_are_read_from_one_line() -> None:
    assert parameters_of(" threshold=0.005 , target_net = 0.01,") == {"threshold": "0.005", "target_net": "0.01"}
    assert parameters_of("") == {}


@pytest.mark.parametrize("text", ["threshold", "=0.01", "threshold=", "a=1,b"])
def test_a_part_that_is_no_threshold_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="must be like threshold"):
        parameters_of(text)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match=r'there is no strategy "nonsense"'):
        plugin("kimp.strategies", "nonsense", "strategy")
    with pytest.raises(ConfigurationError, match="none"):
        plugin("kimp.no-such-group", "x", "venue")
