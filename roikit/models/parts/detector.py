"""What all detectors have in common: images in, checked; detections out, in the frame of each image."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from roikit.errors import BackendError
from roikit.models.configs import BoxConfig
from roikit.models.parts.fused import FusedConv2d
from roikit.models.parts.geometry import UPRIGHT, RotatedBoxes, UprightBoxes
from roikit.models.parts.graphs import outside_graphs
from roikit.models.parts.image import ImageBatch, ImageTransform, Truth
from roikit.models.parts.inference_layer import refuse_training

__all__ = ["Detections", "Detector"]

Detections = list[dict[str, Any]]


class Detector(nn.Module):
    """A network that finds objects in images.

    Args:
        transform: as `ImageTransform`.
        backbone: (N, C, H, W) -> dict of maps, finest first, as `BackboneWithFPN`.

    Attributes:
        box: what makes detections of scored boxes, a `BoxConfig`; may be set at any time.
        geometry: what kind of boxes it finds.
        only_trained: names of the parts that detections do without.

    Subclasses say how maps become losses or detections, in `forward`, and bring the detections of an image into its own
    frame, in `finish`.
    """

    box: BoxConfig
    geometry: UprightBoxes | RotatedBoxes = UPRIGHT
    only_trained: tuple[str, ...] = ()

    def __init__(self, transform: nn.Module, backbone: nn.Module) -> None:
        super().__init__()
        self.transform = transform
        self.backbone = backbone

    def train(self, mode: bool = True) -> "Detector":
        if mode:
            refuse_training(self)
        return super().train(mode)

    def _check_call(self, images: Sequence[Tensor], targets: Sequence[dict[str, Any]] | None) -> None:
        if self.training and targets is None:
            raise ValueError(f"{type(self).__name__}: targets must be given when training")
        if self.training and len(images) == 0:
            raise ValueError(f"{type(self).__name__}: images must not be empty when training")

    def _features(self, x: Tensor) -> dict[str, Tensor]:
        return self.backbone(x)

    @outside_graphs
    def _batch(self, images: Sequence[Tensor], targets: Sequence[dict[str, Any]] | None
               ) -> tuple[ImageBatch, list[Truth] | None]:
        self._check_place(images)
        return self.transform(images, targets)

    def _check_place(self, images: Sequence[Tensor]) -> None:
        """Images have the dtype and the device of the backbone's first convolution, and roikit has kernels there.

        A fused convolution casts by itself. Nothing is known of a backbone without convolutions, nor where a transform
        of another class or a hook, FSDP's for one, may cast or move them on the way.
        """
        hooks = any(part._forward_pre_hooks for part in (self, self.transform, self.backbone))
        if type(self.transform) is not ImageTransform or hooks:
            return
        first = next((part for part in self.backbone.modules() if isinstance(part, (nn.Conv2d, FusedConv2d))), None)
        if not isinstance(first, nn.Conv2d):
            return
        weight, name = first.weight, type(self).__name__
        if weight.device.type not in ("cpu", "cuda"):
            raise BackendError(f"{name}: the model is on {weight.device.type}, for which roikit has no kernels; it has "
                               "them for the CPU and for CUDA")
        # autocast takes images and weights of any floating dtype but float64.
        cast = torch.is_autocast_enabled(weight.device.type)
        for index, image in enumerate(images):
            if not isinstance(image, Tensor):
                continue  # which the transform will say
            if image.device != weight.device:
                raise ValueError(f"{name}: images[{index}] must be on {weight.device}, as the model's weights are, "
                                 f"got {image.device}")
            fits = image.dtype == weight.dtype or cast and torch.float64 not in (image.dtype, weight.dtype)
            if image.is_floating_point() and not fits:
                raise TypeError(f"{name}: images[{index}] must be {weight.dtype}, as the model's weights are, "
                                f"got {image.dtype}")

    @outside_graphs
    def _finish_all(self, detections: Detections, batch: ImageBatch) -> Detections:
        return [self.finish(found, size, original) for found, size, original
                in zip(detections, batch.sizes, batch.original_sizes, strict=True)]

    def finish(self, found: dict[str, Any], size: tuple[int, int], original: tuple[int, int]
               ) -> dict[str, Any]:
        """Detections of an image of `size` (H, W) in the batch, in the frame of the `original`."""
        raise NotImplementedError
