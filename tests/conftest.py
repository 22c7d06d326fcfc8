"""Hypothesis draws the same examples in every run, so that a run is refused for what changed and for nothing else.

``TINYSE_RANDOM=1`` (``make explore``) or ``--hypothesis-seed N`` draws others, ``TINYSE_EXAMPLES=20`` twenty times as
many in each test. What an exploration finds becomes an ``@example`` of the test.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings
from hypothesis.internal.conjecture import providers

SLOW = [HealthCheck.too_slow]  # it reads the clock, as a deadline does

# settings(...) takes what it is not given from the profile of the moment; pytest reads this file before any test file.
settings.register_profile("same", derandomize=True, deadline=None, print_blob=True, suppress_health_check=SLOW)
settings.register_profile("random", deadline=None, print_blob=True, suppress_health_check=SLOW)
settings.load_profile("same")


def pytest_configure(config: pytest.Config) -> None:
    """Choose the profile: a seed would be ignored where hypothesis is told to draw the same.

    A shell's background jobs ignore Ctrl-C, and so would every program that a test interrupts.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.get("TINYSE_RANDOM") == "1" or config.getoption("hypothesis_seed", None) is not None:
        settings.load_profile("random")
    else:  # it mixes in the constants of all modules loaded so far: one file alone would draw other examples
        providers._get_local_constants = lambda: providers._local_constants


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Multiply the examples of each test, those with a number of their own too."""
    times = int(os.environ.get("TINYSE_EXAMPLES", "1"))
    if times == 1:
        return
    for test in {item.obj for item in items if isinstance(item, pytest.Function) and is_hypothesis_test(item.obj)}:
        given = test._hypothesis_internal_use_settings  # as hypothesis's own plugin does; there is no public way
        test._hypothesis_internal_use_settings = settings(given, max_examples=given.max_examples * times)
