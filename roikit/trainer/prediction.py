"""Prediction: a trained model over image files, with overlays and COCO results."""

import json
from pathlib import Path

from roikit.data import read_image
from roikit.data.transforms import image_tensor
from roikit.trainer.draw import display_image, draw_objects, save_png
from roikit.trainer.evaluation import coco_results
from roikit.trainer.running import evaluation_of
from roikit.trainer.trained import load_trained, still_transform

__all__ = ["image_files", "predict"]

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


def predict(source, images, *, out=None, score_threshold=0.5, max_detections=None, device="auto",
            overlays=True, boxes=True, on_image=None):
    """Detect objects on image files.

    Args:
        source: checkpoint, exported weights, or the folder of a run.
        images: a file, a folder (its images in the order of their names), or a list of those.
        out: folder for ``NAME.png`` overlays, ``predictions.json`` (COCO results) and
            ``images.json`` (the images behind the ids, and the categories, in COCO's form).
        score_threshold: 0.0 to 1.0, detections below are left out.
        max_detections: an image, if more than configured.
        device: "auto", "cpu", "cuda", ...
        overlays: whether to draw. ``boxes``: whether to draw boxes around masks.
        on_image: called with the path and the results of each image.

    Returns:
        list of COCO results: ``image_id`` (1, 2, ... in the order of the files), ``category_id``
        of the training data, ``bbox`` (x, y, w, h), ``score`` and, with masks, ``segmentation``.

    Raises:
        FileNotFoundError: no such file, or a folder without images.
    """
    files = image_files(images)
    trained = load_trained(source, device, detections=max_detections,
                           score_threshold=score_threshold)
    still = still_transform(trained.config)
    ids = [c["id"] for c in trained.categories]
    names = {c["id"]: c["name"] for c in trained.categories}
    results, records, taken = [], [], set()
    if out is not None:
        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
    with evaluation_of(trained.model, trained.device, trained.config.run.amp) as run:
        for number, path in enumerate(files, start=1):
            image = read_image(path)
            records.append({"id": number, "file_name": path.name, "height": image.shape[0],
                            "width": image.shape[1]})
            tensor = image_tensor(image if still is None else still.image(image))
            (output,), *_ = run([tensor])
            found = coco_results(output, number, ids)
            results += found
            if out is not None and overlays:
                name = path.stem if path.stem not in taken else f"{path.stem}-{number}"
                taken.add(name)
                save_png(out / f"{name}.png",
                         draw_objects(display_image(image), found, names, boxes=boxes))
            if on_image is not None:
                on_image(path, found)
    if out is not None:
        (out / "predictions.json").write_text(json.dumps(results))
        (out / "images.json").write_text(json.dumps(
            {"images": records, "categories": trained.categories}))
    return results


def image_files(images):
    """The image files that a path, a folder or a list of those stands for.

    Raises:
        FileNotFoundError: no such file, or a folder without images.
    """
    if isinstance(images, (list, tuple)):
        return [path for item in images for path in image_files(item)]
    path = Path(images)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in ENDINGS)
        if not files:
            raise FileNotFoundError(f"predict: {path} has no images ({', '.join(ENDINGS)})")
        return files
    if not path.is_file():
        raise FileNotFoundError(f"predict: {path} does not exist")
    return [path]
