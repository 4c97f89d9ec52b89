"""roi_warp, and its gradient."""

from .kernel_works import Timed, Work, max_backward, pooling

WORKS = {
    "roi_warp": Work(pooling("roi_warp"), (32, 50, 84, 50), (64, 100, 168, 800), 62, 2400),
    "roi_warp backward": Work(max_backward("roi_warp", 1 / 4), (32, 50, 84, 50), (64, 100, 168, 400), 102, 1900),
}


class RoiWarp(Timed):
    works = WORKS
