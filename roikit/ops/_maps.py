"""The memory format of maps (N, C, H, W)."""

import torch


def stored_channels_last(maps):
    """Whether the ops work on these maps as channels_last; a map that is both counts as contiguous."""
    return (not all(m.is_contiguous() for m in maps)
            and all(m.is_contiguous(memory_format=torch.channels_last) for m in maps))


def in_format(maps, channels_last):
    """The maps, copied where they are not in the format."""
    if channels_last:
        return [m.contiguous(memory_format=torch.channels_last) for m in maps]
    return [m.contiguous() for m in maps]


def in_own_format(x):
    """The map, copied where it is in neither format."""
    return in_format([x], stored_channels_last([x]))[0]


def empty_map(like, shape, channels_last, dtype=None):
    """A fresh (N, C, H, W) tensor in the format; dtype and device as ``like`` where not named."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=dtype or like.dtype, device=like.device, memory_format=memory_format)
