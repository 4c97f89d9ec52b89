"""Detections drawn on their images: masks, outlines, boxes, skeletons, labels and scores."""

import colorsys

import numpy as np

from roikit import masks as rle
from roikit.data.rotated import corners_of_boxes
from roikit.data.segmentation import encode
from roikit.errors import naming
from roikit.trainer.extras import extra
from roikit.trainer.fonts import font_of, plain_text

__all__ = ["display_image", "draw_objects", "enlarged", "object_color", "sample_objects", "save_png",
           "side_by_side"]

GOLDEN = 0.61803398875
TEXT = 12  # pixels
JOINT = (255, 255, 255)


def display_image(image):
    """An image of any depth as (H, W, 3) uint8 for the eye; very dark ones are stretched.

    Args:
        image: (H, W, 3) uint8, uint16 or float in [0, 1].
    """
    top = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1.0
    values = image.astype(np.float32) / top
    bright = float(np.percentile(values, 99.8)) if values.size else 1.0
    if 0 < bright < 0.4:
        values = values / bright
    return (values.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def draw_objects(image, objects, names, *, opacity=0.35, boxes=True, about=768, skeletons=None):
    """Draw objects on an image.

    Small images are enlarged by a whole factor first, so that outlines one pixel wide leave the
    objects visible. Text is left out where many objects would cover each other with it.

    Args:
        image: (H, W, 3) uint8.
        objects: COCO results or annotations of this image: ``bbox`` (x, y, w, h),
            ``category_id`` and, where known, ``rbox`` (cx, cy, w, h, degrees), which is drawn in place of ``bbox``,
            ``score``, ``segmentation`` (RLE or polygons) and ``keypoints``
            (3K numbers: x, y and visibility of each, or its score where there is a ``score``).
        names: category id -> name.
        opacity: of the masks' filling, 0.0 to 1.0.
        boxes: whether to draw boxes of objects with a mask; those without always get one.
        about: enlarge until the longer side has about so many pixels.
        skeletons: category id -> `roikit.data.keypoints.Skeleton`; keypoints of other categories are not drawn. A
            joint that is visible, or has a score above 0, is a disc; one that is annotated but hidden is a ring; no
            other is drawn. A limb is a line between two of them, thin where one is hidden.

    Returns:
        (H * k, W * k, 3) uint8 with the whole factor k.
    """
    height, width = image.shape[:2]
    factor = max(1, round(about / max(height, width, 1)))
    canvas = enlarged(image, factor)
    order = sorted(range(len(objects)), key=lambda i: objects[i].get("score", 1.0))
    colors = [object_color(i) for i in range(len(objects))]
    for i in order:
        window, mask = _mask(objects[i], height, width)
        if mask is None or not mask.size:
            continue
        y, x = window
        mask = mask.repeat(factor, axis=0).repeat(factor, axis=1)
        area = (slice(y * factor, y * factor + mask.shape[0]),
                slice(x * factor, x * factor + mask.shape[1]))
        part = canvas[area]
        part[mask] = (part[mask] * (1 - opacity) + np.array(colors[i]) * opacity).astype(np.uint8)
        part[_outline(mask)] = colors[i]
    canvas = _with_skeletons(canvas, objects, order, colors, factor, skeletons or {})
    return _with_boxes_and_text(canvas, objects, order, colors, names, factor, boxes)


def sample_objects(sample, category_ids, rotated=None):
    """The objects of a `roikit.data.transforms.Sample` as COCO annotations for `draw_objects`.

    Args:
        category_ids: of the labels 1, 2, ...
        rotated: (N, 5) rotated boxes of the objects, or None.
    """
    boxes = sample.boxes.copy()
    boxes[:, 2:] -= boxes[:, :2]
    objects = [{"category_id": category_ids[label - 1], "bbox": box}
               for label, box in zip(sample.labels.tolist(), boxes.tolist(), strict=True)]
    for item, box in zip(objects, () if rotated is None else rotated.tolist(), strict=False):
        item["rbox"] = box
    for item, mask in zip(objects, sample.masks or (), strict=False):
        mask = encode(mask, *sample.size)
        item["segmentation"] = mask if isinstance(mask, dict) else [ring.tolist() for ring in mask]
    for item, points in zip(objects, () if sample.keypoints is None else sample.keypoints, strict=False):
        item["keypoints"] = points.reshape(-1).tolist()
    return objects


def enlarged(image, factor):
    """A copy of an (H, W, 3) image, larger by a whole factor."""
    if factor == 1:
        return image.copy()
    pillow = extra("PIL.Image", "drawing predictions")
    size = (image.shape[1] * factor, image.shape[0] * factor)
    return np.array(pillow.fromarray(image).resize(size, pillow.Resampling.BICUBIC))


def object_color(index):
    """Bright colours; neighbours in the list differ widely in hue."""
    color = np.array(colorsys.hsv_to_rgb((0.33 + index * GOLDEN) % 1.0, 0.9, 1.0))
    # Pure blue and violet are too dark for outlines on a dark image: white lifts their luminance.
    dim = 0.5 - color @ (0.2126, 0.7152, 0.0722)
    return tuple(int(v) for v in 255 * (color + max(0.0, dim) * (1 - color)))


def _mask(item, height, width):
    """The mask's window (y, x) and its pixels in it; (None, None) without a mask."""
    segmentation = item.get("segmentation")
    if not segmentation:
        return None, None
    if isinstance(segmentation, list):
        segmentation = rle.merge(rle.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        segmentation = rle.frPyObjects(segmentation, height, width)
    y, x, pixels = rle.frames.window(segmentation)
    return (y, x), pixels


def _outline(mask):
    """The pixels of a mask with a neighbour outside it."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _with_skeletons(canvas, objects, order, colors, factor, skeletons):
    shown = [i for i in order if objects[i].get("keypoints") and objects[i]["category_id"] in skeletons]
    if not shown:
        return canvas
    pillow, pen = extra("PIL.Image", "drawing"), extra("PIL.ImageDraw", "drawing")
    picture = pillow.fromarray(canvas)
    draw = pen.Draw(picture)
    radius = max(2, max(canvas.shape[:2]) // 250)
    for i in shown:
        points = np.asarray(objects[i]["keypoints"], np.float64).reshape(-1, 3)
        # Of a detection the third number is a score, of an annotation 0, 1 or 2.
        clear = points[:, 2] > (0 if "score" in objects[i] else 1)
        known = points[:, 2] > 0
        at = [tuple(xy) for xy in (points[:, :2] * factor).tolist()]
        for a, b in skeletons[objects[i]["category_id"]].limbs:
            if known[a] and known[b]:
                width = radius if clear[a] and clear[b] else 1
                draw.line((at[a], at[b]), fill=(0, 0, 0), width=width + 2)  # stands out from the mask of its colour
                draw.line((at[a], at[b]), fill=colors[i], width=width)
        for (x, y), is_clear in [(at[k], clear[k]) for k in np.flatnonzero(known)]:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=JOINT if is_clear else None,
                         outline=colors[i])
    return np.array(picture)


def _with_boxes_and_text(canvas, objects, order, colors, names, factor, boxes):
    pillow, pen = extra("PIL.Image", "drawing"), extra("PIL.ImageDraw", "drawing")
    picture = pillow.fromarray(canvas)
    draw = pen.Draw(picture)
    for i in order:
        x, y, w, h = (v * factor for v in objects[i]["bbox"])
        if boxes or not objects[i].get("segmentation"):
            if objects[i].get("rbox"):
                outline = [tuple(xy) for xy in (corners_of_boxes(objects[i]["rbox"])[0] * factor).tolist()]
                draw.line([*outline, outline[0]], fill=colors[i])
            else:
                draw.rectangle((x, y, max(x, x + w - 1), max(y, y + h - 1)), outline=colors[i])
        text, font = _label(objects[i], names)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        crowded = len(objects) > 12 and (right - left > w or 3 * bottom > h)
        if not text or crowded:
            continue
        at_y = y - bottom - 2 if y >= bottom + 2 else y + 1
        draw.rectangle((x, at_y, x + right + 2, at_y + bottom + 2), fill=(0, 0, 0))
        draw.text((x + 1, at_y), text, fill=colors[i], font=font)
    return np.array(picture)


def _label(item, names):
    """Name and score, and a font that has their letters; the name goes without saying where there is one category.

    A name whose letters no font has is drawn without its accents, or else as the category's id.
    """
    score = f"{item['score']:.2f}" if "score" in item else ""
    name = names.get(item["category_id"], "") if len(names) > 1 else ""
    name = " ".join(str(name).split())
    font = font_of(f"{name} {score}", TEXT)
    if font is None:
        name, font = plain_text(name) or "", font_of("", TEXT)
    if not name and len(names) > 1:
        name = str(item["category_id"])
    return f"{name} {score}".strip(), font


def side_by_side(pictures, titles):
    """Pictures of one height beside each other, each under its title.

    Args:
        pictures: (H, W_i, 3) uint8 arrays.
        titles: a line of text for each.

    Returns:
        (H + 20, sum of W_i + gaps, 3) uint8.
    """
    pillow, pen = extra("PIL.Image", "drawing"), extra("PIL.ImageDraw", "drawing")
    font = font_of("", 13)
    gap, head = 6, 20
    width = sum(p.shape[1] for p in pictures) + gap * (len(pictures) - 1)
    sheet = pillow.new("RGB", (width, head + max(p.shape[0] for p in pictures)), (255, 255, 255))
    draw, x = pen.Draw(sheet), 0
    for picture, title in zip(pictures, titles, strict=True):
        draw.text((x + 4, 2), title, fill=(0, 0, 0), font=font)
        sheet.paste(pillow.fromarray(picture), (x, head))
        x += picture.shape[1] + gap
    return np.array(sheet)


def save_png(path, picture):
    """Write an (H, W, 3) uint8 picture.

    At zlib's first level: a third of the time of Pillow's own, the sixth, for files a third larger.
    """
    with naming(path):
        extra("PIL.Image", "drawing predictions").fromarray(picture).save(path, compress_level=1)
