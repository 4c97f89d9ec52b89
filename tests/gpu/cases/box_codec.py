"""The codec with several classes and other weights: the same bits on every device, as exp and log are roikit's own."""

import torch

from roikit import ops

from ._case import Case, boxes, generator

OPTIONS = {"encode_boxes": [{"weights": (10.0, 10.0, 5.0, 5.0)}], "decode_boxes": [{"weights": (10.0, 10.0, 5.0, 5.0)}]}
CASES = [
    Case("encode_boxes", lambda seed: (boxes(1500, seed), boxes(1500, seed + 9)), ops.encode_boxes),
    Case("decode_boxes", lambda seed: (torch.randn(1500, 12, generator=generator(seed)), boxes(1500, seed)),
         ops.decode_boxes),
]
