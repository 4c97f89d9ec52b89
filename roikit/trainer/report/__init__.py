"""``report.html``: one file to look at, without a network.

    outlines      masks and boxes as paths of SVG
    pictures      which pictures are shown, their files and the objects on them
    training      what was trained, and how it went
    page          all of it into ``page.html`` with ``page.css`` and ``page.js``
    detections    the report on a detector's results

A report is what a `Report` holds, so that other tasks than finding objects can leave one.
"""

from roikit.trainer.report.page import Report, write_page

__all__ = ["Report", "write_page"]
