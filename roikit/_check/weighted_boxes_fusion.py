"""What `weighted_boxes_fusion` checks."""

from roikit import _check

CONF_TYPES = {"avg": 0, "max": 1, "box_and_model_avg": 2, "absent_model_aware_avg": 3}  # as the kernels number them


def model_weights(op, weights):
    """A sequence of at least one finite number from 0 on, as a list of floats; None as an empty one."""
    if weights is None:
        return []
    _check.sequence(op, "weights", weights)
    if len(weights) == 0:
        raise ValueError(f"{op}: weights must have a number for each model or be None, got none")
    return [_check.number_from(op, "weights", weight, 0) for weight in weights]


def fusion(op, weights, iou_threshold, skip_box_threshold, conf_type, allows_overflow):
    """All that are no arrays, checked, in this order; weights as in `model_weights`."""
    weights = model_weights(op, weights)
    threshold = _check.number_from(op, "iou_threshold", iou_threshold, 0)
    skip = _check.number(op, "skip_box_threshold", skip_box_threshold)
    _check.choice(op, "conf_type", conf_type, CONF_TYPES)
    return weights, threshold, skip, conf_type, bool(allows_overflow)
