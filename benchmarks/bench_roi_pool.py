"""roi_pool, and its gradient."""

from .kernel_works import Timed, Work, max_backward, pooling

WORKS = {
    "roi_pool": Work(pooling("roi_pool"), (32, 50, 84, 50), (64, 100, 168, 800), 60, 1700),
    "roi_pool backward": Work(max_backward("roi_pool"), (32, 50, 84, 50), (64, 100, 168, 400), 40, 1700),
    # few RoIs on a large map: writing the zeros is most of the work
    "roi_pool sparse backward": Work(max_backward("roi_pool"), (32, 100, 168, 2), (64, 200, 336, 4), 4, 1500),
}


class RoiPool(Timed):
    works = WORKS
