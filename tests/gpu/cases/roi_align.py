"""RoIAlign in every dtype and format: a grid of samples, an adaptive one, their maximum, a pyramid."""

from roikit import ops

from ._case import FORMS, map_and_rois, maps, pooling, rois

OPTIONS = {"roi_align": [{"reduce": "max"}, {"rule": "integral"}], "multiscale_roi_align": [{"reduce": "max"}]}
SCALES = [1 / 2, 1 / 4, 1 / 8]


def align(x, boxes):
    return ops.roi_align(x, boxes, 5, 0.5, 2, True)


def adaptive(x, boxes):
    return ops.roi_align(x, boxes, 3, 0.5)


def align_max(x, boxes):
    return ops.roi_align(x, boxes, 5, 0.5, 2, True, reduce="max")


def multiscale(*inputs, reduce="mean"):
    return ops.multiscale_roi_align(inputs[:3], inputs[3], 3, SCALES, canonical_scale=12, canonical_level=2,
                                    reduce=reduce)


def multiscale_max(*inputs):
    return multiscale(*inputs, reduce="max")


def pyramid(last):
    return lambda seed: (*(maps((2, 12, 32 >> i, 40 >> i), seed + i, last=last) for i in range(3)), rois(40, 2, seed))


CASES = [case for form in FORMS for name, call, cells, exact in (
             ("roi_align", align, 5, False), ("roi_align adaptive", adaptive, 3, False),
             ("roi_align max", align_max, 5, True))
         for case in pooling(name, call, map_and_rois(*form), (form[0], cells, cells), exact)]
CASES += [case for last in (False, True) for name, call, exact in (
              ("multiscale_roi_align", multiscale, False), ("multiscale_roi_align max", multiscale_max, True))
          for case in pooling(name, call, pyramid(last), (12, 3, 3), exact)]
