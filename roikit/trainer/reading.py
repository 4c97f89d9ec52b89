"""Annotations read for a run or an evaluation, and what in them was taken for what it means, said in one line."""

import os
import sys
from collections import Counter

from roikit.data.annotations import load_annotations
from roikit.data.doctor import taken_sentence

__all__ = ["read_annotations", "say_taken"]


def read_annotations(annotations, images, name):
    """What `load_annotations` gives of annotations and their folder of images; what was taken is said.

    Args:
        name: of the part, for the line; None where it has been said.

    Raises: as `load_annotations`.
    """
    taken = Counter()
    content = load_annotations(annotations, images=images, taken=taken)
    if name is not None:
        say_taken(name, taken)
    return content


def say_taken(name, taken):
    """Say on standard error what was taken for what it means, if anything was; of several processes the first does.

    Args:
        name: what the line begins with.
        taken: Counter of `load_annotations`.
    """
    if taken and int(os.environ.get("RANK", "0")) == 0:
        print(f"{name}: {taken_sentence(taken)}", file=sys.stderr, flush=True)
