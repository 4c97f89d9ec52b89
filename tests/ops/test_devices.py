"""Tensors that are neither on a CPU nor on a CUDA GPU: a sentence, from every operator and from what is none."""

import pytest
import torch

from roikit.errors import BackendError
from roikit.ops import paste_masks_rle

OPERATORS = sorted(name for name in torch._C._dispatch_get_all_op_names() if name.startswith("roikit::"))


@pytest.mark.parametrize("key", ["MPS", "XPU"])
def test_contract_every_operator_answers_for_other_devices(key):
    assert len(OPERATORS) > 30
    without = [name for name in OPERATORS if not torch._C._dispatch_has_kernel_for_dispatch_key(name, key)]
    assert not without, without
    # As torch's dispatcher calls it there, with tensors of the host in place of such a device's.
    with pytest.raises(BackendError, match=f"^nms: the tensors are on {key.lower()}, for which roikit has no kernels"):
        torch.ops.roikit.nms.default._op_dk(getattr(torch._C.DispatchKey, key), torch.rand(2, 4), torch.rand(2), 0.5)


def test_contract_what_is_no_operator_answers_as_well():
    masks, boxes = torch.rand(2, 28, 28, device="meta"), torch.rand(2, 4, device="meta")
    with pytest.raises(BackendError, match="^paste_masks_rle: the tensors are on meta"):
        paste_masks_rle(masks, boxes, (8, 8))
