"""torchvision's operators from the specification, slow and obvious: nms, and roi_align with its gradient."""

import numpy as np
import torch

import roikit.reference
from roikit.compat.torchvision.operators import SCHEMAS
from roikit.reference.roi_align import roi_weights


def nms(boxes, scores, iou_threshold):
    return torch.from_numpy(roikit.reference.nms(boxes.numpy(), scores.numpy(), iou_threshold))


def weights(rois, size, shape, *rule):
    """For each RoI its image and, in float64, the weights of rows (PH, H) and of columns (PW, W)."""
    for image, *corners in rois.double().numpy():
        vertical, horizontal = roi_weights(np.array(corners), size, shape, *rule, np.float64, "samples")
        yield int(image), torch.from_numpy(vertical), torch.from_numpy(horizontal)


def roi_align(input, rois, scale, rows, columns, sampling_ratio, aligned):
    out = [torch.einsum("ph,chw,qw->cpq", vertical, input[image].double(), horizontal) for image, vertical, horizontal
           in weights(rois, (rows, columns), input.shape[2:], scale, sampling_ratio, aligned)]
    return torch.stack(out).to(input.dtype) if out else input.new_empty((0, input.shape[1], rows, columns))


def roi_align_backward(grad, rois, scale, rows, columns, images, channels, height, width, sampling_ratio, aligned):
    out = grad.new_zeros((images, channels, height, width), dtype=torch.float64)
    parts = weights(rois, (rows, columns), (height, width), scale, sampling_ratio, aligned)
    for one, (image, vertical, horizontal) in zip(grad.double(), parts, strict=True):
        out[image] += torch.einsum("ph,cpq,qw->chw", vertical, one, horizontal)
    return out.to(grad.dtype)


def load():
    """Define torchvision's operators, as loading its binary does. Returns the library that holds them."""
    library = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        library.define(schema)
    library.impl("_cuda_version", lambda: -1, "CompositeExplicitAutograd")
    for name, kernel in (("nms", nms), ("roi_align", roi_align), ("_roi_align_backward", roi_align_backward)):
        library.impl(name, kernel, "CPU")
    return library
