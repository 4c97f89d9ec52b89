"""Panoptic quality written out pair by pair: what `roikit.trainer.panoptic_scores` is compared with."""


def plain_quality(images, categories):
    """{category: (PQ, SQ, RQ)} of the categories of which there is anything, over all images.

    Args:
        images: (found, found segments, truth, true segments); maps as nested lists, segments as dicts.
    """
    total = {category: [0.0, 0, 0, 0] for category in categories}  # IoU, TP, FP, FN
    for found, found_segments, truth, true_segments in images:
        pixels = [(f, t) for rows in zip(found, truth, strict=True) for f, t in zip(*rows, strict=True)]
        void = {s["id"] for s in true_segments if s["category"] is None} | {0}
        paired, missed = set(), []
        for there in true_segments:
            if there["id"] in void or there.get("iscrowd"):
                continue
            partner = None
            for here in found_segments:
                both = sum(f == here["id"] and t == there["id"] for f, t in pixels)
                either = sum((f == here["id"] and t not in void) or t == there["id"] for f, t in pixels)
                if here["category"] == there["category"] and both > either / 2:
                    partner = here
                    total[there["category"]][0] += both / either
            if partner is None:
                missed.append(there["category"])
            else:
                paired.add(partner["id"])
                total[there["category"]][1] += 1
        for category in missed:
            total[category][3] += 1
        for here in found_segments:
            if here["id"] in paired:
                continue
            crowds = [s["id"] for s in true_segments if s.get("iscrowd") and s["category"] == here["category"]]
            excused = void | set(crowds)
            own = [t for f, t in pixels if f == here["id"]]
            if sum(t in excused for t in own) * 2 <= len(own):
                total[here["category"]][2] += 1
    return {category: (iou / (tp + (fp + fn) / 2), iou / tp if tp else 0.0, tp / (tp + (fp + fn) / 2))
            for category, (iou, tp, fp, fn) in total.items() if tp + fp + fn}
