"""Error messages of roikit.compat.torchvision beside torchvision's own: who looks for the words of one finds them."""

import re

import pytest
import torch

from roikit.compat import torchvision as compat

BOX = torch.tensor([[0.0, 0, 4, 4]])
LOSSES = ("generalized_box_iou_loss", "distance_box_iou_loss", "complete_box_iou_loss")
CALLS = {
    "box_area": lambda ops: ops.box_area(BOX, fmt="yxyx"),
    "box_iou": lambda ops: ops.box_iou(BOX, BOX, fmt="yxyx"),
    "box_convert, in_fmt": lambda ops: ops.box_convert(BOX, "yxyx", "xyxy"),
    "box_convert, out_fmt": lambda ops: ops.box_convert(BOX, in_fmt="xyxy", out_fmt="yxyx"),
    "box_convert, upright and rotated": lambda ops: ops.box_convert(BOX, in_fmt="xyxy", out_fmt="xywhr"),
    "sigmoid_focal_loss, alpha": lambda ops: ops.sigmoid_focal_loss(BOX, BOX, alpha=1.5),
    "sigmoid_focal_loss": lambda ops: ops.sigmoid_focal_loss(BOX, BOX, reduction="total"),
    **{name: lambda ops, name=name: getattr(ops, name)(BOX, BOX, reduction="total") for name in LOSSES},
}


@pytest.mark.parametrize("case", CALLS)
def test_errors_begin_with_the_op_and_hold_torchvisions_words(torchvision, case):
    with pytest.raises((ValueError, NotImplementedError)) as theirs:
        CALLS[case](torchvision.ops)
    words = re.match(r"[^.\n]*?(?= ?[.\n]|$)", str(theirs.value)).group().removesuffix("'")  # their first sentence
    with pytest.raises(theirs.type, match=re.escape(words)) as ours:
        CALLS[case](compat)
    assert str(ours.value).startswith(case.partition(",")[0] + ": ")


@pytest.mark.parametrize("name", ["sigmoid_focal_loss", *LOSSES])
@pytest.mark.parametrize("reduction", ["MEAN", "", None, 0])
def test_an_invalid_reduction_is_named_before_anything_else(name, reduction):
    with pytest.raises(ValueError, match=f"^{name}: Invalid .*'reduction'.* must be one of 'none', 'mean', 'sum'$"):
        getattr(compat, name)(torch.zeros(0, 4), torch.zeros(0, 4), reduction=reduction)
