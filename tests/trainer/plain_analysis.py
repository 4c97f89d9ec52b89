"""Matching, confusions, kinds of errors and their costs, written out over lists of upright boxes: what
`roikit.trainer.analysis` is compared with.

A scene is a list of images, each ``(found, known)``: ``found`` lists (class, score, box), ``known`` (class, is_crowd,
box), boxes x, y, width, height.
"""


def iou(found, known, is_crowd):
    x = max(0, min(found[0] + found[2], known[0] + known[2]) - max(found[0], known[0]))
    y = max(0, min(found[1] + found[3], known[1] + known[3]) - max(found[1], known[1]))
    own = found[2] * found[3]
    whole = own if is_crowd else own + known[2] * known[3] - x * y
    return x * y / whole if whole else 0.0


def by_score(found):
    return sorted(range(len(found)), key=lambda d: -found[d][1])


def matched(found, known, least):
    """Place of the object of each detection, None for none."""
    taken, chosen = set(), [None] * len(found)
    for d in by_score(found):
        for crowds in (False, True):
            fits = [(iou(found[d][2], box, is_crowd), g) for g, (label, is_crowd, box) in enumerate(known)
                    if label == found[d][0] and is_crowd == crowds and (crowds or g not in taken)]
            fits = [fit for fit in fits if fit[0] >= min(least, 1 - 1e-10)]
            if fits:
                chosen[d] = max(fits)[1]  # the last of equals
                taken.add(chosen[d])
                break
    return chosen


def confusion(scene, classes, least, threshold):
    table = [[0] * (classes + 1) for _ in range(classes + 1)]
    for found, known in scene:
        found = sorted((f for f in found), key=lambda f: (f[0], -f[1]))
        chosen = matched(found, known, least)
        left, missing = [], [g for g, object_ in enumerate(known) if not object_[1]]
        for d, (label, score, _) in enumerate(found):
            if score < threshold:
                continue
            if chosen[d] is None:
                left.append(d)
            elif not known[chosen[d]][1]:
                table[label][label] += 1
                missing.remove(chosen[d])
        pairs = [(iou(found[d][2], known[g][2], False), d, g) for d in left for g in missing
                 if found[d][0] != known[g][0]]
        for overlap, d, g in sorted(pairs, key=lambda p: (-p[0], p[1], p[2])):
            if overlap >= least and d in left and g in missing:
                table[known[g][0]][found[d][0]] += 1
                left.remove(d)
                missing.remove(g)
        for d in left:
            if not any(is_crowd and iou(found[d][2], box, True) >= least for _, is_crowd, box in known):
                table[classes][found[d][0]] += 1
        for g in missing:
            table[known[g][0]][classes] += 1
    return table


def judged(scene):
    """Rows (score, class, kind, object, class of the object), object as (image, place); and all objects that count."""
    rows, objects = [], {}
    for image, (found, known) in enumerate(scene):
        objects |= {(image, g): label for g, (label, is_crowd, _) in enumerate(known) if not is_crowd}
        found = sorted(found, key=lambda f: (f[0], -f[1]))
        for (label, score, box), chosen in zip(found, matched(found, known, 0.5), strict=True):
            if chosen is not None:
                kind = "unjudged" if known[chosen][1] else "right"
                rows.append((score, label, kind, (image, chosen), label))
                continue
            overlaps = [(iou(box, other, False), its == label, -g) for g, (its, is_crowd, other) in enumerate(known)
                        if not is_crowd]
            best, is_own, g = max(overlaps, default=(0, False, 0))
            if best < 0.1:
                rows.append((score, label, "background", None, label))
                continue
            kind = {(True, True): "duplicate", (True, False): "classification", (False, True): "localisation",
                    (False, False): "both"}[best >= 0.5, is_own]
            rows.append((score, label, kind, (image, -g), known[-g][0]))
    return rows, objects


def precision(rows, total):
    """COCO's AP of (score, is_right) rows."""
    if not total:
        return 1.0
    right, points = 0, []
    for n, (_, is_right) in enumerate(sorted(rows, key=lambda row: -row[0]), start=1):
        right += is_right
        points.append((right / total, right / n))
    return sum(max((p for r, p in points if r >= k / 100), default=0.0) for k in range(101)) / 101


def mean_precision(rows, objects, left):
    """Rows of (score, class, is_right); objects and those that are left: (image, place) -> class."""
    classes = sorted(set(objects.values()))
    found = [precision([(s, right) for s, label, right in rows if label == c], list(left.values()).count(c))
             for c in classes]
    return sum(found) / len(found) if found else -1.0


def costs(scene):
    rows, objects = judged(scene)
    counted = [row for row in rows if row[2] != "unjudged"]
    taken = {row[3] for row in counted if row[2] == "right"}
    plain = [(row[0], row[1], row[2] == "right") for row in counted]
    before, kinds = mean_precision(plain, objects, objects), {}
    for kind in ("classification", "localisation", "both", "duplicate", "background"):
        mended, used = [], set(taken)
        for score, label, own, about, its in sorted(counted, key=lambda row: -row[0]):
            if own != kind:
                mended.append((score, label, own == "right"))
            elif kind in ("classification", "localisation") and about not in used:
                used.add(about)
                mended.append((score, its, True))
        kinds[kind] = (sum(row[2] == kind for row in counted), mean_precision(mended, objects, objects) - before)
    near = taken | {row[3] for row in counted if row[2] in ("classification", "localisation")}
    left = {g: label for g, label in objects.items() if g in near}
    kinds["missed"] = (len(objects) - len(left), mean_precision(plain, objects, left) - before)
    return before, kinds
