"""What torchvision's functions of boxes take and roikit's do not: whole numbers, leading axes, empty ones of any shape.

And the words of torchvision's errors that its users, and its own tests, look for.
"""

import torch

__all__ = ["broadcast", "choice", "each", "floating", "last_axis", "nothing", "rows"]


def choice(op, name, value, allowed, theirs):
    """``value`` is one of ``allowed``; else ValueError, with ``theirs``, the words of torchvision's message."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{op}: {theirs}; {name} must be one of {', '.join(map(repr, allowed))}")


def last_axis(op, columns, least=1, **boxes):
    """Each of the named is a tensor (..., columns) with at least so many axes."""
    for name, x in boxes.items():
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{op}: {name} must be a tensor, got {type(x).__name__}")
        if x.dim() < least or x.shape[-1] != columns:
            rule = ", ".join(["..."] + ["N"] * (least - 1) + [str(columns)])
            raise ValueError(f"{op}: {name} must have shape ({rule}), got {tuple(x.shape)}")


def nothing(x):
    """Whether ``x`` is a tensor without an entry, of whatever shape and dtype."""
    return isinstance(x, torch.Tensor) and x.numel() == 0


def floating(boxes):
    """float64 for whole numbers, so that all of 32 bits are exact; float32 for half."""
    if not boxes.is_floating_point():
        return boxes.double()
    return boxes.float() if boxes.dtype in (torch.float16, torch.bfloat16) else boxes


def rows(boxes):
    """Boxes (..., columns) as `floating` (N, columns)."""
    return floating(boxes).reshape(-1, boxes.shape[-1])


def broadcast(op, boxes1, boxes2, axes):
    """Both with their leading axes, at least one before the last ``axes``, in one; and the shape of these."""
    lead = boxes1.shape[: boxes1.dim() - axes], boxes2.shape[: boxes2.dim() - axes]
    try:
        shape = torch.broadcast_shapes(*lead)
    except RuntimeError:
        raise ValueError(f"{op}: boxes1 and boxes2 must have leading axes that broadcast, got "
                         f"{tuple(boxes1.shape)} and {tuple(boxes2.shape)}") from None
    many = (x.expand(*shape, *x.shape[x.dim() - axes :]) for x in (boxes1, boxes2))
    # Not reshape(-1, ...), which cannot tell how many there are where each is empty.
    return *(x.flatten(0, len(shape) - 1) for x in many), shape


def each(op, call, boxes1, boxes2):
    """call(boxes1, boxes2), a matrix of pairs, for each of the leading axes: (..., N, M).

    Whole numbers beside floats become those, and by themselves torch's default dtype.
    """
    whole = not (boxes1.is_floating_point() or boxes2.is_floating_point())
    if boxes1.is_floating_point() != boxes2.is_floating_point():
        dtype = boxes1.dtype if boxes1.is_floating_point() else boxes2.dtype
        boxes1, boxes2 = boxes1.to(dtype), boxes2.to(dtype)
    boxes1, boxes2 = floating(boxes1), floating(boxes2)
    out = call(boxes1, boxes2) if boxes1.dim() == boxes2.dim() == 2 else _stacked(op, call, boxes1, boxes2)
    return out.to(torch.get_default_dtype()) if whole else out


def _stacked(op, call, boxes1, boxes2):
    first, second, lead = broadcast(op, boxes1, boxes2, 2)
    parts = [call(a, b) for a, b in zip(first, second, strict=True)]
    if parts:
        return torch.stack(parts).unflatten(0, lead)
    dtype = torch.promote_types(first.dtype, second.dtype)
    return first.new_empty((*lead, first.shape[-2], second.shape[-2]), dtype=dtype)
