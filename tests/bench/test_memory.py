"""What counts as the memory of a call. Each law in a process of its own: an old one gives pages back at any time."""

import pytest

START = """
import numpy as np
from roikit.bench.memory import extra_memory

MB = 1_000_000

def touched(size):
    return np.ones(size, np.uint8)

def told(call):
    found, result = extra_memory(call, lambda result: result.nbytes)
    print(found)
"""

LAWS = {
    "the scratch was given back before the result was made": ("""
def work():
    touched(50 * MB)
    return touched(20 * MB)
told(work)
""", 30, 5),
    "scratch beside the result counts whole": ("""
def work():
    scratch = touched(50 * MB)
    result = touched(20 * MB)
    result[0] = scratch[0]
    return result
told(work)
""", 50, 5),
    "what was there before does not count": ("""
kept = touched(30 * MB)
touched(200 * MB)  # a peak of its own, given back
told(lambda: kept[:1])
""", 0, 5),
    "pages of a result that nobody touched do not count": ("told(lambda: np.zeros(500 * MB, np.uint8))", 0, 5),
    "nor do they hide what stays": ("""
hidden = []
def work():
    hidden.append(touched(40 * MB))
    return touched(MB)
told(work)
""", 40, 5),
}


@pytest.mark.parametrize("law", LAWS)
def test_law(law, run_python):
    code, megabytes, within = LAWS[law]
    said = run_python(START + code).strip()
    if said == "None":
        pytest.skip("the system does not tell a process's peak of memory anew")
    assert int(said) / 1e6 == pytest.approx(megabytes, abs=within)
