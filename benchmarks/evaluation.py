"""Times COCO's evaluation of boxes and masks: roikit beside pycocotools and faster-coco-eval, where they are installed.

    python -m benchmarks.evaluation [--images 1000] [--detections 94276] [--rounds 5] [--threads 1]
                                    [--annotations FILE --results FILE]

Without files, a case like COCO's is drawn: 80 classes, seven objects an image with polygons of 8 to 60 corners, 1 in 80
of them a crowd, and detections with compressed RLEs, of which somewhat more than half are about an object. Everybody
reads the same two files. Printed is time in seconds, the least of the rounds, in which they take turns: reading (the
files, and what is made of them before the evaluation), scoring (from there to the twelve figures), and the largest
difference of a figure to pycocotools'. It is processor time with one thread, and time of the clock with more. --threads
are roikit's; the others choose theirs.
"""

import argparse
import contextlib
import io
import json
import os
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from roikit import masks as rle
from roikit.errors import RoikitWarning

HEIGHT, WIDTH = 480, 640
CLASSES = 80


def outline(random, centre, size, corners):
    """(corners, 2) of a lump, cut at the image's border."""
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    reach = np.clip(1 + 0.25 * random.standard_normal(corners).cumsum() / np.sqrt(corners), 0.3, 1.2)
    points = np.array(centre) + np.array(size) / 2 * reach[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
    return np.clip(points, 0, (WIDTH, HEIGHT)).round(2)


def described(points):
    """The box and the RLE of an outline."""
    low, high = points.min(0), points.max(0)
    mask, = rle.frPyObjects([points.ravel().tolist()], HEIGHT, WIDTH)
    return [round(float(v), 2) for v in (*low, *(high - low))], mask


def drawn_object(random):
    size = np.clip(np.exp(random.normal(4.3, 0.9)) * np.exp([0.4, -0.4] * random.normal(0, 1, 1)), 6, (600, 450))
    centre = random.uniform(size * 0.3, (WIDTH, HEIGHT) - size * 0.3)
    return outline(random, centre, size, int(random.integers(8, 60)))


def drawn_case(images, detections, seed=16):
    """Annotations and results."""
    random = np.random.default_rng(seed)
    often = 1 / np.arange(1, CLASSES + 1) ** 0.9
    often /= often.sum()
    content = {"images": [], "annotations": [], "categories": [
        {"id": c + 1 + c // 9, "name": f"thing {c}"} for c in range(CLASSES)]}
    results = []
    for image, count in enumerate(np.diff(np.linspace(0, detections, images + 1).astype(int)).tolist(), start=1):
        content["images"].append({"id": image, "file_name": f"{image:012}.jpg", "height": HEIGHT, "width": WIDTH})
        objects = []
        for _ in range(1 + random.poisson(6.5)):
            label, points = int(random.choice(CLASSES, p=often)), drawn_object(random)
            if min(np.ptp(points, axis=0)) < 2:
                continue
            box, mask = described(points)
            is_crowd = random.random() < 1 / 80
            objects.append((label, points))
            content["annotations"].append({
                "id": len(content["annotations"]) + 1, "image_id": image, "category_id": label + 1 + label // 9,
                "iscrowd": int(is_crowd), "area": float(rle.area(mask)), "bbox": box,
                "segmentation": {**mask, "counts": mask["counts"].decode()} if is_crowd else [points.ravel().tolist()]})
        for _ in range(count):
            if objects and random.random() < 0.55:
                label, points = objects[random.integers(len(objects))]
                off = random.exponential(0.08)
                size = np.ptp(points, axis=0)
                points = points + (random.normal(0, off, 2) + random.normal(0, 0.02, points.shape)) * size
                score = np.clip(0.95 - 1.5 * off + random.normal(0, 0.15), 0.01, 0.999)
                if random.random() < 0.15:
                    label = int(random.choice(CLASSES, p=often))
            else:
                label, points, score = int(random.choice(CLASSES, p=often)), drawn_object(random), random.beta(1, 5)
            box, mask = described(np.clip(points, 0, (WIDTH, HEIGHT)))
            results.append({"image_id": image, "category_id": label + 1 + label // 9, "score": round(float(score), 3),
                            "bbox": box, "segmentation": {**mask, "counts": mask["counts"].decode()}})
    return content, results


def read_by_roikit(annotations, results):
    from roikit.trainer.results import place_results, read_results
    from roikit.trainer.truth import read_truth

    truth = read_truth(annotations)
    return truth, place_results(read_results(results), truth)


def scored_by_roikit(truth, placed, kind):
    from roikit.trainer.scores import coco_scores

    return list(coco_scores(truth, placed, kind, per_class=False).values())


def like_coco(reader, judge):
    """The two steps of pycocotools, and of what has its names."""
    def read(annotations, results):
        truth = reader(str(annotations))
        return truth, truth.loadRes(str(results))

    def scored(truth, found, kind):
        evaluation = judge(truth, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return evaluation.stats[:12].tolist()

    return read, scored


def rivals():
    """name -> two functions: (annotations, results) -> what has been read, and (*that, kind) -> twelve figures."""
    found = {"roikit": (read_by_roikit, scored_by_roikit)}
    with contextlib.suppress(ImportError):
        from faster_coco_eval import COCO, COCOeval_faster
        found["faster-coco-eval"] = like_coco(COCO, COCOeval_faster)
    with contextlib.suppress(ImportError):
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
        found["pycocotools"] = like_coco(COCO, COCOeval)
    return found


def table(files, rounds, clock):
    """Print a line for each kind and rival; ``files`` is kind -> annotations, results."""
    for kind, paths in files.items():
        times, figures = {}, {}
        for _ in range(rounds):
            for name, (read, scored) in rivals().items():
                with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                    warnings.simplefilter("ignore", RoikitWarning)
                    marks = [clock()]
                    state = read(*paths)
                    marks.append(clock())
                    figures[name] = scored(*state, kind)
                    marks.append(clock())
                times.setdefault(name, []).append(np.diff(marks))
        for name, taken in times.items():
            reading, scoring = min(taken, key=sum)
            line = (f"{kind:5} {name:17} reading {reading:6.2f}  scoring {scoring:6.2f}  "
                    f"together {reading + scoring:6.2f}")
            if "pycocotools" in figures:
                apart = np.abs(np.subtract(figures[name], figures["pycocotools"])).max()
                line += f"  figures within {apart:.1g}"
            print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--detections", type=int, default=94_276)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    os.environ["ROIKIT_NUM_THREADS"] = str(asked.threads)
    if (asked.annotations is None) != (asked.results is None):
        parser.error("give --annotations and --results, or neither")
    clock = time.process_time if asked.threads == 1 else time.perf_counter
    if asked.annotations:
        table(dict.fromkeys(("bbox", "segm"), (asked.annotations, asked.results)), asked.rounds, clock)
        return
    content, results = drawn_case(asked.images, asked.detections)
    print(f"{asked.images} images, {len(content['annotations'])} objects, {len(results)} detections, "
          f"{asked.threads} thread{'s' * (asked.threads > 1)}")
    with tempfile.TemporaryDirectory() as folder:
        annotations = Path(folder) / "annotations.json"
        annotations.write_text(json.dumps(content))
        files = {}
        for kind, left_out in (("bbox", "segmentation"), ("segm", "bbox")):
            path = Path(folder) / f"{kind}.json"
            path.write_text(json.dumps([{k: v for k, v in r.items() if k != left_out} for r in results]))
            files[kind] = annotations, path
        table(files, asked.rounds, clock)


if __name__ == "__main__":
    main()
