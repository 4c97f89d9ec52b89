"""COCO's run lengths, encoded and decoded: their arguments, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit.reference import rle
from roikit.testing import strategies as some
from roikit.testing.judging import Op
from roikit.testing.variants import Variant, combine, trait

__all__ = ["OPS"]


@st.composite
def rle_encode_arguments(draw, awkward):
    low, most = (0, 40) if awkward else (1, 9)
    size = draw(st.integers(low, most)), draw(st.integers(low, most))
    return {"mask": np.asfortranarray(draw(some.bitmaps(n=1, size=size, dtype=np.uint8))[0])}


@st.composite
def rle_decode_arguments(draw, awkward):
    mask = draw(rle_encode_arguments(awkward))["mask"]
    return {"rle_object": {"size": list(mask.shape), "counts": rle.string_from_counts(rle.encode(mask))}}


def rle_encode(mask):
    """COCO's RLE of a bitmap (H, W): {"size": [H, W], "counts": bytes}."""
    return {"size": list(mask.shape), "counts": rle.string_from_counts(rle.encode(mask))}


def rle_decode(rle_object):
    """The bitmap uint8 (H, W) of COCO's RLE."""
    height, width = rle_object["size"]
    return rle.decode(rle.counts_from_string(rle_object["counts"], height, width), height, width)


def encode_model(case, got, *, rows=False, swapped=False):
    mask = case["mask"]
    counts = rle.encode(mask.T if rows else mask)
    if swapped:
        counts = rle.encode(1 - (mask.T if rows else mask))
    return {"size": list(mask.shape), "counts": rle.string_from_counts(counts)}


def plain_deltas(case, got):
    """Counts written as they are, without differences to the run two places before."""
    counts = rle.encode(case["mask"])
    text = b"".join(rle.string_from_counts(counts[i : i + 1]) for i in range(len(counts)))
    return {"size": list(case["mask"].shape), "counts": text}


RUNS = (
    trait("row-major", "runs go along the rows, not down the columns", rows=True),
    trait("ones-first", "the first run counts ones, not zeros", swapped=True),
)
RLE_ENCODE = (*combine(encode_model, RUNS),
              Variant("no-deltas", "runs are written as they are, without differences", plain_deltas))


def decode_model(case, got, *, rows=False, swapped=False):
    mask = rle_decode(case["rle_object"])
    mask = 1 - mask if swapped else mask
    return mask.ravel(order="F").reshape(mask.shape) if rows else mask


RLE_DECODE = combine(decode_model, RUNS)


OPS = (
    Op("rle_encode", rle_encode, "runs go down the columns, zeros first; differences from the fourth run on",
       RLE_ENCODE, 1, arrays=False, arguments=rle_encode_arguments),
    Op("rle_decode", rle_decode, "runs go down the columns, zeros first; differences from the fourth run on",
       RLE_DECODE, 1, arrays=False, arguments=rle_decode_arguments),
)
