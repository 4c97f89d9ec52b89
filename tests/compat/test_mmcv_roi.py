"""roikit.compat.mmcv: RoI pooling and deformable convolutions by mmcv's conventions, in plain loops."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import roikit.ops
from roikit.compat import mmcv

generator = torch.Generator().manual_seed(0)


def rand(*shape):
    return torch.rand(*shape, generator=generator)


def make_rois(n):
    corner = rand(n, 2) * 60
    boxes = torch.cat([corner, corner + rand(n, 2) * 30], 1)
    return torch.cat([(rand(n, 1) * 2).floor(), boxes + rand(n, 1) * 20 - 10], 1)


MAP, ROIS = rand(2, 3, 16, 20), make_rois(30)


def test_roi_align_aligns_and_samples_adaptively():
    assert torch.equal(mmcv.roi_align(MAP, ROIS, 3, 0.25), roikit.ops.roi_align(MAP, ROIS, 3, 0.25, 0, True))
    assert torch.equal(mmcv.RoIAlign((3, 2), 0.25, 2, "avg", False)(MAP, ROIS),
                       roikit.ops.roi_align(MAP, ROIS, (3, 2), 0.25, 2, False))
    assert torch.equal(mmcv.RoIAlign(3, 0.25, pool_mode="max", use_torchvision=True)(MAP, ROIS),
                       mmcv.roi_align(MAP, ROIS, 3, 0.25))
    with pytest.warns(DeprecationWarning, match="sampling_ratio"):
        assert mmcv.RoIAlign(3, sample_num=2).sampling_ratio == 2
    with pytest.raises(ValueError, match="pool_mode"):
        mmcv.roi_align(MAP, ROIS, 3, pool_mode="sum")


def bilinear(plane, y, x):
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    places = []
    for at, size in ((max(y, 0.0), height), (max(x, 0.0), width)):
        low = min(int(at), size - 1)
        places.append((low, min(low + 1, size - 1), 0.0 if low == size - 1 else at - low))
    (y0, y1, fy), (x0, x1, fx) = places
    return ((plane[y0, x0] * (1 - fx) + plane[y0, x1] * fx) * (1 - fy)
            + (plane[y1, x0] * (1 - fx) + plane[y1, x1] * fx) * fy)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_by_the_largest_sample(ratio, aligned):
    maps, rois = MAP[:, :1].double() - 0.5, ROIS[:8].double()
    rois[0, 3] = rois[0, 1]  # without width
    out = mmcv.roi_align(maps, rois, (2, 3), 0.25, ratio, "max", aligned)
    for k, (image, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (c * 0.25 - (0.5 if aligned else 0) for c in corners)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1), max(height, 1)
        grid = [ratio or math.ceil(height / 2), ratio or math.ceil(width / 3)]
        for i in range(2):
            for j in range(3):
                samples = [bilinear(maps[int(image), 0].numpy(), y1 + (i + (a + 0.5) / grid[0]) * height / 2,
                                    x1 + (j + (b + 0.5) / grid[1]) * width / 3)
                           for a in range(grid[0]) for b in range(grid[1])]
                assert out[k, 0, i, j].item() == pytest.approx(max(samples, default=0.0), abs=1e-12)


def test_the_largest_sample_has_the_gradient():
    maps = MAP[:, :1, :8, :8].double().requires_grad_()
    rois = ROIS[:3].double()
    assert torch.autograd.gradcheck(lambda m: mmcv.roi_align(m, rois, 2, 0.25, 0, "max"), maps)
    assert mmcv.roi_align(MAP, ROIS[:0], 2, 0.25, 0, "max").shape == (0, 3, 2, 2)


def test_roi_pool_is_mmcvs():
    """Corners are not rounded, x2 and y2 are the last pixel, bins reach from floor to ceiling."""
    maps = MAP.clone().requires_grad_()
    rois = torch.cat([ROIS, torch.tensor([[0.0, 30, 5, 20, 30], [1, 200, 200, 300, 300], [0, 8, 8, 7, 20],
                                          [0, 4, 4, 3.5, 3.5], [1, math.nan, 0, 9, 9], [1, 0, 0, math.inf, 9]])])
    out = mmcv.roi_pool(maps, rois, (2, 3), 0.25)
    expected, gradient = torch.zeros_like(out), torch.zeros_like(maps)
    scale = np.float32(0.25)
    for k, roi in enumerate(rois.numpy()):
        if not np.isfinite(roi).all():
            continue
        x1, y1, x2, y2 = roi[1] * scale, roi[2] * scale, (roi[3] + 1) * scale, (roi[4] + 1) * scale
        if x2 <= x1 or y2 <= y1:
            continue
        wide, high = (x2 - x1) / np.float32(3), (y2 - y1) / np.float32(2)
        for i in range(2):
            for j in range(3):
                top, bottom = (int(np.clip(e, 0, 16)) for e in (np.floor(i * high + y1), np.ceil((i + 1) * high + y1)))
                left, right = (int(np.clip(e, 0, 20)) for e in (np.floor(j * wide + x1), np.ceil((j + 1) * wide + x1)))
                part = MAP[int(roi[0]), :, top:bottom, left:right]
                if part.numel():
                    expected[k, :, i, j] = part.flatten(1).max(1).values
                    for c, place in enumerate(part.flatten(1).argmax(1).tolist()):
                        gradient[int(roi[0]), c, top + place // (right - left), left + place % (right - left)] += 1
    assert torch.equal(out, expected) and not expected[32].any() and expected[33].any()
    assert torch.equal(torch.autograd.grad(out.sum(), maps)[0], gradient)
    assert not torch.equal(out, roikit.ops.roi_pool(MAP, rois, (2, 3), 0.25))
    assert torch.equal(mmcv.RoIPool((2, 3), 0.25)(MAP, rois), expected)
    assert mmcv.roi_pool(MAP, rois[:0], 2).shape == (0, 3, 2, 2)


def test_rotated_roi_align_takes_radians_and_both_directions():
    turned = torch.cat([ROIS[:, :1], 10 + 20 * rand(30, 2), 1 + 20 * rand(30, 2), 6 * rand(30, 1) - 3], 1)
    in_degrees = turned * torch.tensor([1, 1, 1, 1, 1, 180 / math.pi])
    expected = roikit.ops.roi_align_rotated(MAP, in_degrees, (3, 2), 0.25, 2)
    assert_close(mmcv.roi_align_rotated(MAP, turned, (3, 2), 0.25, 2), expected)
    mirrored = turned * torch.tensor([1.0, 1, 1, 1, 1, -1])
    assert_close(mmcv.RoIAlignRotated((3, 2), 0.25, 2, clockwise=True)(MAP, mirrored), expected)
    with pytest.warns(DeprecationWarning, match="sampling_ratio"):
        assert mmcv.RoIAlignRotated(3, 0.25, sample_num=2).sampling_ratio == 2


@pytest.mark.parametrize("aligned", [True, False])
def test_rotated_roi_align_of_upright_boxes_is_roi_align(aligned):
    boxes = ROIS[:, 1:].clone()
    boxes[:10, 2:] = boxes[:10, :2] + 0.5  # smaller than a map pixel
    rois = torch.cat([ROIS[:, :1], boxes], 1)
    turned = torch.cat([rois[:, :1], (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2],
                        torch.zeros(30, 1)], 1)
    if not aligned:  # below one map pixel, or four here, a turned box grows about its centre, an upright one does not
        turned[:, 1:3] += (4 - turned[:, 3:5]).clamp(min=0) / 2
    assert_close(mmcv.roi_align_rotated(MAP, turned, 3, 0.25, 2, aligned),
                 mmcv.roi_align(MAP, rois, 3, 0.25, 2, "avg", aligned), rtol=1e-4, atol=1e-5)


def test_precise_roi_pooling_is_the_mean_of_the_surface_which_is_0_beyond_the_map():
    rois = torch.tensor([[1.0, 2.3, 1.1, 7.9, 6.2], [0, -2, -3, 4, 5], [0, 17.5, 13, 22, 18], [0, 3, 3, 3, 9]])
    moved, fine = rois.clone().requires_grad_(), 400
    out = mmcv.PrRoIPool((2, 1))(MAP, moved)
    for k, (image, x1, y1, x2, y2) in enumerate(rois.tolist()):
        padded = torch.nn.functional.pad(MAP[int(image)], (4, 4, 4, 4))
        for i in range(2):
            ys = y1 + (i + (torch.arange(fine) + 0.5) / fine) * (y2 - y1) / 2
            xs = x1 + (torch.arange(fine) + 0.5) / fine * (x2 - x1)
            hats = [(1 - (at[:, None] - torch.arange(-4.0, size + 4)).abs()).clamp(min=0).mean(0)
                    for at, size in ((ys, 16), (xs, 20))]
            expected = torch.einsum("y,x,cyx->c", *hats, padded) * (x2 > x1)
            assert_close(out[k, :, i, 0], expected, rtol=1e-3, atol=1e-4)
    assert torch.autograd.grad(out.sum(), moved)[0][:3, 1:].all()


def test_deformable_convolutions_without_offsets_are_convolutions():
    x, rule = rand(2, 4, 7, 8), {"stride": 2, "padding": (2, 1), "dilation": 1, "groups": 2}
    taps, mask = torch.zeros(2, 36, 5, 4), torch.full((2, 18, 5, 4), 0.5)
    layer = mmcv.DeformConv2d(4, 6, 3, **rule, deform_groups=2)
    plain = torch.nn.functional.conv2d(x, layer.weight, None, **rule)
    assert_close(layer(x, taps), plain)
    assert_close(mmcv.deform_conv2d(x, taps, layer.weight, 2, (2, 1), 1, 2, 2), plain)
    assert mmcv.deform_conv2d(x, taps.double(), layer.weight, 2, (2, 1), 1, 2, 2).dtype == torch.float64
    modulated = mmcv.ModulatedDeformConv2d(4, 6, 3, **rule, deform_groups=2)
    torch.nn.init.normal_(modulated.bias)
    plain = torch.nn.functional.conv2d(x, modulated.weight, None, **rule)
    assert_close(modulated(x, taps, mask), plain / 2 + modulated.bias[:, None, None])
    assert_close(mmcv.modulated_deform_conv2d(x, taps, mask, modulated.weight, None, 2, (2, 1), 1, 2, 2), plain / 2)
    with pytest.warns(DeprecationWarning, match="deform_groups"):
        assert mmcv.DeformConv2d(4, 6, 3, deformable_groups=2).deform_groups == 2
    for call in (lambda: mmcv.DeformConv2d(4, 6, 3, bias=True),
                 lambda: mmcv.deform_conv2d(x, taps, layer.weight, 2, (2, 1), 1, 2, 2, True)):
        with pytest.raises(ValueError, match="bias"):
            call()


def test_deformable_convolutions_show_their_arguments_by_name():
    layer = mmcv.DeformConv2d(8, 4, 3, 2, padding=1, groups=2, deform_groups=4)
    shown = ("in_channels=8, out_channels=4, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(1, 1), "
             "groups=2, deform_groups=4, bias=")
    assert repr(layer) == f"DeformConv2d({shown}False)" and layer.bias is None
    assert list(layer.state_dict()) == ["weight"]
    modulated = mmcv.ModulatedDeformConv2d(8, 4, 3, 2, padding=1, groups=2, deform_groups=4)
    assert repr(modulated) == f"ModulatedDeformConv2d({shown}True)"


def test_packed_deformable_convolutions_find_their_offsets():
    x = rand(2, 4, 7, 8)
    packed = mmcv.DeformConv2dPack(4, 6, 3, padding=1, deform_groups=2)
    assert_close(packed(x), torch.nn.functional.conv2d(x, packed.weight, padding=1))
    assert set(packed.state_dict()) == {"weight", "conv_offset.weight", "conv_offset.bias"}
    packed = mmcv.ModulatedDeformConv2dPack(4, 6, 3, 1, 1)
    assert_close(packed(x), torch.nn.functional.conv2d(x, packed.weight, padding=1) / 2)
    torch.nn.init.normal_(packed.conv_offset.weight, std=0.1)
    out = packed.conv_offset(x)
    assert_close(packed(x), roikit.ops.deform_conv2d(x, out[:, :18], packed.weight, packed.bias, 1, 1, 1,
                                                     out[:, 18:].sigmoid()))
    packed(x).sum().backward()
    assert all(p.grad.any() for p in packed.parameters())
