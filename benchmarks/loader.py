"""Times the way from image files to what a model is given, beside torchvision's data set and v2 transforms.

    OMP_NUM_THREADS=1 python -m benchmarks.loader ANNOTATIONS.json IMAGES [--count 64] [--rounds 5]

One core: no workers, one thread. Each image is decoded, mirrored at random both ways, cut and scaled by 0.5 to 2 to
SIZE pixels with --size SIZE, and made a float tensor; its objects have boxes, labels and masks. roikit's masks are
run-length codes or polygons, which its models take; in the row "bitmaps" they are (N, H, W) as torchvision's are. The
rows of a table take turns; printed are seconds a round, and how many times as fast as torchvision.
"""

import argparse
import os
import sys
import warnings

import numpy as np
import torch

from roikit import masks as rle
from roikit.data import CocoDataset, transforms

from .turns import print_beside, taken_in_turns


def own(annotations, images, size):
    steps = [transforms.HorizontalFlip(), transforms.VerticalFlip()]
    if size:
        steps.insert(0, transforms.RandomScaleCrop((size, size)))
    return CocoDataset(annotations, images, transform=transforms.Compose(tuple(steps)))


def torchvision_parts():
    """torchvision's ``datasets`` and ``transforms.v2``, of which none needs its operators.

    A torchvision whose binary does not load takes itself for broken unless two of them have a name.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        boxes = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", boxes)
    from torchvision import datasets
    from torchvision.transforms import v2

    return datasets, v2


def peer(annotations, images, size):
    datasets, v2 = torchvision_parts()
    steps = [v2.ToImage()]
    if size:
        steps += [v2.ScaleJitter((size, size), (0.5, 2.0)), v2.RandomCrop((size, size), pad_if_needed=True)]
    steps += [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), v2.SanitizeBoundingBoxes(),
              v2.ToDtype(torch.float32, scale=True)]
    plain = datasets.CocoDetection(images, annotations, transforms=v2.Compose(steps))
    return datasets.wrap_dataset_for_transforms_v2(plain, target_keys=("boxes", "labels", "masks"))


def bitmaps(dataset, place):
    image, target = dataset[place]
    height, width = image.shape[-2:]
    found = [rle.merge(rle.frPyObjects(mask, height, width)) if isinstance(mask, list) else mask
             for mask in target["masks"]]
    target["masks"] = torch.from_numpy(np.ascontiguousarray(rle.decode(found).transpose(2, 0, 1))) if found else (
        torch.zeros(0, height, width, dtype=torch.uint8))
    return image, target


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("annotations")
    parser.add_argument("images")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=0)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    paths = options.annotations, options.images, options.size
    ours, theirs = own(*paths), peer(*paths)
    places = range(min(options.count, len(ours), len(theirs)))
    works = {"torchvision": lambda: [theirs[k] for k in places], "roikit": lambda: [ours[k] for k in places],
             "bitmaps": lambda: [bitmaps(ours, k) for k in places]}
    times = taken_in_turns(works, options.rounds)
    print_beside("torchvision", times, {name: f"{len(places) / min(taken):.0f} images/s at best"
                                        for name, taken in times.items()})


if __name__ == "__main__":
    main()
