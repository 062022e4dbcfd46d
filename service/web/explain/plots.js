// The pictures of the explanation, drawn from /model-info (`info`).

import { colour, fade } from "../viewer/heatmap.js";
import { fill, scale, shape, text, tile } from "./figures.js";
import { hasZone, limit, lower, percent, signed, title } from "../words.js";

export const SHOWN_FILTERS = 24;
const SPLITS = { train: "to learn", val: "to choose", shifted: "to calibrate", test: "to test" };
const WIDTH = 336;
const STRONGEST = 0.9; // opacity of a cell at the end of the scale
const $ = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");
const sum = (values) => values.reduce((a, b) => a + b, 0);

export const splitNames = (info) => Object.keys(SPLITS).filter((name) => info.data.splits[name]);

// Chooses the filters with the most contrast, since some are nearly blank.
export function mostPatterned({ shape: [count, height, width], after }) {
  const bytes = bytesOf(after);
  const contrast = (index) => {
    const levels = bytes.subarray(index * width * height, (index + 1) * width * height);
    return Math.max(...levels) - Math.min(...levels);
  };
  const chosen = Array.from({ length: count }, (_, index) => index).sort((a, b) => contrast(b) - contrast(a));
  return chosen.slice(0, SHOWN_FILTERS).sort((a, b) => a - b);
}

export const bytesOf = (encoded) => Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));

// Both rows, or the first alone where nothing moved the filters.
export function filters(all, borrowed, tuned) {
  const { shape: [, height, width], before, after } = all;
  const chosen = mostPatterned(all);
  const states = [[borrowed ? "Borrowed" : "Random", before], ["After X-rays", after]];
  const rows = states.slice(0, tuned ? 2 : 1).map(([name, encoded]) => {
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

export function stages({ stages: all }) {
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

export function data(info) {
  const names = splitNames(info);
  const most = Math.max(...names.map((name) => sum(Object.values(info.data.splits[name]))));
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
    const total = sum(Object.values(info.data.splits[name]));
    const inside = x > WIDTH - 60;
    return [text(0, y + 15, SPLITS[name]), bars, text(inside ? x - 8 : x + 6, y + 15, number(total), inside ? { class: "on-bar", "text-anchor": "end" } : {})];
  });
  const key = info.labels.map((label, index) => [
    shape("rect", { x: 92 + 110 * index, y: 4, width: 12, height: 12, class: label === info.positive ? "for" : "against" }),
    text(110 + 110 * index, 15, title(label)),
  ]);
  fill("figure-data", `Images by split: ${names.map((name) => `${SPLITS[name]} ${Object.entries(info.data.splits[name]).map(([label, n]) => `${n} ${lower(label)}`).join(", ")}`).join("; ")}`, [key, rows]);
}

// current: the probability of the current image, or null.
export function reliability(info, current) {
  const { reliability: groups } = info.metrics.test;
  const { screening, rule_in } = info.thresholds;
  const x = scale([0, 1], [40, 328]);
  const y = scale([0, 1], [228, 24]);
  const ticks = [0, 0.5, 1].map((value) => [text(value === 1 ? WIDTH : x(value), 246, `${100 * value} %`, { "text-anchor": value === 1 ? "end" : "middle" }), text(34, y(value) + 5, 100 * value, { "text-anchor": "end" })]);
  const here = current !== null && [
    shape("path", { d: `M${x(current)} 24V256`, class: "here" }),
    text(...(current > 0.7 ? [WIDTH, 274, `this image: ${percent(current)} %`, { class: "here-words", "text-anchor": "end" }] : [Math.max(90, x(current)), 274, `this image: ${percent(current)} %`, { class: "here-words", "text-anchor": "middle" }])),
  ];
  fill("figure-reliability", `Predicted against observed share of ${lower(info.positive)}: ${groups.map((group) => `${percent(group.probability)} % predicted, ${percent(group.observed)} % observed`).join("; ")}`, [
    shape("rect", { x: x(screening), y: 24, width: x(rule_in) - x(screening), height: 204, class: "zone" }),
    hasZone(info) && text((x(screening) + x(rule_in)) / 2, 40, "uncertain", { "text-anchor": "middle", class: "zone-words" }),
    shape("path", { d: `M40 24V228H328`, class: "axis" }),
    shape("path", { d: `M40 228L328 24`, class: "diagonal" }),
    groups.map((group) => shape("circle", { cx: x(group.probability), cy: y(group.observed), r: 4 + group.images / 24, class: "dot" })),
    ticks,
    here || text(184, 266, "score of the model →", { "text-anchor": "middle" }),
    text(0, 12, "came true, %"),
  ]);
}

export function scores(info) {
  const { histogram } = info.metrics.test;
  const { screening, rule_in } = info.thresholds;
  const x = scale([0, 1], [4, 332]);
  const bins = histogram.positive.length;
  const tall = scale([0, Math.sqrt(Math.max(...histogram.positive, ...histogram.negative))], [0, 82]);
  const bars = (counts, name, up) =>
    counts.map((count, index) => count > 0 && shape("rect", { x: x(index / bins) + 1, width: 328 / bins - 2, y: up ? 96 - tall(Math.sqrt(count)) : 100, height: tall(Math.sqrt(count)), class: name }));
  const lines = (hasZone(info) ? [screening, rule_in] : [screening]).map((value, index) => [
    shape("path", { d: `M${x(value)} 8V190`, class: "limit" }),
    text(x(value) + (index || value < 0.15 ? 4 : -4), 206, `${limit(value)} %`, { "text-anchor": index || value < 0.15 ? "start" : "end" }),
  ]);
  fill("figure-scores", `Histogram of test scores: ${histogram.positive.at(-1)} of ${sum(histogram.positive)} with ${lower(info.positive)} in the highest twentieth, ${histogram.negative[0]} of ${sum(histogram.negative)} without in the lowest`, [
    shape("rect", { x: x(screening), y: 8, width: x(rule_in) - x(screening), height: 182, class: "zone" }),
    bars(histogram.positive, "for", true),
    bars(histogram.negative, "against", false),
    shape("path", { d: "M4 98H332", class: "axis" }),
    lines,
    text(150, 40, `with ${lower(info.positive)}`, { "text-anchor": "middle" }),
    text(150, 170, "without", { "text-anchor": "middle" }),
    text(4, 226, "score 0"),
    text(332, 226, "100 %", { "text-anchor": "end" }),
  ]);
}

export function points(info) {
  const { at, images } = info.metrics.test;
  const names = hasZone(info) ? { screening: "Screening", balanced: "Balanced", rule_in: "Rule-in" } : { balanced: "All at" };
  const rows = Object.entries(names).map(([key, name]) => [`${name} ${limit(info.thresholds[key])} %`, at[key].tp, at[key].fn, at[key].fp]);
  table("table-points", `Of ${images} test images, at each limit`, ["Limit", "found", "missed", "false alarm"], rows);
}

// Figures of other hospitals' images; those that were too few to be measured have a dash.
export function elsewhere(info) {
  const share = (figure, ofWrong) => (figure ? `${percent(ofWrong ? 1 - figure.value : figure.value)} %` : "–");
  const rows = Object.entries(info.metrics.elsewhere).map(([name, { all }]) => {
    const images = all.images.negative + all.images.positive;
    return [`${name}, ${images} images`, all.auroc?.value.toFixed(2) ?? "–", share(all.sensitivity), share(all.specificity, true), `${percent(all.unusual / images)} %`];
  });
  table("table-elsewhere", "Images of other hospitals, never learned from", ["Hospital", "area", "found", "false alarm", "called unusual"], rows);
}

// The five properties of image files that the score follows most within a label.
export function shortcuts(info) {
  const told = Object.fromEntries((info.data?.shortcuts ?? []).map(({ name, auroc }) => [name, auroc.toFixed(2)]));
  const strength = ([, values]) => Math.max(...values.map(Math.abs));
  const found = Object.entries(info.metrics.shortcuts.follows).sort((one, other) => strength(other) - strength(one));
  const rows = found.slice(0, 5).map((entry) => [entry[0].replaceAll("_", " "), told[entry[0]] ?? "–", strength(entry).toFixed(2)]);
  table("table-shortcuts", "What is no anatomy: how well it tells the label (0.5: not at all), and how far the score follows it (0: not at all)", ["Property", "tells", "followed"], rows);
}

function table(id, words, heads, rows) {
  const row = (cells, tag) => {
    const line = document.createElement("tr");
    cells.forEach((text, index) => {
      const cell = document.createElement(index && tag === "td" ? "td" : "th");
      if (tag === "th") cell.scope = "col";
      else if (!index) cell.scope = "row";
      cell.textContent = text;
      line.append(cell);
    });
    return line;
  };
  const caption = document.createElement("caption");
  caption.textContent = words;
  $(id).replaceChildren(caption, row(heads, "th"), ...rows.map((cells) => row(cells, "td")));
}

export function decision(info, { values, scale: full, grid: [rows, columns] }, isExample) {
  const side = Math.min(WIDTH / columns, 308 / rows);
  const { bias } = info.variants[info.running.variant];
  const flat = values.flat();
  const mean = sum(flat) / flat.length;
  const p = 1 / (1 + Math.exp(-(mean + bias)));
  const left = (WIDTH - side * columns) / 2;
  const cells = values.map((row, y) =>
    row.map((value, x) => {
      const t = Math.max(-1, Math.min(1, value / full));
      const strength = STRONGEST * fade(t);
      return [
        shape("rect", { x: left + x * side, y: 24 + y * side, width: side - 1, height: side - 1, fill: `rgb(${colour(t)})`, "fill-opacity": strength.toFixed(2) }),
        columns <= 8 && text(left + (x + 0.5) * side, 24 + (y + 0.5) * side + 5, short(value), { "text-anchor": "middle" }),
      ];
    }),
  );
  const line = `mean ${signed(mean, 2)},  shift ${signed(bias, 2)}:  ${signed(mean + bias, 2)}`;
  fill("figure-sum", `${isExample ? "An example" : "This image"}: ${line}, score ${percent(p)} percent`, [
    text(0, 15, isExample ? "Example, not an image" : "The image that is shown now", { class: "strong" }),
    cells,
    text(WIDTH / 2, 358, line, { "text-anchor": "middle" }),
    text(WIDTH / 2, 386, `→ score ${percent(p)} %`, { "text-anchor": "middle", class: "strong" }),
  ]);
  document.querySelector("[data-fill=caption-sum]").textContent = `${flat.length} numbers, one for each place, in logits, already divided by the temperature: above zero for ${lower(info.positive)}, below against.`;
}

const short = (value) => signed(value, Math.abs(value) < 10 ? 1 : 0);
