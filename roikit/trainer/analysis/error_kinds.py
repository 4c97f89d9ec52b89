"""What is wrong with each detection, and what each kind of error costs.

Source: Bolya et al. 2020, arXiv:2008.08115 (TIDE): six kinds, two thresholds of IoU, and the cost of a kind as the AP
that is won where the errors of that kind alone are mended. Where an overlap is equal, the object of the own class is
meant.
"""

import numpy as np

from roikit.trainer.analysis.precision import average_precision

__all__ = ["ENOUGH", "ERRORS", "LITTLE", "UNJUDGED", "error_costs", "outcomes"]

# Of a detection; "missed" is said of objects. A detection that is right is 0, then come the kinds in this order.
ERRORS = ("classification", "localisation", "both", "duplicate", "background")
UNJUDGED = len(ERRORS) + 1

ENOUGH, LITTLE = 0.5, 0.1  # IoU of an object that is found, and of one that is touched at all


def outcomes(matches):
    """What each detection is at an IoU of 0.5.

    classification  it overlaps an object of another class by 0.5 or more
    localisation    it overlaps an object of its class by 0.1 to 0.5
    both            it overlaps an object of another class by 0.1 to 0.5
    duplicate       it overlaps an object of its class by 0.5 or more, which a better detection has
    background      it overlaps no object by 0.1

    where the object is the one that it overlaps most.

    Returns:
        (D,) int64: 0 right, 1 to 5 in the order above, 6 neither right nor wrong; and (D,) int64, the row of the object
        in question, -1 for none.
    """
    count = len(matches.found)
    kind, about = np.full(count, ERRORS.index("background") + 1, np.int64), np.full(count, -1, np.int64)
    found, known = matches.pairs()
    touched = (matches.overlaps >= LITTLE) & ~matches.ignored[known]
    found, known, overlaps = found[touched], known[touched], matches.overlaps[touched]
    if len(found):
        starts = np.flatnonzero(np.diff(found, prepend=-1))  # the pairs of a detection stand together
        each = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(found)))
        top = np.maximum.reduceat(overlaps, starts)
        # Of objects that it overlaps alike, one of the own class, and the first of these.
        rank = (overlaps == top[each]) * (1 + (matches.found_class[found] == matches.known_class[known]))
        best = np.flatnonzero(rank == np.maximum.reduceat(rank, starts)[each])
        best = best[np.unique(each[best], return_index=True)[1]]
        is_own = rank[best] == 2
        kind[found[best]] = np.select(
            [(top >= ENOUGH) & is_own, top >= ENOUGH, is_own],
            [ERRORS.index(name) + 1 for name in ("duplicate", "classification", "localisation")],
            ERRORS.index("both") + 1)
        about[found[best]] = known[best]
    right = matches.right[0]
    kind[right], about[right] = 0, matches.matched[0][right]
    kind[matches.unjudged[0]], about[matches.unjudged[0]] = UNJUDGED, -1
    return kind, about


def error_costs(matches, kind, about):
    """How many errors of each kind there are, and the AP at an IoU of 0.5 that each kind costs.

    To mend an error of classification or localisation is to make the detection right, unless its object is found
    already or a better detection with such an error is about the same object: then it is left out, as are duplicates,
    the background, and detections with both errors. Missed objects, which no error of classification or localisation is
    about, are mended by not counting them.

    Args:
        matches: Matches.
        kind, about: of `outcomes`.

    Returns:
        dict: ``AP50``, the mean over the classes that have an object, -1 without any, and ``kinds``: name ->
        {"count", "cost"}, with "missed" the last; the cost is what AP50 would be higher by.
    """
    totals = matches.totals()
    right, counted = kind == 0, kind != UNJUDGED
    missed = _missed(matches, kind, about)
    plain = _mean_precision(matches, right, counted, matches.found_class, totals, totals)
    kinds = {}
    for number, name in enumerate(ERRORS, start=1):
        wrong = kind == number
        mended, label = right, matches.found_class
        if name in ("classification", "localisation"):
            kept = _worth_mending(matches, wrong, about)
            mended = right | kept
            label = np.where(kept, matches.known_class[about], label) if len(matches.known) else label
        fixed = _mean_precision(matches, mended, counted & ~(wrong & ~mended), label, totals, totals)
        kinds[name] = {"count": int(wrong.sum()), "cost": fixed - plain}
    left = totals - np.bincount(matches.known_class[missed], minlength=len(totals))
    fixed = _mean_precision(matches, right, counted, matches.found_class, left, totals)
    kinds["missed"] = {"count": int(missed.sum()), "cost": fixed - plain}
    return {"AP50": plain, "kinds": kinds}


def _missed(matches, kind, about):
    """(G,) bool, the objects that nobody found nor nearly found."""
    missed = ~matches.ignored
    near = (kind == 0) | (kind == ERRORS.index("classification") + 1) | (kind == ERRORS.index("localisation") + 1)
    missed[about[near]] = False
    return missed


def _worth_mending(matches, wrong, about):
    """(D,) bool, of the wrong detections the best about each object that is not found."""
    found = np.zeros(len(matches.known), bool)
    found[matches.matched[0][matches.right[0]]] = True
    rows = np.flatnonzero(wrong)
    rows = rows[np.argsort(-matches.scores[rows], kind="stable")]
    rows = rows[~found[about[rows]]]
    _, first = np.unique(about[rows], return_index=True)
    kept = np.zeros(len(wrong), bool)
    kept[rows[first]] = True
    return kept


def _mean_precision(matches, right, counted, label, totals, original):
    """AP at an IoU of 0.5, the mean over classes that had an object; one that has none left is perfect."""
    values = []
    order = np.argsort(-matches.scores, kind="stable")
    order = order[counted[order]]
    for c in np.flatnonzero(original):
        rows = order[label[order] == c]
        values.append(average_precision(right[rows], ~right[rows], totals[c]) if totals[c] else 1.0)
    return float(np.mean(values)) if values else -1.0
