// Predictive values at another prevalence: sensitivity and specificity of the test fold, and Bayes' rule.

import { lower, percent, unbroken } from "../words.js";

const FARTHEST = 0.99; // beyond it, a test of a few hundred images cannot tell how often a score is right
const PER_THOUSAND = [1, 2, 5, 10, 20, 50, 100, 200, 500];
const $ = (id) => document.getElementById(id);
let info = null;
let score = null; // of the current image, or null
let later = 0;

// Whole counts among 1,000 people that add up.
export function counts(sensitivity, specificity, sick) {
  const tp = Math.round(sensitivity * sick);
  const tn = Math.round(specificity * (1000 - sick));
  return { tp, fn: sick - tp, fp: 1000 - sick - tn, tn };
}

// The same evidence under another prior: odds times likelihood ratio.
export function posterior(probability, prior, prevalence) {
  const odds = (probability / (1 - probability)) * ((1 - prior) / prior) * (prevalence / (1 - prevalence));
  return Number.isFinite(odds) ? odds / (1 + odds) : 1;
}

export function predictiveValues(sensitivity, specificity, prevalence) {
  const called = sensitivity * prevalence + (1 - specificity) * (1 - prevalence);
  const cleared = specificity * (1 - prevalence) + (1 - sensitivity) * prevalence;
  return { ppv: called && (sensitivity * prevalence) / called, npv: cleared && (specificity * (1 - prevalence)) / cleared };
}

export function setUp(known) {
  info = known;
  const at = info.metrics?.test?.at;
  $("rarer").hidden = !at;
  if (!at) return;
  const { images, patients } = info.metrics.test;
  $("rarer-source").textContent = `From the ${images} test images${patients && !info.data?.without_patient ? ` of ${patients} patients` : ""}. Elsewhere sensitivity and specificity differ too.`;
  $("prevalence").addEventListener("input", render);
  document.querySelectorAll("[name=point]").forEach((radio) => radio.addEventListener("change", render));
  render();
}

// null: there is no score, or it means nothing.
export function showScore(probability) {
  score = probability;
  if (info?.metrics?.test?.at) render();
}

function render() {
  const sick = PER_THOUSAND[Number($("prevalence").value)];
  const { tp, fp, fn, tn } = info.metrics.test.at[document.querySelector("[name=point]:checked").value];
  const [sensitivity, specificity] = [tp / (tp + fn), tn / (tn + fp)];
  const found = counts(sensitivity, specificity, sick);
  const worth = predictiveValues(sensitivity, specificity, sick / 1000);
  const positive = lower(info.positive);
  const common = `${sick} of 1,000`;
  $("prevalence").setAttribute("aria-valuetext", common);
  $("prevalence-out").textContent = common;
  $("ppv").textContent = `${percent(worth.ppv)} %`;
  $("ppv-words").textContent = `PPV: of ${found.tp + found.fp} called ${positive}, ${found.tp} ${found.tp === 1 ? "has" : "have"} it`;
  $("npv").textContent = `${percent(worth.npv)} %`;
  $("npv-words").textContent = `NPV: of ${found.fn + found.tn} not called, ${found.tn} do not have it`;
  for (const [name, value] of Object.entries(found)) $(`n-${name}`).textContent = value.toLocaleString("en");
  $("counts-caption").textContent = `Among 1,000 people: sensitivity ${percent(sensitivity)} %, specificity ${percent(specificity)} %`;
  drawSquares(found);
  $("squares").setAttribute(
    "aria-label",
    `1,000 squares: ${found.tp} ${positive} and called, ${found.fn} ${positive} and missed, ${found.fp} called in error, ${found.tn} rightly not called`,
  );
  if (score === null) $("posterior").textContent = "";
  else {
    clearTimeout(later);
    const most = Math.min(FARTHEST, Math.max(1 - FARTHEST, score));
    const bound = most === score ? "" : most < score ? "at least " : "at most ";
    const whole = percent(posterior(most, info.prior, sick / 1000));
    const here = /^\d/.test(whole) ? `${bound}${whole}` : whole;
    later = setTimeout(() => ($("posterior").textContent = unbroken(`This image: a score of ${percent(score)} % would mean ${here} % where ${common} ${sick === 1 ? "has" : "have"} it.`)), 150);
  }
}

// Fifty columns of twenty squares, as four paths in the order of the table.
function drawSquares(found) {
  let place = 0;
  for (const name of ["tp", "fn", "fp", "tn"]) {
    let path = "";
    for (const end = place + found[name]; place < end; place++) {
      path += `M${8 * Math.floor(place / 20)} ${8 * (place % 20)}h7v7h-7z`;
    }
    $("squares").querySelector(`.${name}`).setAttribute("d", path);
  }
}
