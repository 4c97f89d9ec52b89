"""The keypoint branch: layers, loss, and keypoints of detections.

Source: He et al. 2017, arXiv:1703.06870, section 5: a keypoint is one cell of a map over the box, of which the network
gives the logits; the loss is the softmax over the cells, one keypoint at a time.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.configs import KeypointConfig
from roikit.models.parts.graphs import between_graphs, outside_graphs
from roikit.models.parts.image import ImageBatch, Truth, rescale_keypoints
from roikit.models.parts.losses import keypoint_loss
from roikit.models.roi.mask import found_boxes, share
from roikit.models.roi.samples import Samples
from roikit.ops import decode_keypoints, encode_keypoints

__all__ = ["KeypointBranch", "KeypointRCNNHeads", "KeypointRCNNPredictor", "keypoint_count", "keypoint_losses",
           "keypoint_samples", "keypoints_of"]


class KeypointRCNNHeads(nn.Sequential):
    """3x3 convolutions with a bias and ReLU."""

    def __init__(self, in_channels: int, layers: Sequence[int]) -> None:
        parts: list[nn.Module] = []
        for channels in layers:
            conv = nn.Conv2d(in_channels, channels, 3, padding=1)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(conv.bias)
            parts += [conv, nn.ReLU(inplace=True)]
            in_channels = channels
        super().__init__(*parts)


class KeypointRCNNPredictor(nn.Module):
    """(R, in_channels, P, P) -> (R, num_keypoints, 4P, 4P) logits: a deconvolution, then doubled bilinearly."""

    def __init__(self, in_channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.kps_score_lowres = nn.ConvTranspose2d(in_channels, num_keypoints, 4, stride=2, padding=1)
        nn.init.kaiming_normal_(self.kps_score_lowres.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.kps_score_lowres.bias)

    def forward(self, x: Tensor) -> Tensor:
        return doubled(self.kps_score_lowres(x))


def doubled(maps: Tensor) -> Tensor:
    """(R, K, H, W) at twice the size, bilinearly."""
    return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False, recompute_scale_factor=False)


class KeypointBranch:
    """Asks the keypoints of each box. Its layers are `keypoint_roi_pool`, `keypoint_head` and `keypoint_predictor` of
    the `RoIHeads`, its configuration is `keypoint`. Boxes are pooled from the maps, also where other heads share
    layers."""

    @between_graphs
    def losses(self, heads: Any, features: dict[str, Tensor], samples: list[Samples], truths: list[Truth],
               batch: ImageBatch) -> dict[str, Tensor]:
        boxes, keypoints = keypoint_samples(samples, truths, keypoint_count(heads))
        return keypoint_losses(self.logits(heads, features, boxes, batch), boxes, keypoints, heads.keypoint)

    @between_graphs
    def add(self, heads: Any, detections: list[dict[str, Any]], features: dict[str, Tensor], batch: ImageBatch) -> None:
        boxes, _ = found_boxes(detections)
        keypoints, scores = keypoints_of(self.logits(heads, features, boxes, batch), boxes, heads.keypoint)
        share("keypoints", keypoints, detections)
        share("keypoints_scores", scores, detections)

    def finish(self, found: dict[str, Any], size: tuple[int, int], original: tuple[int, int]) -> dict[str, Any]:
        return found | {"keypoints": rescale_keypoints(found["keypoints"], size, original)}

    @between_graphs
    def logits(self, heads: Any, features: dict[str, Tensor], boxes: list[Tensor], batch: ImageBatch) -> Tensor:
        """(R, K, S, S) logits of the cells of each box's keypoints."""
        return self._layers(heads, heads.keypoint_roi_pool(features, boxes, batch.padded_size))

    def _layers(self, heads: Any, pooled: Tensor) -> Tensor:
        logits = heads.keypoint_predictor(heads.keypoint_head(pooled))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


def keypoint_count(heads: Any) -> int:
    """How many keypoints the predictor gives: one that a user has put in place may give others than were configured."""
    lowres = getattr(heads.keypoint_predictor, "kps_score_lowres", None)
    return heads.keypoint.num_keypoints if lowres is None else lowres.out_channels


@outside_graphs
def keypoint_samples(samples: list[Samples], truths: list[Truth], count: int) -> tuple[list[Tensor], Tensor]:
    """The boxes of each image that the loss is taken over, and their objects' keypoints (P, K, 3), image after image.

    Of the positives only those with a visible keypoint inside: the others have no loss, and would pass the layers for
    nothing.

    Args:
        count: K, the model's number of keypoints.

    Raises:
        ValueError: a target without keypoints, or with another number of them.
    """
    boxes, keypoints = [], []
    for index, (sample, truth) in enumerate(zip(samples, truths, strict=True)):
        if truth.keypoints is None:
            raise ValueError(f"detector: targets[{index}] must have the key 'keypoints' when training")
        if len(truth.keypoints) == 0:  # of whatever number
            boxes.append(sample.boxes[:0])
            continue
        if truth.keypoints.shape[1] != count:
            raise ValueError(f"detector: targets[{index}]['keypoints'] must have shape ({len(truth.keypoints)}, "
                             f"{count}, 3), as the model has {count} keypoints, got {tuple(truth.keypoints.shape)}")
        rows = sample.positives()
        own = truth.keypoints.to(sample.boxes.dtype)[sample.matched[rows]]
        # Whether a keypoint lies in its box does not depend on the number of cells.
        visible = encode_keypoints(own, sample.boxes[rows], 1)[1].any(1)
        boxes.append(sample.boxes[rows[visible]])
        keypoints.append(own[visible])
    if keypoints:
        return boxes, torch.cat(keypoints)
    return boxes, boxes[0].new_zeros((0, count, 3))


@outside_graphs
def keypoint_losses(logits: Tensor, boxes: list[Tensor], keypoints: Tensor, config: KeypointConfig
                    ) -> dict[str, Tensor]:
    """`loss_keypoint` over the visible keypoints of all images.

    Args:
        logits: (P, K, S, S) of the boxes, image after image.
        boxes: for each image its boxes (L, 4) in pixels of the batch.
        keypoints: (P, K, 3) of the objects that they belong to, likewise.
    """
    target, valid = encode_keypoints(keypoints, torch.cat(boxes), logits.shape[-1])
    return {"loss_keypoint": keypoint_loss(logits.flatten(2)[valid], target[valid]) * config.loss_weight}


@outside_graphs
def keypoints_of(logits: Tensor, boxes: list[Tensor], config: KeypointConfig) -> tuple[Tensor, Tensor]:
    """(D, K, 3) x, y in pixels of the boxes and 1, as if all were visible, and (D, K) scores.

    Args:
        logits: (D, K, S, S) of the boxes, image after image.
        boxes: for each image its boxes (L, 4).
    """
    xy, scores = decode_keypoints(logits, torch.cat(boxes))
    if config.score_rule == "probability":
        # The largest value is that of the map resized to its box, the sum that of the map as it is: so a score does
        # not depend on the size of the box. It may exceed 1 by what the resizing overshoots.
        scores = (scores - logits.flatten(2).logsumexp(2)).exp()
    return torch.cat((xy, torch.ones_like(xy[..., :1])), 2), scores
