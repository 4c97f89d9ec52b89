"""Faster, Mask and Keypoint R-CNN: the parts in the order in which an image meets them.

Sources: Ren et al. 2015, arXiv:1506.01497; He et al. 2017, arXiv:1703.06870. Parts and parameters
carry torchvision's names, so that its state dicts fit.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from roikit.models.configs import BoxConfig
from roikit.models.parts.detector import Detector
from roikit.models.parts.geometry import UPRIGHT, RotatedBoxes, UprightBoxes
from roikit.models.parts.graphs import between_graphs
from roikit.models.parts.image import ImageBatch, Truth
from roikit.models.roi.heads import Detections
from roikit.models.roi.mask import paste

__all__ = ["FasterRCNN", "KeypointRCNN", "MaskRCNN"]


class FasterRCNN(Detector):
    """Boxes and classes of objects.

    Args:
        transform: as `ImageTransform`.
        backbone: (N, C, H, W) -> dict of pyramid levels, as `BackboneWithFPN`.
        rpn: as `RegionProposalNetwork`.
        roi_heads: as `RoIHeads`.
    """

    def __init__(self, transform: nn.Module, backbone: nn.Module, rpn: nn.Module,
                 roi_heads: nn.Module) -> None:
        super().__init__(transform, backbone)
        self.rpn = rpn
        self.roi_heads = roi_heads

    @property
    def box(self) -> BoxConfig:
        return self.roi_heads.box

    @box.setter
    def box(self, config: BoxConfig) -> None:
        self.roi_heads.box = config

    @between_graphs
    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Any]] | None = None
                ) -> dict[str, Tensor] | Detections:
        """
        Args:
            images: (C, H, W) tensors of the weights' dtype with values in [0, 1], of any sizes, on their device;
                under autocast of any floating dtype where neither is float64.
            targets: needed when training, not looked at otherwise; for each image a dict with
                `boxes` (N, 4) float xyxy in pixels with x1 < x2, y1 < y2, or where the detector's boxes
                are rotated (N, 5): cx, cy, w, h in pixels and degrees counter-clockwise, with w and h
                positive, `labels` (N,) int64 from 1, for masks `masks`: (N, H, W) uint8 or bool, or a
                list of N COCO RLE dicts or lists of polygons, for keypoints `keypoints` (N, K, 3): x, y in pixels and
                visibility, and for a semantic branch `semantic` (H, W) uint8 or int64: the class of
                each pixel. N may be 0.

        Returns:
            When training a dict of scalar losses. Otherwise a list of dicts: `boxes` (D, 4) in
            pixels of the image as given, or (D, 5) as in the targets, `labels` (D,) int64, `scores`
            (D,), best first, and, where the model has them, `masks`, `mask_scores` (D,), and `keypoints` (D, K, 3) with
            `keypoints_scores` (D, K).

        Raises:
            TypeError, ValueError: an image or a target of the wrong kind, dtype, shape, device or value, by its
            index.
            BackendError: the model is on a device that is neither a CPU nor a CUDA GPU.
        """
        self._check_call(images, targets)
        if len(images) == 0:
            return []
        batch, truths = self._batch(images, targets if self.training else None)
        detections, losses = self._through(self._features(batch.tensor), batch, truths)
        return losses if self.training else self._finish_all(detections, batch)

    @between_graphs
    def _through(self, features: dict[str, Tensor], batch: ImageBatch, truths: list[Truth] | None
                 ) -> tuple[Detections, dict[str, Tensor]]:
        """From the maps to detections in pixels of the batch, or with `truths` to losses."""
        proposals, proposal_losses = self.rpn(features, batch, truths)
        detections, losses = self.roi_heads(features, proposals, batch, truths)
        return detections, losses | proposal_losses

    @property
    def geometry(self) -> UprightBoxes | RotatedBoxes:
        """What kind of boxes it finds."""
        return getattr(self.roi_heads, "geometry", UPRIGHT)

    def finish(self, found: dict[str, Any], size: tuple[int, int], original: tuple[int, int]
               ) -> dict[str, Any]:
        """Detections of an image of `size` (H, W) in the batch, in the frame of the `original`."""
        found = found | {"boxes": self.geometry.rescale(found["boxes"], size, original)}
        for branch in getattr(self.roi_heads, "branches", ()):
            found = branch.finish(found, size, original)
        return found


class KeypointRCNN(FasterRCNN):
    """Faster R-CNN whose `roi_heads` have a keypoint branch, and no mask branch.

    Its detections have `keypoints` (D, K, 3): x, y in pixels of the image as given, and 1, as torchvision has it; and
    `keypoints_scores` (D, K), which `KeypointConfig.score_rule` explains.
    """

    def __init__(self, transform: nn.Module, backbone: nn.Module, rpn: nn.Module, roi_heads: nn.Module) -> None:
        super().__init__(transform, backbone, rpn, roi_heads)
        if getattr(roi_heads, "keypoint", None) is None:
            raise ValueError("KeypointRCNN: roi_heads must have a keypoint branch")


class MaskRCNN(FasterRCNN):
    """Faster R-CNN whose `roi_heads` have a mask branch; with a keypoint branch, detections have keypoints as well.

    Attributes:
        mask_format: what `masks` of the detections are: "soft" float (D, 1, H, W) probabilities,
            "bool" (D, 1, H, W), or "rle", a list of D COCO RLE dicts, made without an (H, W)
            array. May be set at any time.
    """

    def __init__(self, transform: nn.Module, backbone: nn.Module, rpn: nn.Module,
                 roi_heads: nn.Module, mask_format: str = "soft") -> None:
        super().__init__(transform, backbone, rpn, roi_heads)
        if roi_heads.mask is None:
            raise ValueError("MaskRCNN: roi_heads must have a mask branch")
        self.mask_format = mask_format

    def finish(self, found: dict[str, Any], size: tuple[int, int], original: tuple[int, int]
               ) -> dict[str, Any]:
        found = super().finish(found, size, original)
        masks = paste(found["masks"], found["boxes"], original, self.roi_heads.mask, self.mask_format, self.geometry)
        return found | {"masks": masks}
