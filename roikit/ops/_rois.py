"""What the RoI ops share: boxes as one (K, 5) tensor, and the memory format of maps."""

import torch

from roikit import _check


def as_rois(op, boxes, like, columns=4):
    """(K, 1 + columns) float32 or float64, batch index first, from that or from one (L, columns) tensor an image."""
    if isinstance(boxes, (list, tuple)):
        rois = [like.new_empty((0, 1 + columns), dtype=torch.float32)]
        for i, part in enumerate(boxes):
            _check.boxes(op, f"boxes[{i}]", part, columns)
            _check.same_device(op, input=like, **{f"boxes[{i}]": part})
            part = part.float() if part.dtype in (torch.float16, torch.bfloat16) else part  # half knows few images
            index = torch.full((part.shape[0], 1), i, dtype=part.dtype, device=part.device)
            rois.append(torch.cat([index, part], dim=1))
        boxes = torch.cat(rois)
    else:
        _check.boxes(op, "boxes", boxes, 1 + columns)
        _check.same_device(op, input=like, boxes=boxes)
    return boxes.float() if boxes.dtype in (torch.float16, torch.bfloat16) else boxes


def check_images(op, boxes, images):
    """The batch indices of boxes (K, 5) name images, in the words of the CPU kernels. Waits for the GPU.

    The CUDA kernels give 0 for a box that names no image; ROIKIT_DEBUG=1 asks for this instead.

    Raises:
        IndexError: an index is not whole, negative, or at least ``images``.
    """
    index = boxes[:, 0]
    wrong = index[~((index >= 0) & (index < images) & (index == index.floor()))]
    if len(wrong):
        raise IndexError(f"{op}: boxes must have a whole batch index in [0, {images}), got {wrong[0].item()}")


def feature_map(op, name, x):
    """``x`` is a floating (N, C, H, W) tensor."""
    _check.array(op, name, x)
    _check.tensor(op, name, x)
    _check.dtype(op, name, x)
    _check.rank(op, name, x, ("N", "C", "H", "W"))


def stored_channels_last(maps):
    """Whether the ops work on these maps as channels_last; a map that is both counts as contiguous."""
    return (not all(m.is_contiguous() for m in maps)
            and all(m.is_contiguous(memory_format=torch.channels_last) for m in maps))


def in_format(maps, channels_last):
    """The maps, copied where they are not in the format."""
    if channels_last:
        return [m.contiguous(memory_format=torch.channels_last) for m in maps]
    return [m.contiguous() for m in maps]


def empty_map(like, shape, channels_last, dtype=None):
    """A fresh (N, C, H, W) tensor in the format; dtype and device as ``like`` where not named."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=dtype or like.dtype, device=like.device, memory_format=memory_format)
