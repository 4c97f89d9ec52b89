"""From a list of images and targets to one normalised, padded batch, checked on the way.

The resizing is torchvision's: normalise, then bilinear without antialiasing so that the shorter
side is `min_size` unless the longer one would exceed `max_size`, or to a square where the aspect is not kept, then
zeros at the right and the bottom.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.masks import frPyObjects, merge
from roikit.models.configs import ImageConfig
from roikit.models.parts.geometry import UPRIGHT, RotatedBoxes, UprightBoxes

__all__ = ["ImageBatch", "ImageTransform", "Truth", "rescale_boxes", "rescale_keypoints"]

Size = tuple[int, int]


@dataclass(frozen=True)
class ImageBatch:
    """Images of one forward pass.

    Attributes:
        tensor: (N, C, H, W) float, padded with zeros at the right and bottom.
        sizes: (height, width) of each image inside `tensor`.
        original_sizes: (height, width) of each image as it was given.
    """

    tensor: Tensor
    sizes: list[Size]
    original_sizes: list[Size]

    @property
    def padded_size(self) -> Size:
        return (self.tensor.shape[-2], self.tensor.shape[-1])


@dataclass(frozen=True)
class Truth:
    """The objects of one image.

    Attributes:
        boxes: (N, 4) float32 or float64, xyxy in pixels of the resized image; or (N, 5), as the `geometry` has them.
        labels: (N,) int64, 1 to num_classes - 1.
        masks: (N, H, W) uint8 at the size of the resized image, or N RLE dicts or polygon lists at
            the size of the image as it was given; None when the target has no masks.
        image_size: (height, width) of the resized image.
        mask_size: (height, width) of the masks' frame.
        keypoints: (N, K, 3) x, y in pixels of the resized image and visibility; None when the target has none.
        semantic: (H, W) uint8 or int64 class of each pixel of the resized image; None when the target has none.
        geometry: what kind of boxes these are.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor | list[Any] | None
    image_size: Size
    mask_size: Size
    keypoints: Tensor | None = None
    semantic: Tensor | None = None
    geometry: UprightBoxes | RotatedBoxes = UPRIGHT

    def boxes_in_mask_frame(self, boxes: Tensor) -> Tensor:
        """`boxes` (R, 4) or (R, 5) of the resized image in the pixels of the masks."""
        return self.geometry.rescale(boxes, self.image_size, self.mask_size)


def rescale_boxes(boxes: Tensor, size: Size, new_size: Size) -> Tensor:
    """(N, 4) xyxy boxes of an image of `size` (H, W) as boxes of the same image at `new_size`."""
    return UPRIGHT.rescale(boxes, size, new_size)


def rescale_keypoints(keypoints: Tensor, size: Size, new_size: Size) -> Tensor:
    """(N, K, 3) x, y, visibility in an image of `size` (H, W), as those of the same image at `new_size`."""
    if size == new_size:
        return keypoints
    return keypoints * keypoints.new_tensor([new_size[1] / size[1], new_size[0] / size[0], 1.0])


def _check_boxes(boxes: Any, index: int, geometry: UprightBoxes | RotatedBoxes) -> Tensor:
    if not isinstance(boxes, Tensor) or not boxes.is_floating_point():
        kind = boxes.dtype if isinstance(boxes, Tensor) else type(boxes).__name__
        raise TypeError(f"detector: targets[{index}]['boxes'] must be a floating tensor, "
                        f"got {kind}")
    if boxes.ndim != 2 or boxes.shape[1] != geometry.numbers:
        raise ValueError(f"detector: targets[{index}]['boxes'] must have shape (N, {geometry.numbers}), "
                         f"got {tuple(boxes.shape)}")
    wrong = ~geometry.valid(boxes)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(f"detector: boxes must be finite with positive width and height, but "
                         f"targets[{index}]['boxes'][{row}] is {boxes[row].tolist()}")
    return boxes if boxes.dtype == torch.float64 else boxes.float()


def _check_labels(labels: Any, count: int, index: int) -> Tensor:
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"detector: targets[{index}]['labels'] must be an int64 tensor, got {kind}")
    if labels.shape != (count,):
        raise ValueError(f"detector: targets[{index}]['labels'] must have shape ({count},), one "
                         f"for each box, got {tuple(labels.shape)}")
    return labels


def _check_masks(masks: Any, count: int, size: Size, index: int) -> Tensor | list[Any]:
    if isinstance(masks, Tensor):
        if masks.dtype == torch.bool:
            masks = masks.view(torch.uint8)
        if masks.dtype != torch.uint8:
            raise TypeError(f"detector: targets[{index}]['masks'] must be uint8 or bool, "
                            f"got {masks.dtype}")
        if masks.shape != (count, *size):
            raise ValueError(f"detector: targets[{index}]['masks'] must have shape "
                             f"{(count, *size)}, one for each box at the size of the image, "
                             f"got {tuple(masks.shape)}")
        return masks
    if not isinstance(masks, Sequence) or isinstance(masks, str | bytes):
        raise TypeError(f"detector: targets[{index}]['masks'] must be a tensor or a list of RLE "
                        f"dicts or polygon lists, got {type(masks).__name__}")
    if len(masks) != count:
        raise ValueError(f"detector: targets[{index}]['masks'] must hold {count} masks, one for "
                         f"each box, got {len(masks)}")
    if len({isinstance(mask, dict) for mask in masks}) == 2:
        # COCO annotations may mix both kinds; the op takes one kind at a time.
        masks = [mask if isinstance(mask, dict) else merge(frPyObjects(mask, *size))
                 for mask in masks]
    return list(masks)


def _check_keypoints(keypoints: Any, count: int, index: int) -> Tensor:
    if not isinstance(keypoints, Tensor) or not keypoints.is_floating_point():
        kind = keypoints.dtype if isinstance(keypoints, Tensor) else type(keypoints).__name__
        raise TypeError(f"detector: targets[{index}]['keypoints'] must be a floating tensor, got {kind}")
    if keypoints.ndim != 3 or len(keypoints) != count or keypoints.shape[2] != 3:
        raise ValueError(f"detector: targets[{index}]['keypoints'] must have shape ({count}, K, 3), one for each box, "
                         f"got {tuple(keypoints.shape)}")
    return keypoints if keypoints.dtype == torch.float64 else keypoints.float()


def _check_semantic(semantic: Any, size: Size, index: int) -> Tensor:
    if not isinstance(semantic, Tensor) or semantic.dtype not in (torch.uint8, torch.int64):
        kind = semantic.dtype if isinstance(semantic, Tensor) else type(semantic).__name__
        raise TypeError(f"detector: targets[{index}]['semantic'] must be a uint8 or int64 tensor, got {kind}")
    if semantic.shape != size:
        raise ValueError(f"detector: targets[{index}]['semantic'] must have the image's shape {size}, "
                         f"got {tuple(semantic.shape)}")
    return semantic


def _read_target(target: dict[str, Any], size: Size, index: int, geometry: UprightBoxes | RotatedBoxes) -> Truth:
    """A target in the frame of its image as it was given, checked."""
    for key in ("boxes", "labels"):
        if key not in target:
            raise ValueError(f"detector: targets[{index}] must have the key {key!r}, "
                             f"got {sorted(target)}")
    boxes = _check_boxes(target["boxes"], index, geometry)
    labels = _check_labels(target["labels"], len(boxes), index)
    masks = target.get("masks")
    if masks is not None:
        masks = _check_masks(masks, len(boxes), size, index)
    keypoints, semantic = target.get("keypoints"), target.get("semantic")
    if keypoints is not None:
        keypoints = _check_keypoints(keypoints, len(boxes), index)
    if semantic is not None:
        semantic = _check_semantic(semantic, size, index)
    return Truth(boxes, labels, masks, size, size, keypoints, semantic, geometry)


class ImageTransform(nn.Module):
    """Normalises, resizes and batches images, and resizes their targets alongside.

    `forward(images, targets)` takes a list of (C, H, W) float images and, when training, a list of
    target dicts; it returns an `ImageBatch` and a list of `Truth`, or None where `targets` is None.

    Args:
        config: sizes, and what is taken off each channel.
        geometry: of the targets' boxes.
    """

    def __init__(self, config: ImageConfig, geometry: UprightBoxes | RotatedBoxes = UPRIGHT) -> None:
        super().__init__()
        self.config = config
        self.geometry = geometry
        self.register_buffer("mean", torch.tensor(config.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(config.std)[:, None, None], persistent=False)

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Any]] | None = None
                ) -> tuple[ImageBatch, list[Truth] | None]:
        original_sizes = [self._check_image(image, index) for index, image in enumerate(images)]
        resized = [self._resize(self._normalise(image)) for image in images]
        sizes = [(image.shape[-2], image.shape[-1]) for image in resized]
        batch = ImageBatch(self._pad(resized), sizes, original_sizes)
        if targets is None:
            return batch, None
        if len(targets) != len(images):
            raise ValueError(f"detector: targets must hold one dict for each of the {len(images)} "
                             f"images, got {len(targets)}")
        truths = [_read_target(target, size, index, self.geometry)
                  for index, (target, size) in enumerate(zip(targets, original_sizes, strict=True))]
        return batch, [self._fit(truth, size) for truth, size in zip(truths, sizes, strict=True)]

    def _check_image(self, image: Any, index: int) -> Size:
        if not isinstance(image, Tensor) or not image.is_floating_point():
            kind = image.dtype if isinstance(image, Tensor) else type(image).__name__
            raise TypeError(f"detector: images[{index}] must be a floating tensor with values in "
                            f"[0, 1], got {kind}")
        channels = len(self.config.mean)
        if image.ndim != 3 or image.shape[0] != channels or 0 in image.shape:
            raise ValueError(f"detector: images[{index}] must have shape ({channels}, H, W), "
                             f"got {tuple(image.shape)}")
        return (image.shape[1], image.shape[2])

    def _normalise(self, image: Tensor) -> Tensor:
        return (image - self.mean.to(image)) / self.std.to(image)

    def _resize(self, image: Tensor) -> Tensor:
        config = self.config
        if not config.resize or self.training and not config.resize_in_training:
            return image
        choice = len(config.min_size) - 1
        if self.training:
            choice = int(torch.empty(1).uniform_(0.0, len(config.min_size)))
        height, width = image.shape[-2:]
        if config.keep_aspect:
            scale = min(config.min_size[choice] / min(height, width),
                        config.max_size / max(height, width))
            size = (max(math.floor(height * scale), 1), max(math.floor(width * scale), 1))
        else:
            size = (config.min_size[choice],) * 2
        if size == (height, width):
            return image
        return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]

    def _pad(self, images: list[Tensor]) -> Tensor:
        unit = self.config.size_divisible
        height, width = ((max(image.shape[axis] for image in images) + unit - 1) // unit * unit
                         for axis in (1, 2))
        if len(images) == 1:  # whose size torch.export may leave open: it would settle it for a part of a tensor
            return F.pad(images[0], (0, width - images[0].shape[2], 0, height - images[0].shape[1]))[None]
        batch = images[0].new_zeros((len(images), images[0].shape[0], height, width))
        for row, image in zip(batch, images, strict=True):
            row[:, :image.shape[1], :image.shape[2]] = image
        return batch

    @staticmethod
    def _fit(truth: Truth, size: Size) -> Truth:
        """The truth of an image that was resized to `size`; listed masks keep their own frame."""
        masks, mask_size = truth.masks, truth.mask_size
        if isinstance(masks, Tensor) and size != mask_size:
            if len(masks):
                masks = F.interpolate(masks[:, None], size=size, mode="nearest")[:, 0]
            else:
                masks = masks.new_zeros((0, *size))
            mask_size = size
        boxes = truth.geometry.rescale(truth.boxes, truth.image_size, size)
        keypoints, semantic = truth.keypoints, truth.semantic
        if keypoints is not None:
            keypoints = rescale_keypoints(keypoints, truth.image_size, size)
        if semantic is not None and tuple(semantic.shape) != size:
            # By way of float32, which holds every label: torch does not resize int64.
            resized = F.interpolate(semantic[None, None].float(), size=size, mode="nearest")[0, 0]
            semantic = resized.to(semantic.dtype)
        return Truth(boxes, truth.labels, masks, size, mask_size, keypoints, semantic, truth.geometry)
