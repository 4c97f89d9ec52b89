"""docs/examples/onnx_detector.py finds what was drawn where torch cannot be imported, and its page quotes it right."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "onnx_detector.py"
needs_onnx = pytest.mark.skipif(not all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime")),
                                reason="onnx and onnxruntime are not installed")

START = f"""
import sys
sys.modules["torch"] = None
sys.path.insert(0, {str(EXAMPLE.parent)!r})
import onnx_detector as example
"""


@needs_onnx
def test_it_finds_the_ellipses_without_torch(run_python):
    run_python(START + """
import numpy as np, onnxruntime
from roikit.masks import decode
session = onnxruntime.InferenceSession(example.build_model().SerializeToString(), providers=["CPUExecutionProvider"])
size = 160, 240
boxes, scores, labels, masks = example.detect(session, example.draw(example.ELLIPSES, size))
order = [int(np.abs(boxes - ellipse[1:]).sum(1).argmin()) for ellipse in example.ELLIPSES]
assert sorted(order) == list(range(len(boxes))) == list(range(4))
assert labels[order].tolist() == [ellipse[0] for ellipse in example.ELLIPSES]
assert np.abs(boxes[order] - [ellipse[1:] for ellipse in example.ELLIPSES]).max() < 0.5
assert (scores > 0.8).all()
for at, ellipse in zip(order, example.ELLIPSES):
    drawn = example.draw([ellipse], size).max(0) > 0
    found = decode(masks[at]) > 0
    assert (drawn & found).sum() / (drawn | found).sum() > 0.85

# An image wider than it is high, one object half outside, and one with nothing.
boxes, _, labels, _ = example.detect(session, example.draw([(1, -14, 40, 26, 80)], (96, 256)))
assert labels.tolist() == [1] and boxes[0, 0] == 0
assert [len(part) for part in example.detect(session, np.zeros((3, 64, 64), np.float32))] == [0] * 4
""")


@needs_onnx
def test_it_prints_what_its_page_shows(run_python):
    printed = run_python(START + "example.main()")
    assert printed.strip() in (DOCS / "numpy.md").read_text()


def test_the_page_quotes_the_example():
    page, example = (DOCS / "numpy.md").read_text(), EXAMPLE.read_text()
    quoted = page.split("```python\n")[1].split("```")[0].replace("rles = ", "")
    lines = [line.strip() for line in quoted.splitlines() if line.strip()]
    code = "\n".join(line.strip() for line in example.splitlines())
    assert len(lines) >= 10
    assert all(line in code for line in lines)
