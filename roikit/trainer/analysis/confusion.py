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
    free_found = sure & ~right & ~matches.unjudged[at]
    free_known = ~matches.ignored
    free_known[matches.matched[at][right]] = False
    for n, iou in enumerate(matches.ious):
        rows, own = matches.rows(n)
        found, known = np.flatnonzero(free_found[rows]), np.flatnonzero(free_known[own])
        pairs = iou[np.ix_(found, known)]
        mine, theirs = matches.found_class[rows][found], matches.known_class[own][known]
        d, g = np.nonzero((pairs >= enough) & (mine[:, None] != theirs))
        taken_found, taken_known = np.zeros(len(found), bool), np.zeros(len(known), bool)
        for k in np.argsort(-pairs[d, g], kind="stable"):
            if not taken_found[d[k]] and not taken_known[g[k]]:
                taken_found[d[k]] = taken_known[g[k]] = True
                table[theirs[g[k]], mine[d[k]]] += 1
        left = ~taken_found & ~(iou[found][:, matches.ignored[own]] >= enough).any(1)
        np.add.at(table, (count, mine[left]), 1)
        np.add.at(table, (theirs[~taken_known], count), 1)
    return table
