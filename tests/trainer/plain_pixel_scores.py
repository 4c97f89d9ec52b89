"""mIoU and accuracies written out pixel by pixel: what `roikit.trainer.pixel_scores` is compared with."""


def plain_scores(pairs, num_classes, ignored=255):
    """(mIoU, pixel accuracy, mean accuracy, IoU of each class) over all (found, truth) pairs of nested lists."""
    right, there, taken = ([0] * num_classes for _ in range(3))
    known = correct = 0
    for found, truth in pairs:
        for found_row, truth_row in zip(found, truth, strict=True):
            for one, other in zip(found_row, truth_row, strict=True):
                if other == ignored:
                    continue
                known += 1
                there[other] += 1
                if one == other:
                    correct += 1
                    right[other] += 1
                if 0 <= one < num_classes:
                    taken[one] += 1
    seen = [c for c in range(num_classes) if there[c]]
    if not seen:
        return -1.0, -1.0, -1.0, [-1.0] * num_classes
    ious = [right[c] / (there[c] + taken[c] - right[c]) if c in seen else -1.0 for c in range(num_classes)]
    return (sum(ious[c] for c in seen) / len(seen), correct / known, sum(right[c] / there[c] for c in seen) / len(seen),
            ious)
