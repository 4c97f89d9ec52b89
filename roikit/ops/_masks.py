"""What the ops on masks share: bitmaps and runs as kernels take them, room for images, runs that a GPU makes."""

import numpy as np
import torch

from roikit import _config, _core, _polygon
from roikit._check import mask_target as checks
from roikit.ops._launch import backend, launch, view

INTEGERS = ("uint8", "int8", "int16", "int32", "int64")  # what bitmaps may be


def as_bytes(masks):
    """Bitmaps (N, H, W) as bytes with rows in one piece, where not 0 is inside."""
    masks = masks.view(torch.uint8) if masks.element_size() == 1 else masks != 0
    return masks if masks.stride(2) == 1 else masks.contiguous()


def run_ends(op, runs, like):
    """Where each run ends, counted through all masks, with offsets and sizes: int64 where ``like`` is, by one copy."""
    counts, offsets, sizes = runs
    if sizes.size and sizes.max() >= 2**31:
        raise ValueError(f"{op}: masks must be below 2^31 a side, got {sizes.max()}")
    parts = np.cumsum(counts, dtype=np.int64), offsets, sizes.reshape(-1)
    packed = torch.from_numpy(np.concatenate(parts))
    if like.is_cuda:  # from pinned memory the copy takes its place in the stream, and nobody waits
        packed = packed.pin_memory()
    ends, offsets, sizes = packed.to(like.device, non_blocking=True).split([len(part) for part in parts])
    return ends, offsets, sizes.view(-1, 2)


def check_matched(op, matched, masks):
    """``matched`` names masks, in the words of the CPU kernel. Waits for the GPU.

    Raises:
        IndexError: it does not.
    """
    wrong = matched[(matched < 0) | (matched >= masks)]
    if len(wrong):
        raise IndexError(f"{op}: matched must lie in [0, {masks}), got {wrong[0].item()}")


def zeros(masks, shape, dtype, core):
    """Images of zeros for the masks, where ``core`` works."""
    if core is not _core:
        return masks.new_zeros(shape, dtype=dtype)
    # NumPy's zeros are pages that the system has not handed out yet; torch would write them all.
    kind = {torch.bool: np.bool_, torch.float32: np.float32, torch.float64: np.float64}[dtype]
    return torch.from_numpy(np.zeros(shape, kind))


def counted_runs(masks, chunks, count, write):
    """Runs of all masks by the CUDA kernels: count, add up, write.

    Args:
        chunks: of columns, of each mask.
        count: fills changes (N, chunks) int64.
        write: fills ends and counts, given upto, the inclusive sums of changes.

    Returns:
        Run lengths, uint32, and where each mask's begin, int64 (N + 1,); both NumPy arrays.
    """
    changes = masks.new_empty((len(masks), chunks), dtype=torch.int64)
    count(changes)
    upto = changes.view(-1).cumsum(0).view_as(changes)
    offsets = np.zeros(len(masks) + 1, np.int64)
    offsets[1:] = upto[:, -1].cpu().numpy()
    ends = masks.new_empty(int(offsets[-1]), dtype=torch.int32)
    counts = torch.empty_like(ends)
    write(upto, ends, counts)
    return counts.cpu().numpy().view(np.uint32), offsets


def targets_of_runs(op, masks, boxes, matched, cells, binary, frame):
    """The targets (R, cells, cells) float32 of RLEs or polygons; ``op`` is also the name of its kernels."""
    core = backend(boxes, op)
    boxes, matched = boxes.contiguous(), matched.contiguous()
    out = boxes.new_empty((len(boxes), cells, cells), dtype=torch.float32)
    if core is _core:
        used, matched = torch.unique(matched, return_inverse=True)
        used = used.tolist()
        checks.named(op, used, len(masks))
        runs, kernel = _polygon.runs_of_masks([masks[i] for i in used], frame, op), getattr(core, f"{op}_of_runs")
        kernel(*map(core.View, runs), view(boxes), view(matched), binary, view(out), launch(boxes))
    elif len(boxes):
        if _config.debug():
            check_matched(op, matched, len(masks))
        runs, kernel = run_ends(op, _polygon.runs_of_masks(masks, frame, op), boxes), getattr(core, f"{op}_of_ends")
        kernel(*map(view, runs), view(boxes), view(matched), binary, view(out), launch(boxes))
    return out
