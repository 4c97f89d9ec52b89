"""Draws the figures of docs/family and docs/design/models.md into docs/images/family: `python docs/images/figures.py`.

A figure is boxes on a grid and arrows between them. A box is `"key column row text"`, with `|` for a new line, and
after the row perhaps a kind, which is a colour. An arrow is `"key > key"`, or `"key > key: text"`; it leaves at the
right and enters at the left where its end lies further right, down at once and up at last, and otherwise goes straight
down or up. Colours are readable on light and on dark pages: filled boxes with dark text, grey arrows.
"""

from html import escape
from pathlib import Path

WIDTH, HEIGHT, STEP_X, STEP_Y, MARGIN = 124, 46, 166, 76, 10
FILLS = {"plain": "#dde3ea", "data": "#f6f1d8", "box": "#cfe3f7", "branch": "#d3edd3", "choice": "#f7dccb"}
GREY, DARK = "#7b8794", "#1b2733"


def draw(spec):
    """The SVG of a figure."""
    boxes, arrows = {}, []
    for line in spec.strip().splitlines():
        if " > " in line:
            arrows.append(line.strip())
        else:
            key, column, row, rest = line.split(maxsplit=3)
            kind, _, text = rest.partition(" ")
            kind, text = (kind, text) if kind in FILLS else ("plain", rest)
            boxes[key] = (MARGIN + float(column) * STEP_X, MARGIN + float(row) * STEP_Y, kind, text.split("|"))
    parts = [arrow(boxes, line) for line in arrows] + [box(*place) for place in boxes.values()]
    width = max(x for x, *_ in boxes.values()) + WIDTH + MARGIN
    height = max(y for _, y, *_ in boxes.values()) + HEIGHT + MARGIN
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" font-family="system-ui, sans-serif" font-size="13">\n<defs><marker id="tip" '
            f'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0 8 4 0 8z" fill="{GREY}"/></marker></defs>\n' + "\n".join(parts) + "\n</svg>\n")


def box(x, y, kind, lines):
    middle = y + HEIGHT / 2 + 4 - 7.5 * (len(lines) - 1)
    texts = "".join(f'<text x="{x + WIDTH / 2:g}" y="{middle + 15 * row:g}" text-anchor="middle" fill="{DARK}">'
                    f'{escape(line)}</text>' for row, line in enumerate(lines))
    return (f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{FILLS[kind]}" '
            f'stroke="{GREY}"/>{texts}')


def arrow(boxes, line):
    ends, _, text = line.partition(":")
    start, end = ends.split(" > ")
    (x1, y1, *_), (x2, y2, *_) = boxes[start.strip()], boxes[end.strip()]
    if x2 >= x1 + WIDTH:
        x1, y1, y2 = x1 + WIDTH, y1 + HEIGHT / 2, y2 + HEIGHT / 2
        bend = x1 + (STEP_X - WIDTH) / 2 if y2 > y1 else x2 - (STEP_X - WIDTH) / 2
        points, at = [(x1, y1), (bend, y1), (bend, y2), (x2, y2)], (x1 + 3, y1 - 6)
    else:
        x1, y1, y2 = x1 + WIDTH / 2, y1 + HEIGHT * (y2 > y1), y2 + HEIGHT * (y2 < y1)
        points, at = [(x1, y1), (x1, y2)], (x1 + 5, (y1 + y2) / 2 + 4)
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    label = (f'<text x="{at[0]:g}" y="{at[1]:g}" font-size="11" fill="{GREY}">{escape(text.strip())}</text>'
             if text else "")
    return f'<polyline points="{path}" fill="none" stroke="{GREY}" stroke-width="1.5" marker-end="url(#tip)"/>{label}'


FIGURES = {
    "house": """
images 0 2.1 data images|and targets
transform 1 2.1 transform|parts/image
body 2 2.1 body|bodies/
neck 3 2.1 neck|necks/
proposer 4 2.1 proposer|proposals/
pooler 5 2.1 box pooler|roi/pooling
head 6 2.1 box box head|roi/box
selection 7 2.1 box selection|roi/selection
branch 7 3.2 branch branches|roi/mask, ...
finish 8 2.1 data finish|detections
sampler 5 1 box sampler|roi/samples
losses 6 1 data losses
dense 4 0 choice priors, one head|dense/
assembled 5 0 data detections,|masks of prototypes
pixels 4 3.2 choice heads of maps|segmentation/
classes 5 3.2 data classes of pixels,|segments
builders 0 4.3 choice builders.py
configs 1 4.3 choice configs/
build 2 4.3 choice build.py
detector 3 4.3 choice detectors/
weights 2 5.2 choice weights/
images > transform
transform > body
body > neck
neck > proposer
neck > dense
neck > pixels
dense > assembled
pixels > classes
proposer > pooler
pooler > head
head > selection
selection > finish
selection > branch
branch > finish
proposer > sampler
sampler > losses
head > losses
builders > configs
configs > build
build > detector
weights > detector
""",
    "mask_rcnn_fpn": """
image 0 1 data image
body 1 1 body|c2 to c5
fpn 2 1 pyramid|p2 to p6
rpn 3 0 proposer|RPN
pool 4 1 box RoIAlign|p2 to p5, 7 x 7
head 5 1 box two layers|of 1024
predictor 6 0.4 box class logits
deltas 6 1.6 box box deltas
selection 7 1 box selection|NMS per class
maskpool 4 2.6 branch RoIAlign|p2 to p5, 14 x 14
maskhead 5 2.6 branch four 3x3|of 256
mask 6 2.6 branch deconvolution|28 x 28 a class
image > body
body > fpn
fpn > rpn
fpn > pool
rpn > pool: proposals
pool > head
head > predictor
head > deltas
predictor > selection
deltas > selection
fpn > maskpool
maskpool > maskhead
maskhead > mask
""",
    "c4": """
image 0 1 data image
body 1 1 body|to c4, stride 16
rpn 2 0 proposer|RPN, 15 anchors
pool 3 1 box RoIAlign|14 x 14
res5 4 1 box res5 per box|7 x 7 x 2048
mean 5 0 box mean of cells
predictor 6 0 box class logits|and box deltas
mask 5 2 branch deconvolution|14 x 14 a class
image > body
body > rpn
body > pool: c4
rpn > pool: proposals
pool > res5
res5 > mean
mean > predictor
res5 > mask
""",
    "c5": """
image 0 1 data image
body 1 1 body|c5
rpn 2 0 proposer|RPN, 15 anchors
pool 3 1 box RoIAlign|7 x 7
head 4 1 box two layers|of 1024
predictor 5 1 box class logits|and box deltas
maskpool 3 2 branch RoIAlign|14 x 14
maskhead 4 2 branch four 3x3|of 256
mask 5 2 branch deconvolution|28 x 28 a class
dc5 0 2.2 choice DC5: stride 16|plain: 32
image > body
dc5 > body
body > rpn
body > pool: c5
rpn > pool: proposals
pool > head
head > predictor
body > maskpool
maskpool > maskhead
maskhead > mask
""",
    "vgg16": """
image 0 1 data image
body 1 1 VGG-16 to c4,|stride 16
rpn 2 0 proposer|RPN, 9 anchors
pool 3 1 box RoIPool|7 x 7
head 4 1 box two layers|of 4096
predictor 5 1 box class logits|and box deltas
image > body
body > rpn
body > pool
rpn > pool: proposals
pool > head
head > predictor
""",
    "keypoint_rcnn": """
fpn 0 1 body|and pyramid
rpn 1 0 proposer|RPN
boxes 2 1 box box stage|and selection
pool 3 1 branch RoIAlign|14 x 14
head 4 1 branch eight 3x3|of 512
deconv 5 1 branch deconvolution|28 x 28 a point
double 6 1 branch bilinear|56 x 56
point 7 0.4 data point: the|largest cell
loss 7 1.6 data loss: softmax|over the cells
mask 3 2 branch mask branch|where given
fpn > rpn
fpn > boxes
rpn > boxes: proposals
boxes > pool
boxes > mask
pool > head
head > deconv
deconv > double
double > point
double > loss
""",
    "segmenter": """
images 0 1 data images
body 1 1 body|c4 and c5, stride 8
head 2 0 branch classifier
aux 2 2 branch aux_classifier|in training
logits 3 0 bilinear to|the image
second 3 2 bilinear to|the image
classes 4 0 data classes|(H, W)
loss 4 1 data loss_semantic
auxloss 4 2 data loss_auxiliary
images > body
body > head: c5
body > aux: c4
head > logits
aux > second
logits > classes
logits > loss
second > auxloss
""",
    "fcn_skips": """
pool3 0 0 pool3|stride 8
pool4 0 1 pool4|stride 16
pool5 0 2 pool5|stride 32
fc 1 2 branch fc6, fc7|as convolutions
fr 2 2 branch score_fr
up2 3 2 branch upscore2
score4 2 1 branch score_pool4
add4 4 1 added
up4 5 1 branch upscore_pool4
score3 2 0 branch score_pool3
add3 6 0 added
up8 7 0 branch upscore8|bilinear, fixed
found 8 0 data logits|of every pixel
pool5 > fc
fc > fr
fr > up2
up2 > add4
pool4 > score4
score4 > add4
add4 > up4
up4 > add3
pool3 > score3
score3 > add3
add3 > up8
up8 > found
""",
    "pspnet": """
map 0 2 c5 of stride 8
one 1 0 branch mean, 1 x 1|1x1 convolution
two 1 1 branch mean, 2 x 2|1x1 convolution
three 1 3 branch mean, 3 x 3|1x1 convolution
six 1 4 branch mean, 6 x 6|1x1 convolution
cat 2 2 side by side|as large as c5
conv 3 2 branch 3x3|512 channels
last 4 2 branch 1x1
found 5 2 data logits
map > one
map > two
map > three
map > six
map > cat
one > cat
two > cat
three > cat
six > cat
cat > conv
conv > last
last > found
""",
    "semantic_fpn": """
p2 0 0 level of stride 4
p3 0 1 level of stride 8
p4 0 2 level of stride 16
p5 0 3 level of stride 32
c2 1 0 branch 3x3
c3 1 1 branch 3x3, x2
c4 1 2 branch 3x3, x2|twice
c5 1 3 branch 3x3, x2|three times
sum 2 1.5 added, or|side by side
last 3 1.5 branch predictor|1x1
found 4 1.5 data logits|of stride 4
p2 > c2
p3 > c3
p4 > c4
p5 > c5
c2 > sum
c3 > sum
c4 > sum
c5 > sum
sum > last
last > found
""",
    "panoptic_fpn": """
images 0 1 data images
pyramid 1 1 body and|pyramid
rpn 2 0 proposals
heads 3 0 box box head
masks 4 0 branch mask head
sem 2 2 branch sem_seg_head
up 3 2 bilinear to|the image
classes 4 2 data classes|thing, or which stuff
merge 5 1 choice merge
found 6 1 data panoptic,|segments
images > pyramid
pyramid > rpn
pyramid > sem
rpn > heads
heads > masks: by score
masks > merge: on top
sem > up
up > classes
classes > merge: the rest
merge > found
""",
    "cascade_rcnn": """
proposals 0 0 data proposals B0
pool1 1 0 box pool(B0)
head1 2 0 box stage 1: C1, B1|from IoU 0.5
pool2 3 1 box pool(B1)
head2 4 1 box stage 2: C2, B2|from IoU 0.6
pool3 5 2 box pool(B2)
head3 6 2 box stage 3: C3, B3|from IoU 0.7
score 7 0 data score: mean|of C1, C2, C3
boxes 7 2 data boxes B3
mask 7 3 branch mask of B3
proposals > pool1
pool1 > head1
head1 > pool2: B1
pool2 > head2
head2 > pool3: B2
pool3 > head3
head1 > score
head2 > score
head3 > score
head3 > boxes
boxes > mask
""",
    "iterative_integral": """
proposals 0 0 data proposals B0
pool1 1 0 box pool(B0)
head1 2 0 box the head
pool2 3 0 box pool(B1)
head2 4 0 box the same head
pool3 5 0 box pool(B2)
head3 6 0 box the same head
found1 7 0 data B3 and C3
again 0 1.8 data proposals B0
pool 1 1.8 box pool(B0)
head 2 1.8 box one head
c1 3 1.2 box class logits|from IoU 0.5
c2 3 1.9 box class logits|from IoU 0.6
c3 3 2.6 box class logits|from IoU 0.7
deltas 3 3.3 box box deltas
mean 4 1.9 data score: mean|of softmaxes
found2 4 3.3 data boxes B1
proposals > pool1
pool1 > head1
head1 > pool2: B1
pool2 > head2
head2 > pool3: B2
pool3 > head3
head3 > found1
again > pool
pool > head
head > c1
head > c2
head > c3
head > deltas
c1 > mean
c2 > mean
c3 > mean
deltas > found2
""",
    "htc": """
fpn 0 1 pyramid|p2 to p6
semantic 1 0 choice semantic branch|at stride 8
labels 2 0 data class of|each cell
b0 0 2 data proposals B0
box1 2 2 box box head 1
box2 4 2 box box head 2
box3 6 2 box box head 3
mask1 3 3 branch mask head 1
mask2 5 3 branch mask head 2
mask3 7 3 branch mask head 3
embedding 2 1 choice embedding,|added to pools
found 8 2 data boxes B3,|mean of scores
masks 8 3 data mean of M1,|M2 and M3
fpn > semantic
semantic > labels
semantic > embedding
b0 > box1: pool(B0)
box1 > box2: B1
box2 > box3: B2
box3 > found
box1 > mask1
box2 > mask2
box3 > mask3
mask1 > mask2: flow
mask2 > mask3: flow
mask3 > masks
embedding > box1
""",
    "mask_scoring_rcnn": """
boxes 0 0 box box stage|scores s
pool 1 1.8 branch RoIAlign|14 x 14 x 256
head 2 1 branch mask head
masks 3 1 branch masks|28 x 28
own 4 1 branch own class,|max of 2 x 2
concat 5 1.8 branch 14 x 14 x 257
convs 6 1.8 branch four 3x3,|last of stride 2
layers 7 1.8 branch two layers|of 1024
iou 8 1.8 branch IoU a class
score 8 0 data mask score|s times IoU
boxes > pool
boxes > score
pool > head
head > masks
masks > own
own > concat
pool > concat
concat > convs
convs > layers
layers > iou
iou > score
""",
    "yolact": """
images 0 1 data images|550 x 550
body 1 1 body c3, c4, c5
neck 2 1 neck P3 to P7
head 3 0 box head|for every prior
nms 4 0 box Fast NMS
found 5 0 data boxes, classes,|coefficients
proto 3 2 branch protonet|on P3
maps 4 2 branch 32 prototypes|138 x 138
product 5 1.2 branch sigmoid of|the product
crop 6 1.2 branch crop by box,|resize
masks 7 1.2 data masks
images > body
body > neck
neck > head
neck > proto
head > nms
nms > found
proto > maps
maps > product
found > product
product > crop
crop > masks
""",
    "rotated": """
image 0 1 data image
pyramid 1 1 body and|pyramid
rpn 2 0 proposer|RPN of three angles
pool 3 1 box rotated RoIAlign|7 x 7
head 4 1 box two layers|of 1024
logits 5 0.4 box class logits
deltas 5 1.6 box five deltas|dx dy dw dh da
selection 6 1 box selection|rotated NMS
boxes 7 1 data boxes|cx cy w h degrees
maskpool 3 2.6 branch rotated RoIAlign|14 x 14
maskhead 4 2.6 branch four 3x3,|deconvolution
mask 5 2.6 branch 28 x 28, in the|frame of the box
paste 7 2.6 data turned back|into the image
image > pyramid
pyramid > rpn
pyramid > pool
rpn > pool: proposals
pool > head
head > logits
head > deltas
logits > selection
deltas > selection
selection > boxes
pyramid > maskpool
maskpool > maskhead
maskhead > mask
mask > paste
boxes > paste
""",
    "choices": """
proposals 0 1 data proposals
sampler 1 0 choice sampler|balanced, OHEM
pooler 1 1 choice pooler|RoIAlign, ...
head 2 1 box box head
predictor 3 1 choice class-specific|or agnostic
selection 4 1 choice NMS, Soft, Fast,|Matrix
maskpool 2 2 choice pooler|RoIAlign, ...
maskhead 3 2 choice FCN or MLP
mask 4 2 choice sigmoid or|softmax
losses 2 0 data losses
found 5 1 data detections
proposals > sampler
proposals > pooler
sampler > losses
pooler > head
head > predictor
predictor > selection
selection > found
proposals > maskpool
maskpool > maskhead
maskhead > mask
mask > found
""",
}

if __name__ == "__main__":
    folder = Path(__file__).parent / "family"
    folder.mkdir(exist_ok=True)
    for name, spec in FIGURES.items():
        (folder / f"{name}.svg").write_text(draw(spec), encoding="utf-8")
