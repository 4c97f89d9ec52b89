"use strict";
const report = JSON.parse(document.getElementById("data").textContent);
const $ = (selector) => document.querySelector(selector);
const SVG = "http://www.w3.org/2000/svg";
const OUTCOMES = [["right", "#2fa35c"], ["wrong class", "#e0a000"], ["wrong place", "#3b8cff"],
  ["wrong class and place", "#a866e0"], ["found twice", "#00b3c4"], ["background", "#f04b50"],
  ["not judged", "#8a929a"], ["missed", "#ff4fa3"]];
const [RIGHT, UNJUDGED, MISSED] = [0, 6, 7];
const ERRORS = {
  classification: "an object of another class is there", localisation: "the object is there, but overlaps too little",
  both: "another class, and too little overlap", duplicate: "a surer detection has the object",
  background: "nothing is there", missed: "objects that no detection is about"};

// Elements: make("td", {class: "words"}, "text", child, ...); text is never read as HTML.
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}
function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
const colour = (number) => {
  const hue = (210 + number * 222.5) % 360;
  return `light-dark(hsl(${hue} 75% 42%), hsl(${hue} 80% 62%))`;
};
const shown = (value, digits = 3) => value === null || value === undefined || value < 0 ? "–" : value.toFixed(digits);

// A plot of lines {name, points, colour}; the y axis begins at 0 and ends at `top`, or above the highest point.
function plot(title, lines, top) {
  const [w, h, left, right, above, below] = [440, 250, 46, 8, 8, 30];
  const all = lines.flatMap((line) => line.points);
  const x0 = Math.min(0, ...all.map((p) => p[0])), x1 = Math.max(1e-9, ...all.map((p) => p[0]));
  const y0 = Math.min(0, ...all.map((p) => p[1])), y1 = top || Math.max(1e-9, ...all.map((p) => p[1])) * 1.05;
  const at = ([x, y]) => [left + (x - x0) / (x1 - x0) * (w - left - right),
    h - below - (y - y0) / (y1 - y0) * (h - above - below)];
  const picture = draw("svg", {class: "plot", viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": title});
  for (let k = 0; k <= 4; k++) {
    const [x, y] = [x0 + (x1 - x0) * k / 4, y0 + (y1 - y0) * k / 4];
    const [px, py] = at([x, y]);
    picture.append(draw("line", {class: "grid", x1: left, x2: w - right, y1: py, y2: py}),
      draw("text", {x: left - 5, y: py + 4, "text-anchor": "end"}, +y.toPrecision(2)),
      draw("text", {x: px, y: h - 12, "text-anchor": k === 4 ? "end" : "middle"}, +x.toPrecision(3)));
  }
  lines.forEach((line, k) => {
    const stroke = line.colour || colour(k);
    const points = line.points.map((p) => at(p).map((v) => v.toFixed(1)).join()).join(" ");
    picture.append(draw("polyline", {points, style: `stroke: ${stroke}`}, draw("title", {}, line.name)));
    if (line.points.length === 1) {
      const [cx, cy] = at(line.points[0]);
      picture.append(draw("circle", {cx, cy, r: 3, style: `fill: ${stroke}`}));
    }
  });
  const names = make("div", {class: "row small"}, ...lines.map((line, k) =>
    make("span", {style: `border-bottom: 3px solid ${line.colour || colour(k)}`}, line.name)));
  return make("figure", {}, make("figcaption", {}, title), picture, names);
}

// A table of rows of cells; a cell is a word, a count, a figure as [0.5], or an element. Heads sort.
function table(heads, rows) {
  const body = make("tbody");
  const value = (cell) => Array.isArray(cell) ? cell[0] ?? -1 : cell instanceof Node ? cell.textContent : cell;
  const kindOf = (cell) => typeof cell === "string" || cell instanceof Node ? {class: "words"} : {};
  const show = () => body.replaceChildren(...rows.map((row) => make("tr", {}, ...row.map((cell) =>
    make("td", kindOf(cell), Array.isArray(cell) ? shown(cell[0]) : cell)))));
  const cells = heads.map((head, k) => {
    const cell = make("th", {"data-sort": "", ...kindOf(rows.length ? rows[0][k] : 0)}, head);
    let down = true;
    cell.onclick = () => {
      rows.sort((a, b) => (value(a[k]) > value(b[k]) ? 1 : value(a[k]) < value(b[k]) ? -1 : 0) * (down ? -1 : 1));
      down = !down;
      show();
    };
    return cell;
  });
  show();
  return make("table", {}, make("thead", {}, make("tr", {}, ...cells)), body);
}

function heat(counts, names, from) {
  const largest = Math.max(1, ...counts.map((row, a) => Math.max(...row.filter((_, p) => p !== a))));
  const head = make("tr", {}, make("th", {}, from), ...names.map((name) => make("th", {title: name}, name)));
  return make("table", {class: "matrix"}, make("thead", {}, head), make("tbody", {}, ...counts.map((row, a) =>
    make("tr", {}, make("th", {title: names[a]}, names[a]), ...row.map((count, p) => {
      const tint = p === a ? "47 163 92" : "240 75 80";
      const part = p === a ? (count ? .35 : 0) : Math.min(.75, count / largest * .75);
      return make("td", {style: `background: rgb(${tint} / ${part})`, title: `${names[a]} → ${names[p]}: ${count}`},
        count ? String(count) : "·");
    })))));
}

function showScores() {
  const kinds = Object.entries(report.scores), parts = [];
  const names = new Set(kinds.flatMap(([, figures]) =>
    Object.keys(figures).filter((name) => typeof figures[name] === "number")));
  if (kinds.length)
    parts.push(table(["", ...names], kinds.map(([kind, figures]) => [kind, ...[...names].map((n) => [figures[n]])])));
  for (const [kind, figures] of Object.entries(report.scores))
    if (figures.per_class && !report.analyses[kind])
      parts.push(table([kind, ""], Object.entries(figures.per_class).map(([name, value]) => [name, [value]])));
  $("#scores .wide").replaceChildren(...parts);
  $("#scores").hidden = !parts.length;
}

function showTraining() {
  $("#training dl").replaceChildren(...report.facts.flatMap(([name, words]) =>
    [make("dt", {}, name), make("dd", {}, words)]));
  $("#training .plots").replaceChildren(...report.curves.map(({title, lines}) =>
    plot(title, lines, title.startsWith("score") ? 1 : undefined)));
  $("#training").hidden = !report.facts.length && !report.curves.length;
}

function showAnalysis() {
  const kinds = Object.keys(report.analyses);
  $("#analysis").hidden = !kinds.length;
  if (!kinds.length) return;
  const last = kinds[kinds.length - 1];
  $("#kind").replaceChildren(...kinds.map((kind) => new Option(kind, kind, kind === last, kind === last)));
  const ious = report.analyses[last].ious.map((iou, k) => [iou.toFixed(2), k]);
  for (const part of ["#precision", "#confusion"]) {
    const first = report.analyses[last].ious.indexOf(report.analyses[last].iou);
    $(`${part} select`).replaceChildren(...ious.map(([text, k]) => new Option(text, k, k === first, k === first)));
    $(`${part} select`).onchange = part === "#precision" ? showPrecision : showConfusion;
  }
  $("#kind").onchange = () => [showErrors, showClasses, showPrecision, showConfusion].forEach((show) => show());
  $("#kind").onchange();
}
const analysis = () => report.analyses[$("#kind").value];

function showErrors() {
  const {kinds, AP50} = analysis().errors;
  const most = Math.max(1e-9, ...Object.values(kinds).map((kind) => kind.cost));
  const rows = Object.entries(kinds).map(([name, {count, cost}]) => [name, ERRORS[name], count, [cost],
    make("span", {class: "bar", style: `width: ${Math.max(0, cost / most) * 160}px`})]);
  $("#errors .wide").replaceChildren(table(["kind", "what it is", "number", "costs AP50", ""], rows),
    make("p", {class: "small"}, `AP50 is ${shown(AP50)}; each cost is what it would be higher by without that kind.`));
}

function showClasses() {
  const heads = ["class", "objects", "detections", "AP", "AP50", "AP75", "recall", "best score", "F1 there",
    "precision there", "recall there"];
  $("#table .wide").replaceChildren(table(heads, analysis().classes.map((c) => [c.name, c.objects, c.detections,
    ...[c.AP, c.AP50, c.AP75, c.recall].map((figure) => [figure]),
    ...["score", "f1", "precision", "recall"].map((name) => [c.best && c.best[name]])])));
}

function showPrecision() {
  const at = +$("#precision select").value, {classes, recalls} = analysis();
  const drawn = classes.map((c, k) => ({...c, k})).filter((c) => c.precision);
  const line = (name, values, tint) => ({name, colour: tint, points: recalls.map((r, k) => [r, values[k]])});
  const most = [...drawn].sort((a, b) => b.objects - a.objects).slice(0, 10);
  const lines = most.map((c) => line(c.name, c.precision[at], colour(c.k)));
  if (drawn.length > 1)
    lines.push(line(`mean of ${drawn.length} classes`, recalls.map((_, r) =>
      drawn.reduce((sum, c) => sum + c.precision[at][r], 0) / drawn.length), "var(--text)"));
  const title = "precision over recall" + (drawn.length > 10 ? ", the 10 classes with most objects" : "");
  $("#precision .plots").replaceChildren(plot(title, lines, 1));
}

function showConfusion() {
  const {classes, confusion} = analysis(), counts = confusion.counts[+$("#confusion select").value];
  const nothing = classes.length, wrong = new Map();
  for (const [a, p, n] of counts)
    if (a !== p) for (const k of [a, p]) wrong.set(k, (wrong.get(k) || 0) + n);
  const named = classes.map((_, k) => k).sort((a, b) => (wrong.get(b) || 0) - (wrong.get(a) || 0)).slice(0, 30);
  const listed = [...named.sort((a, b) => a - b), nothing];
  const place = new Map(listed.map((k, at) => [k, at]));
  const square = listed.map(() => listed.map(() => 0));
  for (const [a, p, n] of counts) if (place.has(a) && place.has(p)) square[place.get(a)][place.get(p)] = n;
  $("#confusion .small").textContent = `rows are annotated, columns predicted with a score of at least `
    + `${confusion.score_threshold}` + (classes.length > 30 ? "; the 30 classes with most errors" : "");
  $("#confusion .wide").replaceChildren(
    heat(square, listed.map((k) => k === nothing ? "background" : classes[k].name), "annotated"));
}

function showPixels() {
  $("#pixels").hidden = !report.pixels;
  if (report.pixels) $("#pixels .wide").replaceChildren(
    heat(report.pixels.matrix, report.pixels.names.slice(0, report.pixels.matrix[0].length), "annotated"));
}

// The pictures. A detection is [class, score, outcome, place of its object, path], an object [class, score of the
// detection that found it, whether it is not judged, path]; paths are in half pixels.
let items = [], at = 0, view = [0, 0, 1, 1];  // what is seen of the picture: x, y, width, height
const off = new Set();
const sides = [$("#found"), $("#known")];

function showPictures() {
  $("#pictures").hidden = !report.pictures || !report.pictures.items.length;
  if ($("#pictures").hidden) return;
  const {floor, total} = report.pictures;
  const highest = Math.max(1, ...report.pictures.items.map((i) => i.found.length ? i.found[0][1] : 0));
  fill($("#score"), {min: floor, max: highest}, []);
  $("#score").value = report.score_threshold;
  $("#kept").textContent = `Detections of a score below ${floor} are not drawn`
    + (total > report.pictures.items.length ? `; ${report.pictures.items.length} of ${total} pictures are here.` : ".");
  const names = report.analyses[report.pictures.kind].classes.map((c) => c.name);
  if (names.length > 1) $("#classes").append(...names.map((name, k) => {
    const box = make("input", {type: "checkbox", checked: ""});
    box.onchange = () => { box.checked ? off.delete(k) : off.add(k); showObjects(); };
    return make("label", {style: `--own: ${colour(k)}`}, box, " ", name);
  }), ...[["all", true], ["none", false]].map(([word, on]) => {
    const button = make("button", {type: "button"}, word);
    button.onclick = () => document.querySelectorAll("#classes input").forEach((box) => {
      box.checked = on;
      box.onchange();
    });
    return button;
  }));
  $("#order").onchange = sortPictures;
  $("#score").oninput = $("#colours").onchange = showObjects;
  $("#previous").onclick = () => go(at - 1);
  $("#next").onclick = () => go(at + 1);
  document.addEventListener("keydown", (event) => {
    const keys = {ArrowRight: () => go(at + 1), j: () => go(at + 1), ArrowLeft: () => go(at - 1), k: () => go(at - 1),
      "+": () => zoom(.8), "-": () => zoom(1.25), 0: () => look([0, 0, ...items[at].size])};
    const inField = event.key.startsWith("Arrow") && event.target.matches("[type=range], select");
    if (!keys[event.key] || inField || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  for (const side of sides) {
    side.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;  // pinching is told so, too
      event.preventDefault();
      zoom(Math.exp(event.deltaY * .004), new DOMPoint(event.clientX, event.clientY).matrixTransform(
        side.getScreenCTM().inverse()));
    }, {passive: false});
    side.onpointermove = (event) => {
      if (event.buttons !== 1) return;
      const scale = side.getScreenCTM().a;
      look([view[0] - event.movementX / scale, view[1] - event.movementY / scale, view[2], view[3]]);
    };
  }
  sortPictures();
}

function sortPictures() {
  items = [...report.pictures.items];
  if ($("#order").value === "place") items.sort((a, b) => a.place - b.place);
  $("#strip").replaceChildren(...items.map((item, k) => {
    const button = make("button", {type: "button", title: item.name});
    if (item.thumb) button.append(make("img", {src: item.thumb, alt: "", loading: "lazy", decoding: "async"}));
    button.onclick = () => go(k);
    return button;
  }));
  go(0);
}

function look(part) {
  view = part;
  for (const side of sides) side.setAttribute("viewBox", view.join(" "));
}

// See `factor` times as much, the point staying where it is; the middle by default.
function zoom(factor, {x, y} = {x: view[0] + view[2] / 2, y: view[1] + view[3] / 2}) {
  look([x - (x - view[0]) * factor, y - (y - view[1]) * factor, view[2] * factor, view[3] * factor]);
}

function go(to) {
  const buttons = $("#strip").children;
  if (buttons[at]) buttons[at].removeAttribute("aria-current");
  at = (to + items.length) % items.length;
  buttons[at].setAttribute("aria-current", "true");
  $("#strip").scrollLeft = buttons[at].offsetLeft - $("#strip").offsetLeft - $("#strip").clientWidth / 2;
  const item = items[at], [width, height] = item.size;
  $("#where").textContent = `${at + 1} of ${items.length}: ${item.name}`;
  $("#fault").textContent = item.fault || "";
  look([0, 0, width, height]);
  for (const side of sides) {
    const images = [item.thumb, item.full].filter(Boolean).map((href) =>
      draw("image", {href, width, height, preserveAspectRatio: "none"}));
    side.replaceChildren(...images, draw("g", {transform: "scale(.5)"}));
  }
  showObjects();
}

function showObjects() {
  const least = +$("#score").value, item = items[at];
  $("#least").textContent = least.toFixed(2);
  const names = report.analyses[report.pictures.kind].classes.map((c) => c.name);
  const byClass = $("#colours").value === "class", counts = OUTCOMES.map(() => 0);
  const outline = (label, outcome, words, d, key) => {
    const style = `--own: ${byClass ? colour(label) : OUTCOMES[outcome][1]}`;
    const path = draw("path", {d, style, "data-key": key, class: outcome === UNJUDGED ? "unjudged" : ""},
      draw("title", {}, `${names[label]}${words}: ${OUTCOMES[outcome][0]}`));
    path.onmouseenter = path.onmouseleave = (event) => document.querySelectorAll("#pair path").forEach((other) =>
      other.classList.toggle("hot", event.type === "mouseenter" && other.dataset.key === key));
    return path;
  };
  const found = item.found.map((detection, k) => [detection, k]).filter(([[label, score]]) =>
    score >= least && !off.has(label)).map(([[label, score, outcome, about, d], k]) => {
    counts[outcome]++;
    return outline(label, outcome, ` ${score.toFixed(2)}`, d, about < 0 ? `found${k}` : `known${about}`);
  });
  const known = item.known.map((object, k) => [object, k]).filter(([[label]]) => !off.has(label))
    .map(([[label, score, unjudged, d], k]) => {
      const outcome = unjudged ? UNJUDGED : score > 0 && score >= least ? RIGHT : MISSED;
      if (outcome === MISSED) counts[MISSED]++;
      return outline(label, outcome, "", d, `known${k}`);
    });
  $("#found g").replaceChildren(...found.reverse());  // the surest on top
  $("#known g").replaceChildren(...known);
  $("#counts").textContent = `${found.length} predicted, ${counts[RIGHT]} of them right; `
    + `${known.length} annotated, ${counts[MISSED]} of them missed`;
  $("#legend").replaceChildren(...(byClass ? [] : OUTCOMES.map(([name, own], k) =>
    make("span", {style: `--own: ${own}`}, `${counts[k]} ${name}`))));
}

$("#theme").onclick = () => {
  const root = document.documentElement;
  const prefers = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.style.colorScheme = (root.style.colorScheme || prefers) === "dark" ? "light" : "dark";
};
document.title = `${report.title}: report`;
$("#title").textContent = report.title;
[showScores, showTraining, showPictures, showAnalysis, showPixels].forEach((show) => show());
