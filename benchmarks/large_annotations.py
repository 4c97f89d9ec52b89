"""Times opening an annotation file of the size of COCO's train2017: `python benchmarks/large_annotations.py FILE.json`.

The file is written unless it is there: 118,287 images, which do not exist, and 860,001 objects of one polygon of 25
points, about 470 MB. Each line is of three fresh processes on one core: the least seconds of opening, without imports,
and the most memory of a whole process. pycocotools and faster-coco-eval open it too, where they are installed.
"""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np

IMAGES, OBJECTS, TIMES = 118_287, 860_001, 3
OPEN = """
import resource, sys, time
{imports}
begun = time.process_time()
{work}
print(time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, file=sys.stderr)
"""


def write(path):
    rng = np.random.default_rng(0)
    images = [{"id": i, "file_name": f"{i:012d}.jpg", "height": 480, "width": 640, "license": 1}
              for i in range(1, IMAGES + 1)]
    categories = [{"id": c, "name": f"class {c}", "supercategory": "thing"} for c in range(1, 81)]
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"info": {}, "images": ' + json.dumps(images) + ', "categories": ' + json.dumps(categories)
                   + ', "annotations": [')
        for number in range(1, OBJECTS + 1):
            x, y, w, h = rng.uniform((0, 0, 5, 5), (500, 340, 130, 130))
            angle = np.sort(rng.uniform(0, 2 * np.pi, 25))
            ring = np.stack([x + w / 2 * (1 + np.cos(angle)), y + h / 2 * (1 + np.sin(angle))], 1).round(2)
            image, category = rng.integers(1, (IMAGES + 1, 81)).tolist()
            record = {"id": number, "image_id": image, "category_id": category, "iscrowd": 0,
                      "area": round(w * h * 0.78, 2), "bbox": [round(v, 2) for v in (x, y, w, h)],
                      "segmentation": [ring.ravel().tolist()]}
            file.write((", " if number > 1 else "") + json.dumps(record))
        file.write("]}")


def measured(imports, work, before=lambda: None):
    """The least seconds and gigabytes of some fresh processes."""
    found = []
    for _ in range(TIMES):
        before()
        command = [sys.executable, "-W", "ignore", "-c", OPEN.format(imports=imports, work=work)]
        text = subprocess.run(command, check=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True).stderr
        found.append([float(v) for v in text.split("\n")[-2].split()])
    seconds, memory = zip(*found, strict=True)
    return f"{min(seconds):.2f} s, {max(memory):.2f} GB"


def main(path):
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if not os.path.exists(path):
        write(path)

    def forget():
        if os.path.exists(f"{path}.roikit"):
            os.unlink(f"{path}.roikit")
    imports, work = "from roikit.data import CocoDataset", f"CocoDataset({path!r}, {path + '.images'!r})"
    print("first", measured(imports, work, forget))
    print("again", measured(imports, work))
    inspect = f"inspect_dataset({path!r}, {path + '.images'!r})"
    print("doctor, again", measured("from roikit.data import inspect_dataset", inspect))
    for name, imports in (("pycocotools", "from pycocotools.coco import COCO"),
                          ("faster-coco-eval", "from faster_coco_eval import COCO")):
        if importlib.util.find_spec(name.replace("-", "_")) is not None:
            print(name, measured(imports, f"COCO({path!r})"))


if __name__ == "__main__":
    main(sys.argv[1])
