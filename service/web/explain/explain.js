// The left panel: pictures and numbers of the running model, from /model-info. It leaves out what the model does not provide.

import * as plots from "./plots.js";
import { ages, lower, percent, sentence, signed, title, unbroken } from "../words.js";

const BACKBONES = { tf_efficientnet_lite0: "EfficientNet-Lite0", mobilenetv2_100: "MobileNetV2", mobilenet_v2: "MobileNetV2", resnet18: "ResNet-18", resnet50: "ResNet-50", densenet121: "DenseNet-121" };
const SMALL = 512; // px; radiographs have more
const $ = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");

let info = null;

export const backboneName = (known) => BACKBONES[known.backbone] ?? known.backbone;

export function explain(known) {
  info = known;
  const borrowed = !/^(none|random)/.test(info.weights);
  const tuned = wasTuned();
  const holds = { borrowed, scratch: !borrowed, tuned: borrowed && tuned, alone: borrowed && !tuned };
  fillWords(words(borrowed, tuned));
  document.querySelectorAll("[data-if]").forEach((p) => (p.hidden = !holds[p.dataset.if]));
  const { anatomy, test } = info.metrics;
  part("figure-filters", anatomy?.filters, () => plots.filters(anatomy.filters, borrowed, wereFiltersMoved()));
  part("figure-stages", anatomy?.stages?.length && tuned, () => plots.stages(anatomy));
  part("figure-data", info.data?.splits, () => plots.data(info));
  part("figure-reliability", test?.reliability, () => plots.reliability(info, null));
  part("figure-scores", test?.histogram, () => plots.scores(info));
  part("table-points", test?.at, () => plots.points(info));
  part("table-elsewhere", Object.keys(info.metrics.elsewhere ?? {}).length, () => plots.elsewhere(info));
  part("table-shortcuts", info.metrics.shortcuts, () => plots.shortcuts(info));
  weak();
  plots.decision(info, example(), true);
  $("how").dataset.known = "";
}

// Marks the current image in the figures that can show it.
export function showInFigures(prediction) {
  const p = prediction?.probabilities[info.positive] ?? null;
  if (info.metrics.test?.reliability) plots.reliability(info, p);
  plots.decision(info, prediction?.heatmap ?? example(), !prediction);
}

// Whether anything but the head moved. It did not with `fit.epochs = 0`, or where the head alone was the best.
function wasTuned() {
  const { anatomy, fit } = info.metrics;
  return anatomy?.stages?.length ? anatomy.stages.some(({ change }) => change > 0) : fit?.epochs !== 0;
}

const wereFiltersMoved = () => wasTuned() && info.metrics.anatomy?.stages?.[0]?.change !== 0;

function part(id, known, draw) {
  $(id).closest("figure, table").hidden = !known;
  if (known) draw();
}

function fillWords(found) {
  for (const place of document.querySelectorAll("[data-fill]")) {
    const words = found[place.dataset.fill];
    if (words !== undefined) place.textContent = unbroken(words);
  }
}

function words(borrowed, tuned) {
  const variant = info.variants[info.running.variant];
  const negative = info.labels.find((label) => label !== info.positive);
  const { anatomy, test, heatmaps } = info.metrics;
  const head = anatomy?.head_parameters;
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
    people: `Chest X-rays${ages(info) || " (of what ages is not known)"}`,
    source: `Data: ${info.data?.source || "source and licence are not known"}. Model made ${info.created}.`,
    frozen: frozenWords(borrowed, tuned),
    "calibration-warnings": (info.metrics.calibration?.warnings ?? []).map(sentence).join(" "),
    "caption-stages": anatomy?.stages?.length && tuned ? `${number(total)} weights in ${anatomy.stages.length} stages, from the image (left) to the head. Fill: how far fine-tuning moved each. Only the head, ${number(head)} weights, is new.` : "",
    "caption-filters": filterWords(anatomy, borrowed, wereFiltersMoved()),
    "caption-data": info.data?.splits ? `${number(plots.splitNames(info).flatMap((name) => Object.values(info.data.splits[name])).reduce((a, b) => a + b, 0))} images${patientWords()}.` : "",
    "caption-reliability": test?.reliability ? `Dots on the line would be perfect. ${test.images} test images in ${test.reliability.length} groups; expected calibration error ${(100 * test.ece).toFixed(1)} points.` : "",
    "caption-scores": test?.histogram ? `Scores of ${test.images} test images. ${test.uncertain} fell between the limits. Heights are square roots, so that few can be seen beside many.` : "",
    "how-often": oftenWords(test, negative),
    sizes: sizeWords(info.data?.sizes),
    border: heatmaps?.border ? `Here ${percent(heatmaps.border.share)} % of the evidence lies in the outermost cells, which are ${percent(heatmaps.border.if_even)} % of the picture.` : "",
  };
}

// On images like the training images, the head alone is nearly as good; on altered ones it is not.
function frozenWords(borrowed, tuned) {
  const { fit } = info.metrics;
  const history = fit?.histories?.[fit.kept_seed ?? 0] ?? [];
  const kept = history.find(({ epoch }) => epoch === fit?.kept?.[fit.kept_seed ?? 0]);
  const [frozen, served] = [history[0], fit?.networks?.figures[fit.networks.chosen] ?? kept];
  if (!borrowed || !frozen?.altered_auroc || !served?.altered_auroc) return "";
  const area = "Here the area under the ROC curve, on validation images, was";
  if (!tuned) return `${area} ${served.val_auroc.toFixed(3)} with everything frozen but the head, and ${served.altered_auroc.toFixed(3)} on altered ones (cropped, framed, blurred and the like).`;
  const seeds = fit.histories.length > 1 ? `, best of ${fit.histories.length} seeds` : "";
  return `${area} ${frozen.val_auroc.toFixed(3)} with everything frozen but the head and ${served.val_auroc.toFixed(3)} after fine-tuning${seeds}. On altered ones (cropped, framed, blurred and the like) it went from ${frozen.altered_auroc.toFixed(3)} to ${served.altered_auroc.toFixed(3)}.`;
}

function patientWords() {
  const { files, patients, without_patient: nameless } = info.data;
  if (nameless) return `. File names told no patient for ${number(nameless)} of ${number(files)}: one person may be in several rows, and the figures may flatter`;
  return patients ? ", cut by patient: nobody is in two rows" : "";
}

function filterWords(anatomy, borrowed, tuned) {
  if (!anatomy?.filters) return "";
  const [count, height, width] = anatomy.filters.shape;
  const patterned = `The ${Math.min(count, plots.SHOWN_FILTERS)} most patterned of ${count} filters, ${height} × ${width} pixels`;
  if (!tuned) return `${patterned}. Nothing moved them.`;
  const moved = anatomy.stages?.[0] ? ` They moved by ${(100 * anatomy.stages[0].change).toFixed(1)} %.` : "";
  return `${patterned}, ${borrowed ? "as borrowed and after X-rays" : "at random and after X-rays"}.${moved}`;
}

function sizeWords(sizes) {
  const all = Object.values(sizes ?? {});
  const [width, height] = ["width", "height"].map((side) => Math.max(...all.map((size) => size[side].at(-1))));
  if (!all.length || Math.max(width, height) > SMALL) return "";
  return `And this one was trained and measured on copies of at most ${width} × ${height} pixels, not on full-size X-rays.`;
}

function oftenWords(test, negative) {
  if (!test?.at) return "How often it is right was not measured.";
  const { tp, fn, fp, tn } = test.at.balanced;
  const positive = lower(info.positive);
  return `Of 100 test images with ${positive} it calls ${percent(tp / (tp + fn))} ${positive}; of 100 ${lower(negative)} ones it wrongly calls ${percent(fp / (fp + tn))} ${positive} (n = ${test.images}). Area under the ROC curve: ${test.auroc.value.toFixed(3)} (${test.auroc.interval.map((end) => end.toFixed(3)).join("–")}).`;
}

// The subgroup and the alteration with the largest loss.
function weak() {
  const groups = Object.entries(info.metrics.subgroups ?? {}).filter(([, group]) => group.right);
  const altered = Object.entries(info.metrics.robustness ?? {}).filter(([name]) => name !== "as they are");
  const worst = groups.sort(([, a], [, b]) => a.right.value - b.right.value)[0];
  const hardest = altered.sort(([, a], [, b]) => right(a) - right(b))[0];
  const sentences = [
    worst && `Weakest group: ${worst[0]}, ${percent(worst[1].right.value)} % right (n = ${worst[1].images}).`,
    hardest && `Hardest alteration of an image: ${hardest[0]}; with it ${percent(hardest[1].specificity.value)} of 100 ${lower(info.labels.find((label) => label !== info.positive))} images are called so, and ${percent(hardest[1].sensitivity.value)} of 100 with ${lower(info.positive)}.`,
  ];
  $("weak").textContent = unbroken(sentences.filter(Boolean).join(" "));
}

const right = ({ sensitivity, specificity }) => sensitivity.value + specificity.value;

// An example of the sum, until there is an image.
function example() {
  const [rows, columns] = info.heatmap.grid;
  const spot = (y, x) => 1.2 * Math.exp(-((y - 0.66) ** 2 + (x - 0.25) ** 2) / 0.03) - 0.25;
  const values = Array.from({ length: rows }, (_, y) => Array.from({ length: columns }, (_, x) => info.heatmap.scale * spot((y + 0.5) / rows, (x + 0.5) / columns)));
  return { values, scale: info.heatmap.scale, grid: info.heatmap.grid };
}
