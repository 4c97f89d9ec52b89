"""RoIPool in every dtype and format."""

from roikit import ops

from ._case import FORMS, map_and_rois, pooling


def pool(x, boxes):
    return ops.roi_pool(x, boxes, 4, 0.5)


CASES = [case for form in FORMS for case in pooling("roi_pool", pool, map_and_rois(*form), (form[0], 4, 4), True)]
