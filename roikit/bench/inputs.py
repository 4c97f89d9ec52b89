"""Seeded inputs of the benchmarks: clustered boxes as an RPN hands them to NMS, anchors of an FPN, RoIs, maps, masks.

All on the CPU in float32, the same on every machine. Sizes are pixels of an 800 x 1344 image.
"""

import math

import numpy as np
import torch

HEIGHT, WIDTH = 800, 1344


def generator(seed):
    return torch.Generator().manual_seed(seed)


def uniform(g, *shape, low=0.0, high=1.0):
    return torch.rand(*shape, generator=g) * (high - low) + low


def boxes(n, smallest=16.0, largest=512.0, seed=0, height=HEIGHT, width=WIDTH):
    """n boxes inside the image; sqrt(area) log-uniform in [smallest, largest], aspect ratio in [1/2, 2]."""
    g = generator(seed)
    size = torch.exp(uniform(g, n, low=math.log(smallest), high=math.log(largest)))
    ratio = torch.exp(uniform(g, n, low=math.log(0.5), high=math.log(2.0)) / 2)
    w, h = (size * ratio).clamp(max=width - 2), (size / ratio).clamp(max=height - 2)
    x, y = uniform(g, n) * (width - w), uniform(g, n) * (height - h)
    return torch.stack([x, y, x + w, y + h], 1).contiguous()


def clusters(n, centres=100, seed=0):
    """n boxes jittered about some objects, and their scores."""
    g = generator(seed)
    b = boxes(centres, 32, 400, seed + 1)[torch.randint(0, centres, (n,), generator=g)]
    w, h = b[:, 2] - b[:, 0], b[:, 3] - b[:, 1]
    cx = (b[:, 0] + b[:, 2]) / 2 + 0.10 * w * torch.randn(n, generator=g)
    cy = (b[:, 1] + b[:, 3]) / 2 + 0.10 * h * torch.randn(n, generator=g)
    w = w * torch.exp(0.15 * torch.randn(n, generator=g))
    h = h * torch.exp(0.15 * torch.randn(n, generator=g))
    b = torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 1)
    b[:, 0::2].clamp_(0, WIDTH)
    b[:, 1::2].clamp_(0, HEIGHT)
    return b.contiguous(), torch.rand(n, generator=g)


def _turned(b, degrees):
    return torch.cat([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2], degrees[:, None]], 1).contiguous()


def rotated(n, smallest=16.0, largest=256.0, seed=0):
    """n rotated boxes (n, 5) at any angle, as `boxes` otherwise."""
    return _turned(boxes(n, smallest, largest, seed), uniform(generator(seed + 3), n, low=-90.0, high=90.0))


def rotated_clusters(n, centres=100, seed=0):
    """`clusters`, turned by some 15 degrees, and their scores."""
    b, scores = clusters(n, centres, seed)
    return _turned(b, 15 * torch.randn(n, generator=generator(seed + 8))), scores


def anchors():
    """The 268,569 anchors of an FPN: strides 4 to 64, one size a level, three aspect ratios."""
    levels = []
    for stride, size in zip((4, 8, 16, 32, 64), (32, 64, 128, 256, 512), strict=True):
        rows, columns = math.ceil(HEIGHT / stride), math.ceil(WIDTH / stride)
        cell = torch.tensor([[-size / math.sqrt(r) / 2, -size * math.sqrt(r) / 2, size / math.sqrt(r) / 2,
                              size * math.sqrt(r) / 2] for r in (0.5, 1.0, 2.0)])
        y, x = torch.meshgrid(torch.arange(rows) * float(stride), torch.arange(columns) * float(stride), indexing="ij")
        levels.append((torch.stack([x, y, x, y], -1).reshape(-1, 1, 4) + cell).reshape(-1, 4))
    return torch.cat(levels).contiguous()


def rois(n, smallest, largest, seed=0, images=1):
    """(n, 5): the image's index, then a box."""
    index = torch.randint(0, images, (n, 1), generator=generator(seed + 7)).float()
    return torch.cat([index, boxes(n, smallest, largest, seed)], 1).contiguous()


def feature_map(channels, height, width, seed=0, images=1):
    return torch.randn(images, channels, height, width, generator=generator(seed))


def pyramid(channels=256, seed=0):
    return [feature_map(channels, HEIGHT // s, WIDTH // s, seed + s) for s in (4, 8, 16, 32)]


def mask_probabilities(n, size=28, seed=0):
    """n soft masks of size x size: blurred discs with values in (0, 1)."""
    g = generator(seed)
    line = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(line, line, indexing="ij")
    cx, cy = uniform(g, n, 1, 1, low=-0.2, high=0.2), uniform(g, n, 1, 1, low=-0.2, high=0.2)
    radius = uniform(g, n, 1, 1, low=0.6, high=1.0)
    distance = torch.sqrt((x - cx) ** 2 + (y - cy) ** 2) + 0.05 * torch.randn(n, size, size, generator=g)
    return torch.sigmoid((radius - distance) * 10)


def star(box, rng, corners=30):
    """A polygon of ``corners`` vertices within a box, as COCO's flat list."""
    x1, y1, x2, y2 = box
    angle, radius = np.sort(rng.uniform(0, 2 * np.pi, corners)), rng.uniform(0.6, 1, corners)
    x = (x1 + x2) / 2 + (x2 - x1) / 2 * radius * np.cos(angle)
    y = (y1 + y2) / 2 + (y2 - y1) / 2 * radius * np.sin(angle)
    return np.stack([x, y], 1).ravel().tolist()


def ellipses(boxes, height, width):
    """uint8 (N, height, width): an ellipse in each box."""
    y, x = torch.arange(height).view(-1, 1) + 0.5, torch.arange(width).view(1, -1) + 0.5
    bitmaps = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    for bitmap, (x1, y1, x2, y2) in zip(bitmaps, boxes.tolist(), strict=True):
        bitmap[:] = ((x - (x1 + x2) / 2) / (x2 - x1) * 2) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1) * 2) ** 2 < 1
    return bitmaps


def jittered(objects, count, height, width, seed=12):
    """``count`` RoIs about the objects, inside the image, and the object of each."""
    g = generator(seed)
    which = torch.randint(0, len(objects), (count,), generator=g)
    side = (objects[which, 2:] - objects[which, :2]).repeat(1, 2)
    rois = objects[which] + 0.08 * side * torch.randn(count, 4, generator=g)
    rois[:, 0::2].clamp_(0, width)
    rois[:, 1::2].clamp_(0, height)
    return rois, which
