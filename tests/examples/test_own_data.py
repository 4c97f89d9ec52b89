"""The README's three commands on 30 pictures as labelme leaves them, from nothing to a report."""

import base64
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from roikit import masks as rle
from roikit.cli import main
from roikit.data import CocoDataset, nuclei_mini
from roikit.data.outlines import rings_of

Image = pytest.importorskip("PIL.Image")
for library in ("torch", "yaml", "pycocotools", "matplotlib", "safetensors"):
    pytest.importorskip(library)

README = Path(__file__).parents[2] / "README.md"
SIDE = 96
# What makes it seconds of minutes: fewer steps, a smaller network, smaller pictures.
QUICK = ["schedule.steps=4", "schedule.warmup_steps=1", "data.batch_size=2", "model.image.min_size=[96]",
         "model.image.max_size=96", "model.backbone.fpn_channels=32", "model.box.representation=64",
         "model.mask.layers=[32]", "model.mask.deconv_channels=32", "model.box.samples_per_image=32"]


def commands():
    block = re.search(r"<!-- own data commands -->\n```bash\n(.*?)```", README.read_text(), re.DOTALL)[1]
    return [shlex.split(line, comments=True) for line in block.splitlines()]


def annotated(folder, count):
    """Nuclei as labelme writes them: polygons by hand, the picture within the file, which lies beside it."""
    folder.mkdir()
    dataset = CocoDataset(*nuclei_mini("train"))
    drawn, written = np.random.default_rng(0), 0
    for k in range(count):
        sample = dataset.sample(k)
        y, x = drawn.integers(0, 256 - SIDE, 2)
        pixels, shapes = sample.image[y:y + SIDE, x:x + SIDE], []
        for mask in sample.masks:
            bitmap = rle.decode(mask)[y:y + SIDE, x:x + SIDE] > 0
            if bitmap.sum() < 12:
                continue
            ring = max(rings_of(bitmap), key=len)
            shapes.append({"label": "nucleus", "points": ring.astype(float).tolist(), "group_id": None,
                           "description": "", "shape_type": "polygon", "flags": {}, "mask": None})
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        (folder / f"IMG_{k:04}.png").write_bytes(buffer.getvalue())
        (folder / f"IMG_{k:04}.json").write_text(json.dumps({
            "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"IMG_{k:04}.png",
            "imageData": base64.b64encode(buffer.getvalue()).decode(), "imageHeight": SIDE, "imageWidth": SIDE}))
        written += len(shapes)
    return written


def test_contract_three_commands_lead_from_labelme_to_a_report(tmp_path, monkeypatch):
    count = annotated(tmp_path / "my-folder", 30)
    (tmp_path / "new-photos").mkdir()
    Image.new("RGB", (SIDE, SIDE), (20, 20, 30)).save(tmp_path / "new-photos" / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    doctor, train, predict = commands()
    assert [words[0] for words in (doctor, train, predict)] == [".venv/bin/roikit"] * 3
    ended = {}
    for words in (doctor, [*train, *QUICK], predict):
        ended[words[1]] = CliRunner().invoke(main, words[1:])
        assert ended[words[1]].exit_code == 0, ended[words[1]].output
    assert f"30 images, {count} objects" in ended["doctor"].output
    page = (tmp_path / "runs" / "mine" / "report.html").read_text()
    assert page.count("data:image/") == 6 and "nucleus" in page  # a fifth of 30 was kept for it
    assert (tmp_path / "predictions" / "photo.png").is_file()
