// The left panel: the pictures and numbers of the model that runs, from /model-info. What a model does not tell is left out.

import { colour } from "./heatmap.js";
import { fill, scale, shape, text, tile } from "./figures.js";
import { signed } from "./stage.js";
import { limit, lower, percent, title } from "./words.js";

const BACKBONES = { mobilenet_v2: "MobileNetV2", resnet18: "ResNet-18", resnet50: "ResNet-50", densenet121: "DenseNet-121" };
const SPLITS = { train: "to learn", val: "to choose", shifted: "to calibrate", test: "to test" };
const WIDTH = 336;
const SHOWN_FILTERS = 24;
const $ = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");

let info = null;

export const backboneName = (known) => BACKBONES[known.backbone] ?? known.backbone;

export function explain(known) {
  info = known;
  const borrowed = !/^(none|random)/.test(info.weights);
  fillWords(words(borrowed));
  document.querySelectorAll("[data-if]").forEach((p) => (p.hidden = (p.dataset.if === "borrowed") !== borrowed));
  const { anatomy, test } = info.metrics;
  part("figure-filters", anatomy?.filters, () => filters(anatomy.filters, borrowed));
  part("figure-stages", anatomy?.stages?.length, () => stages(anatomy));
  part("figure-data", info.data?.splits, data);
  part("figure-reliability", test?.reliability, () => reliability(null));
  part("figure-scores", test?.histogram, scores);
  part("table-points", test?.at, points);
  weak();
  sum(example(), true);
}

// The image that is shown, in the figures that can carry it.
export function showInFigures(prediction) {
  const p = prediction?.probabilities[info.positive] ?? null;
  if (info.metrics.test?.reliability) reliability(p);
  if (prediction) sum(prediction.heatmap, false);
}

function part(id, known, draw) {
  $(id).closest("figure, table").hidden = !known;
  if (known) draw();
}

function fillWords(found) {
  for (const place of document.querySelectorAll("[data-fill]")) {
    const words = found[place.dataset.fill];
    if (words !== undefined) place.textContent = words;
  }
}

function words(borrowed) {
  const variant = info.variants[info.running.variant];
  const negative = info.labels.find((label) => label !== info.positive);
  const { anatomy, test, heatmaps, fit } = info.metrics;
  const head = anatomy?.head_parameters;
  const frozen = fit?.histories?.[fit.kept_seed ?? 0]?.[0];
  const total = anatomy?.stages?.reduce((sum, stage) => sum + stage.parameters, 0);
  return {
    positive: lower(info.positive),
    Positive: title(info.positive),
    Negative: title(negative),
    name: info.name,
    backbone: backboneName(info),
    temperature: variant.temperature.toFixed(2),
    bias: signed(variant.bias),
    grid: info.heatmap.grid.join(" × "),
    people: `Chest X-rays${info.ages ? ` of children of ${info.ages[0]} to ${info.ages[1]} years` : ""}`,
    source: info.data?.source ? `Data: ${info.data.source}. Model made ${info.created}.` : `Model made ${info.created}.`,
    frozen: borrowed && frozen?.val_auroc ? `Here: with everything frozen but the head, the area under the ROC curve on validation images was ${frozen.val_auroc.toFixed(3)}; after fine-tuning it is ${info.metrics.val.auroc.value.toFixed(3)}.` : "",
    "caption-stages": anatomy?.stages?.length ? `${number(total)} weights in ${anatomy.stages.length} stages, from the image (left) to the head. Fill: how far fine-tuning moved each. Only the head, ${number(head)} weights, is new.` : "",
    "caption-filters": filterWords(anatomy, borrowed),
    "caption-data": info.data?.splits ? `${number(splitNames().flatMap((name) => Object.values(info.data.splits[name])).reduce((a, b) => a + b, 0))} images${info.data.patients && !info.data.without_patient ? ", cut by patient: nobody is in two rows" : ""}.` : "",
    "caption-reliability": test?.reliability ? `Dots on the line would be perfect. ${test.images} test images in ${test.reliability.length} groups; expected calibration error ${(100 * test.ece).toFixed(1)} points.` : "",
    "caption-scores": test?.histogram ? `Scores of ${test.images} test images. ${test.uncertain} fell between the limits. Heights are square roots, so that few can be seen beside many.` : "",
    "how-often": oftenWords(test, negative),
    border: heatmaps?.border ? `Here ${percent(heatmaps.border.share)} % of the evidence lies in the outermost cells, which are ${percent(heatmaps.border.if_even)} % of the picture.` : "",
  };
}

function filterWords(anatomy, borrowed) {
  if (!anatomy?.filters) return "";
  const [count, height, width] = anatomy.filters.shape;
  const moved = anatomy.stages?.[0] ? ` They moved by ${(100 * anatomy.stages[0].change).toFixed(1)} %.` : "";
  return `The ${Math.min(count, SHOWN_FILTERS)} most patterned of ${count} filters, ${height} × ${width} pixels, ${borrowed ? "as borrowed and after X-rays" : "at random and after X-rays"}.${moved}`;
}

function oftenWords(test, negative) {
  if (!test?.at) return "How often it is right was not measured.";
  const { tp, fn, fp, tn } = test.at.balanced;
  const positive = lower(info.positive);
  return `Of 100 test images with ${positive} it calls ${percent(tp / (tp + fn))} ${positive}; of 100 ${lower(negative)} ones it wrongly calls ${percent(fp / (fp + tn))} ${positive} (n = ${test.images}). Area under the ROC curve: ${test.auroc.value.toFixed(3)} (${test.auroc.interval.map((end) => end.toFixed(3)).join("–")}).`;
}

// The most patterned ones: some filters of a trained network are nearly blank.
function mostPatterned({ shape: [count, height, width], after }) {
  const bytes = bytesOf(after);
  const contrast = (index) => {
    const levels = bytes.subarray(index * width * height, (index + 1) * width * height);
    return Math.max(...levels) - Math.min(...levels);
  };
  const chosen = Array.from({ length: count }, (_, index) => index).sort((a, b) => contrast(b) - contrast(a));
  return chosen.slice(0, SHOWN_FILTERS).sort((a, b) => a - b);
}

const bytesOf = (encoded) => Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));

function filters(all, borrowed) {
  const { shape: [, height, width], before, after } = all;
  const chosen = mostPatterned(all);
  const rows = [[borrowed ? "Borrowed" : "Random", before], ["After X-rays", after]].map(([name, encoded]) => {
    const bytes = bytesOf(encoded);
    const row = document.createElement("div");
    const tiles = chosen.map((index) => tile(bytes.subarray(index * width * height, (index + 1) * width * height), width, height));
    const heading = document.createElement("p");
    heading.textContent = name;
    row.append(heading, ...tiles);
    row.setAttribute("role", "img");
    row.setAttribute("aria-label", `${name}: first filters, as grey tiles`);
    return row;
  });
  $("figure-filters").replaceChildren(...rows);
}

function stages({ stages: all }) {
  const gap = 3;
  const head = 46;
  const width = (WIDTH - head) / all.length - gap;
  const most = Math.max(...all.map((stage) => stage.change));
  const [top, height] = [26, 104];
  const boxes = all.map((stage, index) => {
    const x = index * (width + gap);
    const filled = Math.max(1, (height * stage.change) / most);
    return [
      shape("rect", { x, y: top, width, height, class: "box" }),
      shape("rect", { x, y: top + height - filled, width, height: filled, class: "moved" }),
    ];
  });
  const x = WIDTH - head + gap;
  fill("figure-stages", `How far each of ${all.length} stages moved in fine-tuning: the first ${(100 * all[0].change).toFixed(1)} %, the last ${(100 * all.at(-1).change).toFixed(1)} %; the head is new`, [
    boxes,
    shape("rect", { x, y: top, width: head - gap, height, class: "new" }),
    text(x + (head - gap) / 2, top + height / 2 + 5, "new", { class: "on-new", "text-anchor": "middle" }),
    text(0, 16, `${(100 * all[0].change).toFixed(1)} %`),
    text(WIDTH - head - gap, 16, `${(100 * all.at(-1).change).toFixed(1)} % moved`, { "text-anchor": "end" }),
    text(0, top + height + 20, "edges, stripes"),
    text(WIDTH, top + height + 20, "shapes → head", { "text-anchor": "end" }),
  ]);
}

const splitNames = () => Object.keys(SPLITS).filter((name) => info.data.splits[name]);

function data() {
  const names = splitNames();
  const most = Math.max(...names.map((name) => Object.values(info.data.splits[name]).reduce((a, b) => a + b, 0)));
  const wide = scale([0, most], [0, WIDTH - 96]);
  const rows = names.map((name, index) => {
    const y = 32 + 36 * index;
    let x = 92;
    const bars = info.labels.map((label) => {
      const images = info.data.splits[name][label] ?? 0;
      const bar = shape("rect", { x, y, width: Math.max(1, wide(images) - 1), height: 20, class: label === info.positive ? "for" : "against" });
      x += wide(images);
      return bar;
    });
    const total = Object.values(info.data.splits[name]).reduce((a, b) => a + b, 0);
    const inside = x > WIDTH - 60;
    return [text(0, y + 15, SPLITS[name]), bars, text(inside ? x - 8 : x + 6, y + 15, number(total), inside ? { class: "on-bar", "text-anchor": "end" } : {})];
  });
  const key = info.labels.map((label, index) => [
    shape("rect", { x: 92 + 110 * index, y: 4, width: 12, height: 12, class: label === info.positive ? "for" : "against" }),
    text(110 + 110 * index, 15, title(label)),
  ]);
  fill("figure-data", `Images by split: ${names.map((name) => `${SPLITS[name]} ${Object.entries(info.data.splits[name]).map(([label, n]) => `${n} ${lower(label)}`).join(", ")}`).join("; ")}`, [key, rows]);
}

function reliability(current) {
  const { reliability: groups } = info.metrics.test;
  const { screening, rule_in } = info.thresholds;
  const x = scale([0, 1], [40, 328]);
  const y = scale([0, 1], [228, 8]);
  const ticks = [0, 0.5, 1].map((value) => [text(x(value), 246, `${100 * value} %`, { "text-anchor": "middle" }), text(34, y(value) + 5, 100 * value, { "text-anchor": "end" })]);
  const here = current !== null && [
    shape("path", { d: `M${x(current)} 8V228`, class: "here" }),
    text(Math.min(270, Math.max(90, x(current))), 274, `▲ this image: ${percent(current)} %`, { class: "here-words", "text-anchor": "middle" }),
  ];
  fill("figure-reliability", `Predicted against observed share of ${lower(info.positive)}: ${groups.map((group) => `${percent(group.probability)} % predicted, ${percent(group.observed)} % observed`).join("; ")}`, [
    shape("rect", { x: x(screening), y: 8, width: x(rule_in) - x(screening), height: 220, class: "zone" }),
    text((x(screening) + x(rule_in)) / 2, 24, "uncertain", { "text-anchor": "middle", class: "zone-words" }),
    shape("path", { d: `M40 8V228H328`, class: "axis" }),
    shape("path", { d: `M40 228L328 8`, class: "diagonal" }),
    groups.map((group) => shape("circle", { cx: x(group.probability), cy: y(group.observed), r: 4 + group.images / 24, class: "dot" })),
    ticks,
    here || text(184, 266, "score of the model →", { "text-anchor": "middle" }),
    text(48, 60, "↑ came true, %"),
  ]);
}

function scores() {
  const { histogram } = info.metrics.test;
  const { screening, rule_in } = info.thresholds;
  const x = scale([0, 1], [4, 332]);
  const bins = histogram.positive.length;
  const tall = scale([0, Math.sqrt(Math.max(...histogram.positive, ...histogram.negative))], [0, 82]);
  const bars = (counts, name, up) =>
    counts.map((count, index) => count > 0 && shape("rect", { x: x(index / bins) + 1, width: 328 / bins - 2, y: up ? 96 - tall(Math.sqrt(count)) : 100, height: tall(Math.sqrt(count)), class: name }));
  const lines = [screening, rule_in].map((value, index) => [
    shape("path", { d: `M${x(value)} 8V190`, class: "limit" }),
    text(x(value) + (index || value < 0.15 ? 4 : -4), 206, `${limit(value)} %`, { "text-anchor": index || value < 0.15 ? "start" : "end" }),
  ]);
  fill("figure-scores", `Histogram of test scores: ${histogram.positive.at(-1)} of ${histogram.positive.reduce((a, b) => a + b)} with ${lower(info.positive)} in the highest twentieth, ${histogram.negative[0]} of ${histogram.negative.reduce((a, b) => a + b)} without in the lowest`, [
    shape("rect", { x: x(screening), y: 8, width: x(rule_in) - x(screening), height: 182, class: "zone" }),
    bars(histogram.positive, "for", true),
    bars(histogram.negative, "against", false),
    shape("path", { d: "M4 98H332", class: "axis" }),
    lines,
    text(168, 40, `with ${lower(info.positive)}`, { "text-anchor": "middle" }),
    text(168, 170, "without", { "text-anchor": "middle" }),
    text(4, 226, "score 0"),
    text(332, 226, "100 %", { "text-anchor": "end" }),
  ]);
}

function points() {
  const { at, images } = info.metrics.test;
  const table = $("table-points");
  const row = (cells, tag) => {
    const line = document.createElement("tr");
    cells.forEach((words, index) => {
      const cell = document.createElement(index && tag === "td" ? "td" : "th");
      cell.scope = index && tag === "td" ? "" : tag === "td" ? "row" : "col";
      if (!cell.scope) cell.removeAttribute("scope");
      cell.textContent = words;
      line.append(cell);
    });
    return line;
  };
  const caption = document.createElement("caption");
  caption.textContent = `Of ${images} test images, at each limit`;
  const names = { screening: "Screening", balanced: "Balanced", rule_in: "Rule-in" };
  table.replaceChildren(
    caption,
    row(["Limit", "found", "missed", "false alarm"], "th"),
    ...Object.entries(names).map(([key, name]) => row([`${name} ${limit(info.thresholds[key])} %`, at[key].tp, at[key].fn, at[key].fp], "td")),
  );
}

// The subgroup and the alteration that the model minds most.
function weak() {
  const groups = Object.entries(info.metrics.subgroups ?? {}).filter(([, group]) => group.right);
  const altered = Object.entries(info.metrics.robustness ?? {}).filter(([name]) => name !== "as they are");
  const worst = groups.sort(([, a], [, b]) => a.right.value - b.right.value)[0];
  const hardest = altered.sort(([, a], [, b]) => right(a) - right(b))[0];
  const sentences = [
    worst && `Weakest group: ${worst[0].toLowerCase()}, ${percent(worst[1].right.value)}\u00a0% right (n = ${worst[1].images}).`,
    hardest && `Hardest alteration of an image: ${hardest[0]}, where of 100 ${lower(info.labels.find((label) => label !== info.positive))} ones ${percent(hardest[1].specificity.value)} are called right.`,
  ];
  $("weak").textContent = sentences.filter(Boolean).join(" ");
}

const right = ({ sensitivity, specificity }) => sensitivity.value + specificity.value;

// Any grid of numbers that shows the sum at work, until an image has one of its own.
function example() {
  const [rows, columns] = info.heatmap.grid;
  const spot = (y, x) => 1.2 * Math.exp(-((y - 0.66) ** 2 + (x - 0.25) ** 2) / 0.03) - 0.25;
  const values = Array.from({ length: rows }, (_, y) => Array.from({ length: columns }, (_, x) => info.heatmap.scale * spot((y + 0.5) / rows, (x + 0.5) / columns)));
  return { values, scale: info.heatmap.scale, grid: info.heatmap.grid };
}

function sum({ values, scale: full, grid: [rows, columns] }, isExample) {
  const side = Math.min(WIDTH / columns, 308 / rows);
  const { bias } = info.variants[info.running.variant];
  const flat = values.flat();
  const mean = flat.reduce((a, b) => a + b, 0) / flat.length;
  const p = 1 / (1 + Math.exp(-(mean + bias)));
  const left = (WIDTH - side * columns) / 2;
  const cells = values.map((row, y) =>
    row.map((value, x) => {
      const t = Math.max(-1, Math.min(1, value / full));
      const strength = 0.9 * Math.min(1, Math.abs(t) / 0.5);
      return [
        shape("rect", { x: left + x * side, y: 24 + y * side, width: side - 1, height: side - 1, fill: `rgb(${colour(t)})`, "fill-opacity": strength.toFixed(2) }),
        columns <= 8 && text(left + (x + 0.5) * side, 24 + (y + 0.5) * side + 5, signed(value).replace(/\.\d$/, (part) => (Math.abs(value) < 10 ? part : "")), { "text-anchor": "middle" }),
      ];
    }),
  );
  const line = `mean ${signed(mean)}  shift ${signed(bias)}  =  ${signed(mean + bias)}`;
  fill("figure-sum", `${isExample ? "An example" : "This image"}: ${line}, score ${percent(p)} percent`, [
    text(0, 15, isExample ? "Example, not an image" : "The image that is shown now", { class: "strong" }),
    cells,
    text(WIDTH / 2, 358, line, { "text-anchor": "middle" }),
    text(WIDTH / 2, 386, `→ score ${percent(p)} %`, { "text-anchor": "middle", class: "strong" }),
  ]);
  document.querySelector("[data-fill=caption-sum]").textContent = `${flat.length} numbers, one for each place, in logits: above zero for ${lower(info.positive)}, below against.`;
}
