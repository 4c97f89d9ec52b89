"""Weighted boxes fusion on tensors. Nothing here is differentiable."""

import torch

from roikit import _config, _core
from roikit._check.weighted_boxes_fusion import CONF_TYPES, fusion
from roikit.ops._arguments import as_candidates, as_classes, wider
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import register
from roikit.ops._order import by_class, by_score, kept_fake

__all__ = ["weighted_boxes_fusion"]

_MOST_MODELS = 2**31


def weighted_boxes_fusion(boxes, scores, idxs, models, weights=None, iou_threshold=0.55, *, skip_box_threshold=0.0,
                          conf_type="avg", allows_overflow=False):
    """Fuse the boxes that several models found in one image: boxes of a class that lie on one object become their mean.

    Boxes of a class are taken by descending vote (score times weight of the model), equal votes by index. A box joins
    the cluster whose fused box it overlaps most, of equal ones the earliest, or else begins one. A fused box is the
    mean of its cluster by votes. Classes do not meet.

    Args:
        boxes: (N, 4) floating, xyxy; corners of reversed sides are swapped, and boxes of area 0 left out. N < 2^31.
        scores: (N,) of any float dtype, on the same device; both are cast to their common dtype T, float32 at least.
            A box whose vote is NaN or infinite is left out.
        idxs: (N,) integers of any dtype, the class of each box; negative ones too.
        models: (N,) integers of any dtype, the model that found each box, from 0 on.
        weights: (M,) finite numbers of at least 0, one for each model: a sequence, or a tensor, which is read on the
            host. None for 1 each; the number of models is then the highest of ``models`` plus 1, so pass ``[1] * M``
            where the last model may have found nothing.
        iou_threshold: finite, at least 0; compared strictly, after rounding to T.
        skip_box_threshold: boxes whose score, before its weight, is below it are left out.
        conf_type: the score of n boxes whose votes sum to s; W is the sum of all weights. "avg": s / n * min(M, n) /
            W; "max": the largest vote / the largest weight; "box_and_model_avg": s / w * p / W, with w the sum of the
            weights of the n boxes and p that of their models, each once; "absent_model_aware_avg": s / (w + (W - p)).
        allows_overflow: "avg" has s / n * n / W, which exceeds 1 where a model has several boxes in a cluster.

    Returns:
        boxes (K, 4) T, scores (K,) T, idxs (K,) int64: the clusters in the order of their scores, equal ones by the
        index of their first box. Exact: the same bits on every device.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device, a number out of range, a conf_type that does not exist.
        IndexError: a model that is negative or has no weight. On a GPU only with ROIKIT_DEBUG=1: its boxes are left
            out there.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: Solovyev, Wang, Gabruseva: "Weighted boxes fusion", Image and Vision Computing 107, 2021.
    """
    op = "weighted_boxes_fusion"
    boxes, scores = wider(*as_candidates(op, boxes, scores))
    idxs, models = as_classes(op, "idxs", idxs, boxes), as_classes(op, "models", models, boxes)
    if isinstance(weights, torch.Tensor):
        weights = weights.tolist()
    rule = fusion(op, weights, iou_threshold, skip_box_threshold, conf_type, allows_overflow)
    return torch.ops.roikit.weighted_boxes_fusion(boxes, scores, idxs, models, *rule)


def _kernel(boxes, scores, idxs, models, weights, iou_threshold, skip, conf_type, overflow):
    boxes, scores, idxs, models = (x.contiguous() for x in (boxes, scores, idxs, models))
    core, rule = backend(boxes, "weighted_boxes_fusion"), (CONF_TYPES[conf_type], overflow)
    of_models = torch.tensor(weights, dtype=boxes.dtype, device=boxes.device)
    fused, fused_scores = torch.empty_like(boxes), torch.empty_like(scores)
    if core is _core:
        classes, count = torch.empty_like(idxs), idxs.new_empty(())
        core.weighted_boxes_fusion(*map(view, (boxes, scores, idxs, models, of_models)), iou_threshold, skip, *rule,
                                   *map(view, (fused, fused_scores, classes, count)), launch(boxes))
        found = count.item()
        return fused[:found].clone(), fused_scores[:found].clone(), classes[:found].clone()
    limit = len(weights) or _MOST_MODELS
    strays = (models < 0) | (models >= limit)
    if _config.debug():
        _check_models(models[strays], limit)
    # A row more, so that no boxes have a highest model, too.
    count = torch.nn.functional.pad(models.masked_fill(strays, -1), (0, 1), value=-1).amax() + 1
    if weights:
        count.fill_(len(weights))
    votes, sums, keys = torch.empty_like(scores), torch.empty_like(scores), torch.empty_like(idxs)
    chosen = torch.empty_like(idxs, dtype=torch.bool)
    core.weighted_boxes_fusion_vote(view(boxes), view(scores), view(models), view(of_models), skip, view(votes),
                                    launch(boxes))
    ranked = by_class(core, votes, idxs)  # a view keeps no tensor alive
    scratch = workspace(boxes, core.weighted_boxes_fusion_workspace(view(boxes)))
    core.weighted_boxes_fusion_join(*map(view, (boxes, votes, models, *ranked)), iou_threshold,
                                    *map(view, (fused, sums, keys, chosen)), launch(boxes, scratch))
    keys = torch.sort(keys).values
    core.weighted_boxes_fusion_score(*map(view, (keys, votes, sums, of_models, count)), *rule, view(fused_scores),
                                     launch(boxes))
    first = chosen.nonzero().squeeze(1)
    first = first[by_score(core, fused_scores[first])]
    return fused[first], fused_scores[first], idxs[first]


def _check_models(strays, limit):
    """There are none, in the words of the CPU kernel. Waits for the GPU.

    Raises:
        IndexError: there are.
    """
    if len(strays):
        raise IndexError(f"weighted_boxes_fusion: models must lie in [0, {limit}), got {strays[0].item()}")


def _fake(boxes, scores, idxs, *_):
    found = kept_fake(boxes).shape[0]
    return boxes.new_empty(found, 4), boxes.new_empty(found), idxs.new_empty(found)


register("weighted_boxes_fusion(Tensor boxes, Tensor scores, Tensor idxs, Tensor models, float[] weights, "
         "float iou_threshold, float skip_box_threshold, str conf_type, bool allows_overflow) "
         "-> (Tensor, Tensor, Tensor)", _kernel, _fake)
