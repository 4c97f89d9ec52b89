"""Which classes are taken for which."""

import numpy as np

__all__ = ["confusion"]


def confusion(matches, at, score_threshold):
    """The confusion matrix at one of the IoUs.

    Objects that were found as what they are, as COCO's matching has it, are on the diagonal. Of what is left, the pairs
    of an object and a detection of another class that overlap enough are taken from the best overlap down. Detections
    that are left then stand in the row of the background, objects in its column. What is neither right nor wrong is not
    counted, nor is what is left and overlaps an ignored object enough.

    Args:
        matches: Matches of K classes.
        at: place in the thresholds of the Matches.
        score_threshold: detections below it do not count.

    Returns:
        (K + 1, K + 1) int64: annotated, predicted; the last is the background.
    """
    count, enough = len(matches.names), matches.thresholds[at]
    table = np.zeros((count + 1, count + 1), np.int64)
    sure = matches.scores >= score_threshold
    right = matches.right[at] & sure
    np.add.at(table, (matches.found_class[right], matches.found_class[right]), 1)
    left_found = sure & ~right & ~matches.unjudged[at]
    left_known = ~matches.ignored
    left_known[matches.matched[at][right]] = False
    found, known = matches.pairs()
    near = matches.overlaps >= enough
    near &= left_found[found]
    found, known, overlaps = found[near], known[near], matches.overlaps[near]
    free = left_known[known] & (matches.found_class[found] != matches.known_class[known])
    order = np.flatnonzero(free)[np.argsort(-overlaps[free], kind="stable")]
    for d, g in zip(found[order].tolist(), known[order].tolist(), strict=True):
        if left_found[d] and left_known[g]:
            left_found[d] = left_known[g] = False
            table[matches.known_class[g], matches.found_class[d]] += 1
    left_found[found[matches.ignored[known]]] = False
    np.add.at(table, (count, matches.found_class[left_found]), 1)
    np.add.at(table, (matches.known_class[left_known], count), 1)
    return table
