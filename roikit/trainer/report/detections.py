"""The report on what a detector found."""

import warnings
from pathlib import Path

from roikit.errors import RoikitWarning
from roikit.trainer.analysis import KINDS, analyse_matches, match_truth, write_analysis
from roikit.trainer.report.page import Report, write_page
from roikit.trainer.report.pictures import pictures_of
from roikit.trainer.results import place_results

__all__ = ["PICTURES", "paths_below", "paths_in", "report_detections"]

PICTURES = 1000  # in a page at most


def paths_in(dataset):
    """A function, image id -> path, of a data set with ``image_ids`` and ``image_path``."""
    place = {image: k for k, image in enumerate(dataset.image_ids)}
    return lambda image: dataset.image_path(place[image])


def paths_below(folder, truth):
    """A function, image id -> path, of a Truth whose images are in a folder; its paths are None where there is none."""
    def path_of(image):
        name = truth.images[image].get("file_name")
        return None if folder is None or not isinstance(name, str) else Path(folder) / name.replace("\\", "/")

    return path_of


def report_detections(out, truth, results, kinds, *, path_of, max_detections, use_cats=True, image_ids=None,
                      score_threshold=0.5, iou=0.5, pictures=PICTURES, told=None, **words):
    """Write ``analysis.json`` and ``report.html``, and large pictures into ``report_images``.

    Args:
        out: folder, which is there.
        truth: Truth.
        results: COCO results.
        kinds: of "bbox", "segm", "rbox" and others, which have no analysis; masks are drawn where they are among them.
        path_of: function, image id -> path of its file, or None where it is not known.
        max_detections: kind -> numbers of detections an image, the last of which counts.
        use_cats, image_ids: as for `coco_scores`.
        score_threshold: where the slider stands first, and below which the confusion matrices count no detection.
        iou: the chosen overlap, as for `roikit.trainer.analyse`.
        pictures: so many of the most wrong images are in the page.
        told: ``categories`` and ``file_names`` of the results, for `place_results`, where they are known.
        words: ``title``, ``scores``, ``facts`` and ``curves`` of the Report.

    Raises:
        OSError: a file cannot be written.
    """
    asked = [kind for kind in KINDS if kind in kinds]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoikitWarning)  # the figures came first, and with them these warnings
        placed = place_results(results, truth, use_cats=use_cats, **(told or {}))
        matches = {kind: match_truth(truth, placed, kind, max_detections=max_detections[kind][-1], use_cats=use_cats,
                                     image_ids=image_ids, iou=iou) for kind in asked}
    analyses = {kind: analyse_matches(found, score_threshold=score_threshold) for kind, found in matches.items()}
    write_analysis(out, analyses)
    shown = None
    if asked and pictures:
        drawn = matches["segm" if "segm" in asked else asked[-1]]
        names = {i: str(record.get("file_name", i)) for i, record in truth.images.items()}
        shown = pictures_of(drawn, names, path_of, truth.sizes, out, most=pictures)
    write_page(Path(out) / "report.html", Report(analyses=_shortened(analyses), pictures=shown,
                                                 score_threshold=score_threshold, **words))


def _shortened(analyses):
    """The same with fewer digits of the curves, which are most of a page without pictures."""
    return {kind: {**found, "classes": [c if c["precision"] is None else {**c, "precision": [
        [round(p, 3) for p in line] for line in c["precision"]]} for c in found["classes"]]}
        for kind, found in analyses.items()}
