"""roikit.ops.encode_keypoints and decode_keypoints: agreement with the reference, registration, contract."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference


def boxes_of(n, largest, seed, dtype=np.float32):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-20, 20, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(-0.1, 1, (n, 2)) * largest], 1).astype(dtype)


def same(found, expected):
    for mine, theirs in zip(found, expected, strict=True):
        assert str(mine.dtype) == f"torch.{theirs.dtype}"
        np.testing.assert_array_equal(mine.numpy(), theirs)


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]),
       st.sampled_from(["noise", "ties", "not finite"]))
def test_decode_agrees_with_the_reference(seed, dtype, kind):
    rng = np.random.default_rng(seed)
    n, k, height, width = rng.integers(1, 3), rng.integers(1, 3), *rng.integers(1, 16, 2)
    maps = rng.normal(size=(n, k, height, width)).astype(dtype)
    if kind == "ties":
        maps = np.round(maps)
    elif kind == "not finite":
        maps[rng.random(maps.shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
    boxes = boxes_of(n, rng.choice([2, 40]), seed, dtype)
    if kind == "not finite" and seed % 3 == 0:
        boxes[0, seed % 4] = np.nan
    same(ops.decode_keypoints(torch.from_numpy(maps), torch.from_numpy(boxes)), reference.decode_keypoints(maps, boxes))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("side", [(300.5, 20), (20, 300.5), (33, 290), (1, 600), (1, 1)])
def test_decode_over_many_strips_and_rows(side, dtype):
    rng = np.random.default_rng(0)
    maps = np.round(3 * rng.normal(size=(2, 2, 13, 17))).astype(dtype)  # ties, far apart
    maps[1] = 1
    boxes = np.array([[5, 6, 5 + side[0], 6 + side[1]]] * 2, dtype)
    same(ops.decode_keypoints(torch.from_numpy(maps), torch.from_numpy(boxes)), kernels.decode_keypoints(maps, boxes))


@pytest.mark.parametrize("shape", [(40, 3), (3, 40), (40, 40)])
def test_decode_of_maps_larger_than_their_boxes(shape):
    maps = np.random.default_rng(1).normal(size=(3, 2, *shape)).astype(np.float32)
    boxes = boxes_of(3, 9, 1)
    same(ops.decode_keypoints(torch.from_numpy(maps), torch.from_numpy(boxes)), kernels.decode_keypoints(maps, boxes))


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]), st.integers(1, 60))
def test_encode_agrees_with_the_reference(seed, dtype, size):
    rng = np.random.default_rng(seed)
    n, k = rng.integers(0, 5, 2)
    boxes = np.round(boxes_of(n, 30, seed, dtype))
    points = np.round(rng.uniform(-25, 50, (n, k, 3))).astype(dtype)
    points[:, :, 2] = rng.choice([0, 1, 2, np.nan], (n, k))
    points[rng.random((n, k, 3)) < 0.05] = np.nan
    same(ops.encode_keypoints(torch.from_numpy(points), torch.from_numpy(boxes), size),
         reference.encode_keypoints(points, boxes, size))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_computed_in_float32(dtype):
    maps = torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    boxes = torch.from_numpy(boxes_of(2, 30, 0))
    for mine, theirs in zip(ops.decode_keypoints(maps, boxes), ops.decode_keypoints(maps.float(), boxes), strict=True):
        assert mine.dtype == torch.float32 and torch.equal(mine, theirs)


def test_nothing_requires_grad():
    maps, boxes = torch.rand(1, 2, 5, 5, requires_grad=True), torch.tensor([[0.0, 0, 8, 8]], requires_grad=True)
    points = torch.rand(1, 2, 3, requires_grad=True)
    assert not any(t.requires_grad for t in (*ops.decode_keypoints(maps, boxes),
                                             *ops.encode_keypoints(points, boxes, 5)))


@pytest.mark.parametrize("n", [0, 2])
def test_registration(n):
    boxes = torch.tensor([[0.0, 0, 12, 7]]).repeat(n, 1)
    torch.library.opcheck(torch.ops.roikit.decode_keypoints, (torch.rand(n, 3, 5, 5), boxes))
    torch.library.opcheck(torch.ops.roikit.encode_keypoints, (torch.rand(n, 3, 3), boxes, 5))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_code_gives_the_same(dynamic):
    def both(maps, boxes):
        xy, scores = ops.decode_keypoints(maps, boxes)
        points = torch.cat([xy, torch.ones_like(scores)[:, :, None]], 2)
        return xy + 1, scores, *ops.encode_keypoints(points, boxes, 14)

    torch._dynamo.reset()
    compiled = torch.compile(both, fullgraph=True, dynamic=dynamic)
    for n in (3, 5):
        maps = torch.rand(n, 2, 6, 6, generator=torch.Generator().manual_seed(n))
        boxes = torch.from_numpy(boxes_of(n, 20, n))
        for mine, eager in zip(compiled(maps, boxes), both(maps, boxes), strict=True):
            assert torch.equal(mine, eager)


def torch_s_map(maps, box):
    """What torch's own bicubic resize makes of the maps (K, H, W) of one box."""
    width, height = ((box[2 + i] - box[i]).clamp(min=1) for i in (0, 1))
    return torch.nn.functional.interpolate(maps[None], (int(height.ceil()), int(width.ceil())), mode="bicubic")[0]


def test_decode_is_the_argmax_of_torch_s_bicubic_resize():
    g = torch.Generator().manual_seed(3)
    maps = torch.randn(12, 4, 14, 14, generator=g)
    boxes = torch.from_numpy(boxes_of(12, 90, 3))
    xy, scores = ops.decode_keypoints(maps, boxes)
    for i, box in enumerate(boxes):
        surface = torch_s_map(maps[i], box)
        side = (box[2:] - box[:2]).clamp(min=1)
        ix, iy = ((xy[i] - box[:2]) / (side / side.ceil()) - 0.5).round().long().unbind(1)
        at = surface[torch.arange(4), iy, ix]
        torch.testing.assert_close(at, surface.flatten(1).amax(1), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(scores[i], at, rtol=1e-5, atol=1e-5)


MAPS, BOX = torch.zeros(2, 3, 4, 4), torch.zeros(2, 4)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.decode_keypoints(MAPS[0], BOX), ValueError,
     r"decode_keypoints: maps must have shape \(N, K, H, W\) with H and W at least 1, got \(3, 4, 4\)"),
    (lambda: ops.decode_keypoints(MAPS, BOX[:1]), ValueError,
     "decode_keypoints: maps and boxes must have as many rows, got 2 and 1"),
    (lambda: ops.decode_keypoints(MAPS, BOX.to("meta")), ValueError,
     "decode_keypoints: maps and boxes must be on the same device, got .* and meta"),
    (lambda: ops.decode_keypoints(MAPS.long(), BOX), TypeError, "decode_keypoints: maps must be float16, .* got int64"),
    (lambda: ops.encode_keypoints(MAPS[..., 0], BOX, 5), ValueError,
     r"encode_keypoints: keypoints must have shape \(N, K, 3\), got \(2, 3, 4\)"),
    (lambda: ops.encode_keypoints(MAPS[..., :3, 0], BOX, 0), ValueError,
     "encode_keypoints: size must be at least 1, got 0"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
