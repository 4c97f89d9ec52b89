"""Every op on small awkward inputs, for compute-sanitizer: `compute-sanitizer python sanitized.py [part of a name]`.

PYTORCH_NO_CUDA_MEMORY_CACHING=1 gives each tensor an allocation of its own, so that a step beyond its end shows.
`--device cpu` tries the script on the CPU kernels.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import torch

from roikit import ops


def load_cases():
    spec = importlib.util.spec_from_file_location("roikit_gpu_tests_cases", Path(__file__).with_name("cases.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def shifted(x):
    """A copy one element after an aligned address."""
    y = torch.empty(x.numel() + 1, dtype=x.dtype, device=x.device)[1:].view(x.shape).copy_(x.detach())
    return y.requires_grad_(x.requires_grad)


def everything(cases, device):
    """Names and calls: each case in both orders of addition and at an odd address, and what is wrong or empty."""
    for case in cases.CASES:
        inputs = case.inputs(device)
        yield case.name, lambda case=case, inputs=inputs: case.call(*inputs)
        yield f"{case.name} at an odd address", lambda case=case, inputs=inputs: case.call(*map(shifted, inputs))
        if "backward" in case.name:
            yield f"{case.name} deterministic", lambda case=case, inputs=inputs: in_order(case.call, inputs)
    g = torch.Generator().manual_seed(0)
    values = torch.tensor([float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 2.0**31, -1e9, 0.0, 5.0, 12.0])
    boxes = values[torch.randint(0, len(values), (200, 4), generator=g)].to(device)
    index = torch.arange(200, device=device)
    image = index[:, None] % 3 - (0 if device == "cpu" else 1)  # -1 and, of two images, 2 are wrong on purpose
    rois = torch.cat([image.float() if device != "cpu" else image.float() % 2, boxes], 1)
    turned = torch.cat([rois, boxes[:, :1]], 1)
    masks, scores = torch.rand(200, 5, 5, generator=g).to(device), torch.rand(200, generator=g).to(device)
    for last in (False, True):
        form = torch.channels_last if last else torch.contiguous_format
        x = torch.rand(2, 8, 7, 9, generator=g).to(device).contiguous(memory_format=form).requires_grad_()
        for op in (ops.roi_align, ops.roi_pool, ops.ps_roi_align, ops.ps_roi_pool, ops.roi_warp, ops.roi_align_rotated):
            def both(op=op, x=x, rois=turned if op is ops.roi_align_rotated else rois):
                output = op(x, rois, 2, 0.5)
                return torch.autograd.grad(output, x, torch.ones_like(output))

            yield f"{op.__name__} of awkward boxes", both
            yield f"{op.__name__} of awkward boxes, deterministic", lambda both=both: in_order(both, ())
        def largest(x=x):
            output = ops.roi_align(x, rois, 2, 0.5, reduce="max")
            return torch.autograd.grad(output, x, torch.ones_like(output))

        yield "roi_align max of awkward boxes", largest
        yield "roi_align max of awkward boxes, deterministic", lambda largest=largest: in_order(largest, ())
    yield "nms of awkward boxes", lambda: ops.nms(boxes, scores, 0.5)
    yield "batched_nms of awkward boxes", lambda: ops.batched_nms(boxes, scores, index % 3, 0.5)
    yield "soft_nms of awkward boxes", lambda: ops.soft_nms(boxes, scores, method="gaussian")
    yield "fast_nms of awkward boxes", lambda: ops.fast_nms(boxes, scores, index % 3, 0.5)
    yield "matrix_nms of awkward boxes", lambda: ops.matrix_nms(boxes, scores, index % 3)
    yield "nms_rotated of awkward boxes", lambda: ops.nms_rotated(turned[:, 1:], scores, 0.5)
    yield "box_iou_rotated of awkward boxes", lambda: ops.box_iou_rotated(turned[:, 1:], turned[:7, 1:])
    yield "decode_keypoints of awkward boxes", lambda: ops.decode_keypoints(masks[:, None], boxes)
    yield "encode_keypoints of awkward boxes", lambda: ops.encode_keypoints(boxes[:, None, :3], boxes, 14)
    yield "match_boxes of awkward boxes", lambda: ops.match_boxes(boxes, boxes[:7], 0.7, 0.3)
    yield "paste_masks of awkward boxes", lambda: ops.paste_masks(masks, boxes, (13, 17))
    yield "paste_masks_rle of awkward boxes", lambda: ops.paste_masks_rle(masks, boxes, (13, 17))
    matched = index if device == "cpu" else index - 3
    yield "mask_targets of awkward boxes", lambda: ops.mask_targets(masks > 0.5, boxes, matched, 3)
    none = boxes[:0]
    yield "nms of nothing", lambda: ops.nms(none, scores[:0], 0.5)
    yield "box_iou of nothing", lambda: ops.box_iou(none, boxes)
    yield "match_boxes of nothing", lambda: ops.match_boxes(boxes, none, 0.7, 0.3)
    yield "paste_masks of nothing", lambda: ops.paste_masks(masks[:0], none, (13, 17))
    yield "paste_masks_rle of nothing", lambda: ops.paste_masks_rle(masks[:0], none, (13, 17))


def in_order(call, inputs):
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        return call(*inputs)
    finally:
        torch.use_deterministic_algorithms(False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", default="", help="only calls with this in their name")
    parser.add_argument("--device", default="cuda")
    chosen = parser.parse_args()
    count = 0
    for name, call in everything(load_cases(), chosen.device):
        if chosen.part in name:
            print(name, flush=True)
            call()
            if chosen.device == "cuda":
                torch.cuda.synchronize()  # so that a report follows the name of its call
            count += 1
    print(f"{count} calls")


if __name__ == "__main__":
    main()
