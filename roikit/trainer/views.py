"""Test-time augmentation: an image looked at mirrored and at several sizes, and what was found put together.

Boxes of all views are fused as Solovyev et al. 2021, arXiv:1910.13302, have it (`roikit.ops.weighted_boxes_fusion`): a
fused score is the mean of the views', lower where some views did not find the object. A mask has the pixels of at least
half of the votes of the detections that lie on the fused box; a vote is a score.
"""

import contextlib
from dataclasses import dataclass, replace

import numpy as np
import torch

from roikit import masks as rle
from roikit.ops import box_iou, weighted_boxes_fusion
from roikit.trainer.asked import asks_for_keypoints, asks_for_rotated

__all__ = ["FLIPS", "Views", "check_views", "in_views", "views_of"]

FLIPS = ("horizontal", "vertical", "both")
SAME = 0.55  # IoU above which boxes of two views are one object's


@dataclass(frozen=True)
class Views:
    """How an image is looked at.

    Args:
        flips: of "horizontal", "vertical", "both" (turned by 180 degrees); the image as it is is looked at besides.
        scales: factors of the size that the network sees; each goes with each flip.
    """

    flips: tuple[str, ...] = ()
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self):
        unknown = [flip for flip in self.flips if flip not in FLIPS]
        if unknown:
            raise ValueError(f"tta_flips must be of {', '.join(FLIPS)}, got {', '.join(map(str, unknown))}")
        if not self.scales or not all(0.1 <= scale <= 10 for scale in self.scales):
            raise ValueError(f"tta_scales must be numbers from 0.1 to 10, got {list(self.scales)}")

    def all(self):
        """Yields the scale, whether left and right change places, and whether top and bottom do."""
        for scale in self.scales:
            for flip in (None, *self.flips):
                yield scale, flip in ("horizontal", "both"), flip in ("vertical", "both")


def views_of(flips, scales):
    """`Views` of what a user says, None of nothing."""
    flips = (flips,) if isinstance(flips, str) else tuple(flips or ())
    scales = tuple(scales or ())
    return Views(flips, scales or (1.0,)) if flips or scales else None


def check_views(model):
    """Refuse a ``DetectorConfig`` whose objects cannot be put together.

    Raises:
        ValueError: it has keypoints or rotated boxes.
    """
    for what, is_there in (("keypoints", asks_for_keypoints(model)), ("rotated boxes", asks_for_rotated(model))):
        if is_there:
            raise ValueError(f"test-time augmentation is for boxes and masks, and this model has {what}")


def in_views(run, model, views, *, limit, threshold=0.0):
    """A function like ``run`` that looks at each image in all views.

    Args:
        run: of `roikit.trainer.running.evaluation_of`: image tensors -> outputs and two durations.
        model: that ``run`` runs.
        views: `Views`.
        limit: so many objects an image at most.
        threshold: objects whose fused score is below are left out.
    """
    def run_views(images):
        outputs, spent = [], [0.0, 0.0]
        for image in images:
            found, size = [], image.shape[-2:]
            for scale, horizontal, vertical in views.all():
                axes = [axis for axis, is_turned in ((-1, horizontal), (-2, vertical)) if is_turned]
                with _scaled(model, scale, size):
                    (output,), *times = run([image.flip(axes) if axes else image])
                found.append(_turned_back(output, horizontal, vertical, size))
                spent = [a + b for a, b in zip(spent, times, strict=True)]
            outputs.append(_fused(found, limit, threshold))
        return outputs, *spent

    return run_views


@contextlib.contextmanager
def _scaled(model, scale, size):
    """Inside, the model resizes images to ``scale`` times the size that it would resize them to."""
    if scale == 1:
        yield
        return
    transform = model.transform
    before = transform.config
    if before.resize:
        small, large = round(before.min_size[-1] * scale), round(before.max_size * scale)
    else:  # it takes them as large as they are
        small, large = round(min(size) * scale), 2 * round(max(size) * scale) + 1
    transform.config = replace(before, resize=True, min_size=(max(small, 1),), max_size=max(large, 1))
    try:
        yield
    finally:
        transform.config = before


def _turned_back(output, horizontal, vertical, size):
    """The output on a mirrored image in the pixels of the image, on the CPU."""
    found = {name: value.detach().cpu() if isinstance(value, torch.Tensor) else value for name, value in output.items()}
    boxes = found["boxes"].clone()
    for low, high, length, is_turned in ((0, 2, size[1], horizontal), (1, 3, size[0], vertical)):
        if is_turned:
            boxes[:, [low, high]] = length - boxes[:, [high, low]]
    found["boxes"] = boxes
    if "masks" in found and (horizontal or vertical) and found["masks"]:
        found["masks"] = rle.frames.flip(found["masks"], horizontal=horizontal, vertical=vertical)
    return found


def _fused(found, limit, threshold):
    """One output of those of all views."""
    together = {name: torch.cat([output[name] for output in found]) for name in found[0] if name != "masks"}
    which = torch.cat([torch.full((len(output["labels"]),), k) for k, output in enumerate(found)])
    boxes, scores, labels = weighted_boxes_fusion(together["boxes"], together["scores"], together["labels"], which,
                                                  [1.0] * len(found), SAME)
    keep = (scores >= threshold).nonzero()[:limit, 0]
    fused = {"boxes": boxes[keep], "labels": labels[keep], "scores": scores[keep]}
    if "masks" not in found[0]:
        return fused
    masks = [mask for output in found for mask in output["masks"]]
    members = _members(together, fused)
    fused["masks"] = [_voted([masks[k] for k in own], together["scores"][own].tolist()) for own in members]
    if "mask_scores" in together:
        share = torch.stack([(together["mask_scores"][own] / together["scores"][own].clamp(min=1e-6)).mean()
                             for own in members]) if members else fused["scores"]
        fused["mask_scores"] = fused["scores"] * share
    return fused


def _members(together, fused):
    """Of each fused box the numbers of the detections that lie on it; of each one at least."""
    overlap = box_iou(fused["boxes"], together["boxes"])
    overlap[fused["labels"][:, None] != together["labels"][None]] = -1
    if not overlap.numel():
        return []
    own = overlap.argmax(0)
    members = [((own == k) & (overlap[k] > SAME)).nonzero()[:, 0].tolist() for k in range(len(overlap))]
    return [found or [int(overlap[k].argmax())] for k, found in enumerate(members)]


def _voted(masks, scores):
    """The pixels that at least half of the votes have, as an RLE."""
    if len(masks) == 1:
        return masks[0]
    height, width = masks[0]["size"]
    x, y, w, h = (int(v) for v in rle.toBbox(rle.merge(masks)))
    votes = np.zeros((h, w))
    for mask, score in zip(rle.frames.shift(masks, -y, -x, h, w), scores, strict=True):
        votes += score * rle.decode(mask)
    voted = rle.encode(np.asfortranarray(votes >= sum(scores) / 2, np.uint8))
    return rle.frames.shift([voted], y, x, height, width)[0]
