"""Whole calls: a hypothesis strategy for the arguments of each op, named and in order."""

from hypothesis import strategies as st

from roikit.testing.judged import JUDGED

__all__ = ["cases"]


def cases(op, awkward=True):
    """A strategy for the arguments of an op: a dict, in the order of the op's arguments.

    Args:
        op: the name of a function, say "roi_align" or "rle_encode".
        awkward: False for ordinary cases alone; True for as many awkward ones beside them.
    """
    if op not in JUDGED:
        raise ValueError(f"cases: op must be one of {', '.join(JUDGED)}, got {op!r}")
    strategy = JUDGED[op].arguments
    return st.one_of(strategy(False), strategy(True)) if awkward else strategy(False)
