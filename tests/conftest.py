"""Hypothesis profiles and the fixtures that every floor's tests share.

ROIKIT_HYPOTHESIS=quick|ci|full picks how many examples each property gets (60, 300 or 10,000).
ROIKIT_TEST_DATA names a folder with the data sets that are too large for the repository.
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

for name, examples in (("quick", 60), ("ci", 300), ("full", 10_000)):
    settings.register_profile(name, max_examples=examples, deadline=None,
                              suppress_health_check=[HealthCheck.too_slow,
                                                     HealthCheck.data_too_large])
settings.load_profile(os.environ.get("ROIKIT_HYPOTHESIS", "quick"))


@pytest.fixture(scope="session")
def test_data():
    """The folder of the larger data sets, or a skip that says how to provide it."""
    folder = os.environ.get("ROIKIT_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ROIKIT_TEST_DATA does not name a folder with the larger data sets")
    return Path(folder)
