"""A small evaluation whose report the tests look at."""

import json

import numpy as np

from roikit.trainer import evaluate

# Image -> objects (class, box) and detections (class, score, box); boxes x, y, width, height.
SCENE = {1: ([(1, (4, 4, 12, 10)), (2, (30, 20, 10, 10))], [(1, 0.95, (4, 4, 12, 10)), (2, 0.95, (30, 20, 10, 10))]),
         2: ([(1, (10, 10, 20, 20))], [(1, 0.75, (10, 10, 20, 20)), (1, 0.35, (10, 10, 20, 18))]),
         3: ([(2, (40, 5, 12, 12))], [(1, 0.75, (5, 20, 8, 8))])}


def case(folder, *, sizes=None, spoil=None, with_images=True, scene=None):
    """Write images, annotations and results, evaluate them, and give the path of the report.

    Args:
        sizes: image -> (width, height), others are (60, 40).
        spoil: called with the folder of the images before the evaluation.
        with_images: whether the evaluation is told where they are.
        scene: in place of SCENE.
    """
    from PIL import Image

    images, random = folder / "images", np.random.default_rng(0)
    images.mkdir()
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "bolt <b>"}, {"id": 2, "name": "nut"}]}
    results = []
    for number, (known, found) in (scene or SCENE).items():
        width, height = (sizes or {}).get(number, (60, 40))
        Image.fromarray(random.integers(0, 200, (height, width, 3)).astype(np.uint8)).save(images / f"{number}.png")
        content["images"].append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        for label, box in known:
            content["annotations"].append({"id": len(content["annotations"]) + 1, "image_id": number, "bbox": list(box),
                                           "category_id": label, "area": box[2] * box[3], "iscrowd": 0})
        results += [{"image_id": number, "category_id": label, "score": score, "bbox": list(box)}
                    for label, score, box in found]
    (folder / "annotations.json").write_text(json.dumps(content))
    if spoil is not None:
        spoil(images)
    evaluate(results, folder / "annotations.json", images if with_images else None, out=folder / "out")
    return folder / "out" / "report.html"


def data_of(path):
    """The data within a report."""
    page = path.read_text(encoding="utf-8")
    return json.loads(page.partition('<script id="data" type="application/json">')[2].partition("</script>")[0])
