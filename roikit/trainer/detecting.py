"""What a detector finds on a data set, for an evaluation: on whole images or in tiles, by one process or by several."""

from roikit.trainer.evaluation import coco_results, detect
from roikit.trainer.running import evaluation_of
from roikit.trainer.shares import require_same, share_of, speed_of_all, told_names
from roikit.trainer.tiles import detect_on_pictures
from roikit.trainer.trained import image_preparation
from roikit.trainer.views import in_views

__all__ = ["detect_all"]


def detect_all(trained, dataset, categories, tiles, views, process, *, on_error, **loading):
    """Run a detector over a data set; every process must call this.

    Args:
        trained: `Trained`.
        dataset: all images, the same on each process.
        categories: see `detect`.
        tiles, views: or None.
        process: ``Process``. Each looks at images of its own, and calls ``on_error`` for them.
        on_error: see `detect`; the exceptions have texts.
        loading: ``batch_size`` and ``workers`` of `detect`.

    Returns:
        COCO results in the order of the data set, on the first process alone; the ``speed`` of
        `roikit.trainer.running.Looking`, over all processes; the paths of the images that could not be read, of all.

    Raises:
        ValueError: the processes see other images.
    """
    require_same(process, "evaluate", images=told_names(dataset.image_ids))
    share, unread = share_of(dataset, process), []

    def note(path, error):
        unread.append(path)
        on_error(path, error)

    results, speed = _detected(trained, share, categories, tiles, views, note, loading)
    if process.world == 1:
        return results, speed, unread
    place = {image: k for k, image in enumerate(dataset.image_ids)}
    results = [result for part in process.gather(results) for result in part]
    results = sorted(results, key=lambda result: place[result["image_id"]]) if process.first else []
    unread = [path for part in process.gather(unread) for path in part]
    return results, speed_of_all(process, speed, len(share)), unread


def _detected(trained, dataset, categories, tiles, views, note, loading):
    """Results and speed of `detect`, or of tiles; either in several views, where there are ``views``."""
    config, around = trained.config, None
    if views is not None:
        def around(run):
            return in_views(run, trained.model, views, limit=config.model.box.detections_per_image)
    if tiles is None:
        return detect(trained.model, dataset, categories, device=trained.device, amp=config.run.amp, on_error=note,
                      around=around, **loading)
    ids = [c["id"] for c in categories]
    with evaluation_of(trained.model, trained.device, config.run.amp) as run:
        return detect_on_pictures(run if around is None else around(run), dataset, image_preparation(config), tiles,
                                  lambda output, image_id: coco_results(output, image_id, ids), on_error=note)
