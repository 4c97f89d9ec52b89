"""Masks of things and classes of pixels, merged into one map in which every pixel is of one segment or of none."""

from typing import Any

import torch
from torch import Tensor

from roikit.masks import area, decode, merge, toBbox
from roikit.models.configs import PanopticConfig

__all__ = ["merge_panoptic"]


def merge_panoptic(masks: list[dict[str, Any]], labels: Tensor, scores: Tensor, classes: Tensor, num_things: int,
                   config: PanopticConfig) -> tuple[Tensor, list[dict[str, Any]]]:
    """One map of an image's things and stuff.

    Things come first, by falling score: one of which too great a part is taken by better ones is left out, another one
    gets what they leave free. What no thing takes is stuff where its class is, if there is enough of it.

    Args:
        masks: D COCO RLE dicts, of the image's size.
        labels: (D,) int64, 1 to `num_things`.
        scores: (D,) float.
        classes: (H, W) int64, 0 for "a thing", 1 to `config.num_stuff_classes` for stuff.
        num_things: how many classes of things there are.
        config: the thresholds.

    Returns:
        (H, W) int32 on the device of `classes`: the segment's id at every pixel, 0 for none; and the segments in the
        order of their ids 1, 2, ...: dicts of `id`, `category` (a thing's label, or `num_things` plus its class of
        stuff), `isthing`, `score` (None of stuff) and `area` in pixels of the map.

    Source: Kirillov et al. 2019, arXiv:1801.00868, section 4.3 and appendix; thresholds as in detectron2's
    `combine_semantic_and_instance_outputs`.
    """
    kept, segments = [], []
    taken: dict[str, Any] | None = None
    order = scores.argsort(descending=True, stable=True).tolist()
    labels, scores = labels.tolist(), scores.tolist()
    for row in order:
        if scores[row] < config.score_threshold:
            break
        pixels = int(area(masks[row]))
        if pixels == 0:
            continue
        # On runs: as cheap in a large image as in a small one.
        lost = 0 if taken is None else int(area(merge([masks[row], taken], True)))
        if lost / pixels > config.overlap_threshold:
            continue
        taken = masks[row] if taken is None else merge([taken, masks[row]])
        kept.append(masks[row])
        segments.append({"id": len(kept), "category": labels[row], "isthing": True, "score": scores[row],
                         "area": pixels - lost})
    panoptic = _painted(kept, classes.shape).to(classes.device)
    return panoptic, segments + _add_stuff(panoptic, classes, len(segments), num_things, config)


def _painted(masks: list[dict[str, Any]], size: torch.Size) -> Tensor:
    """(H, W) int32: 1 where the first mask is, 2 where the second is and the first is not, and so on."""
    panoptic = torch.zeros(size, dtype=torch.int32)
    for index in reversed(range(len(masks))):
        left, top, width, height = map(int, toBbox(masks[index]))
        window = slice(top, top + height), slice(left, left + width)
        mask = torch.from_numpy(decode(masks[index]))[window]
        panoptic[window].masked_fill_(mask.bool(), index + 1)
    return panoptic


def _add_stuff(panoptic: Tensor, classes: Tensor, things: int, num_things: int, config: PanopticConfig
               ) -> list[dict[str, Any]]:
    """The segments of stuff, which are painted where the map is 0."""
    free = panoptic == 0
    counts = torch.bincount(classes[free], minlength=config.num_stuff_classes + 1).tolist()
    found = [label for label, count in enumerate(counts) if label and count >= max(config.stuff_area, 1)]
    ids = torch.zeros(len(counts), dtype=torch.int32)
    ids[found] = torch.arange(things + 1, things + len(found) + 1, dtype=torch.int32)
    panoptic += ids.to(panoptic.device)[classes] * free
    return [{"id": int(ids[label]), "category": num_things + label, "isthing": False, "score": None,
             "area": counts[label]} for label in found]
