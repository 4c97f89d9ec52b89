"""The libraries that roikit is compared with, as far as they can be imported here."""

from contextlib import contextmanager

import torch

__all__ = ["NAMES", "first_line", "import_peers", "those_complete"]

NAMES = ("torchvision", "detectron2", "mmcv", "pycocotools")


@contextmanager
def _answer_for(library):
    """Lets torchvision's import find its operators already registered from ``library``."""
    load = torch.ops.load_library
    if library:
        load(library)
        torch.ops.load_library = lambda path: None if str(path).split("/")[-1].startswith("_C") else load(path)
    try:
        yield
    finally:
        torch.ops.load_library = load


def _torchvision(device):
    import torchvision

    box = torch.tensor([[0.0, 0, 1, 1]], device=device)
    torchvision.ops.nms(box, box[:, 0], 0.5)  # its operators may be missing, or built without CUDA
    return torchvision


def _detectron2(device):
    import detectron2
    import detectron2.layers

    return detectron2


def _mmcv(device):
    import mmcv
    import mmcv.ops

    return mmcv


def _pycocotools(device):
    from pycocotools import mask

    return mask


def first_line(reason):
    """What an exception says, in one line; its type where it says nothing."""
    return (str(reason).splitlines() or [type(reason).__name__])[0]


def import_peers(device="cpu", torchvision_ops=None, say=print):
    """name -> module of each peer that is here (of pycocotools its ``mask``); the others are told with the reason.

    Args:
        device: where torchvision's operators must run.
        torchvision_ops: a shared library that registers torchvision's operators, for a torchvision whose own binary
            does not load.
        say: where the reasons go.
    """
    found = {}
    with _answer_for(torchvision_ops):
        for name, load in zip(NAMES, (_torchvision, _detectron2, _mmcv, _pycocotools), strict=True):
            try:
                found[name] = load(device)
            except Exception as reason:  # a binary that does not fit torch may raise anything
                say(f"# no {name}: {first_line(reason)}")
    return found


def those_complete(make, peers):
    """What ``make`` gives of the peers that have all that it asks them for: releases differ in what they hold.

    Args:
        make: peers -> works or curves.
        peers: name -> module.

    Returns:
        a list of what it gives; and a dict, name -> why that peer is not in it.
    """
    try:
        return list(make(peers)), {}
    except Exception:  # whose it is, one peer at a time tells
        lacking = {}
    for name, module in peers.items():
        try:
            list(make({name: module}))
        except Exception as reason:
            lacking[name] = first_line(reason)
    return list(make({name: module for name, module in peers.items() if name not in lacking})), lacking
