// The answer in the right-hand panel: label, score, bar, notes, and the facts below.

import { element } from "../element.js";
import { picturePlace } from "../viewer/stage.js";
import { doubtWords, kindOf, lower, percent, resultWords, signed, title, unbroken } from "../words.js";

const NOT_SURE = "Not sure";
const OUTSIDE = 0.6; // share of the evidence outside the middle; in the default model half of it, on average
const $ = (id) => document.getElementById(id);
const lookTally = { looked: 0, agreed: 0 }; // in memory, until the page is closed

export function clear(words = "The model’s label, its score and how far to believe it appear here.") {
  $("result").dataset.kind = "none";
  for (const id of ["novelty", "answer", "look", "tally"]) $(id).hidden = true;
  delete $("result").dataset.doubt;
  $("placeholder").hidden = false;
  $("placeholder").textContent = words;
  $("facts").replaceChildren();
  $("cells-table").hidden = true;
}

// Calls `reveal` once label and map may be shown: at once, or after the reader has chosen. Returns the announcement.
export function show(prediction, info, reveal) {
  clear();
  fill(prediction, info);
  facts(prediction, info);
  const { level } = prediction.novelty;
  const words = resultWords(prediction, info);
  const doubt = doubtWords(prediction, info);
  if (doubt) callout(doubt, level === "foreign" && (() => open(prediction, info, reveal)));
  if (level === "foreign") {
    $("placeholder").textContent = "No label and no score are shown.";
    return doubt.spoken;
  }
  if ($("look-first").checked) {
    askFirst(prediction, info, reveal);
    return "Look first: the model’s answer waits for yours.";
  }
  open(prediction, info, reveal);
  return doubt ? `${doubt.spoken} ${words.spoken}` : words.spoken;
}

function open(prediction, info, reveal) {
  $("result").dataset.kind = kindOf(prediction, info);
  if (doubtWords(prediction, info)) $("result").dataset.doubt = "";
  $("placeholder").hidden = $("look").hidden = true;
  $("answer").hidden = false;
  reveal();
}

function fill(prediction, info) {
  const words = resultWords(prediction, info);
  $("label").textContent = words.label;
  $("leaning").textContent = words.leaning;
  $("score").textContent = unbroken(`${words.score} %`);
  $("meaning").textContent = unbroken(words.meaning);
  $("bar").setAttribute("aria-label", words.bar);
  $("bar").style.setProperty("--score", prediction.probabilities[info.positive]);
}

// On an image called negative, weak evidence for the positive label would look like a finding.
export function showPlace(prediction, info) {
  const { place, share, outside } = picturePlace();
  const { values } = prediction.heatmap;
  const [positive, start] = [lower(info.positive), info.variants[info.running.variant].bias];
  const isFor = prediction.label === info.positive;
  const tips = isFor !== values.flat().reduce((sum, value) => sum + value, 0) > 0;
  const sentences = [
    isFor && place && `Most evidence for ${positive}: ${place} of the picture, as it lies on the screen (${percent(share)} % of all that speaks for it).`,
    tips && `The map as a whole speaks ${isFor ? "against" : "for"} ${positive}. The start value that all images share, ${signed(start)}, tips the score.`,
    outside > OUTSIDE && `Most of the evidence (${percent(outside)} %) lies in the outer part of the picture. What lies on an arm, a letter or the border says nothing about lungs.`,
  ];
  $("place").textContent = unbroken(sentences.filter(Boolean).join(" "));
}

function callout(words, more) {
  const box = $("novelty");
  box.hidden = false;
  const sign = element("span", "!", "bang");
  sign.setAttribute("aria-hidden", "true");
  const heading = element("strong", words.heading);
  heading.prepend(element("span", "Important: ", "visually-hidden"));
  const list = element("ul");
  list.append(...words.others.map((warning) => element("li", warning)));
  box.replaceChildren(sign, heading, ...(words.text ? [element("p", words.text)] : []), ...(words.others.length ? [list] : []));
  if (more) {
    const button = element("button", "Show it anyway");
    button.type = "button";
    button.addEventListener("click", () => {
      button.remove();
      box.querySelector("p").textContent = words.shown;
      more();
      focusTitle();
    });
    box.append(button);
  }
}

function askFirst(prediction, info, reveal) {
  const negative = info.labels.find((label) => label !== info.positive);
  const choices = [title(negative), title(info.positive), NOT_SURE];
  $("placeholder").hidden = true;
  $("look").hidden = false;
  $("look-choices").replaceChildren(
    ...choices.map((choice) => {
      const button = element("button", choice);
      button.type = "button";
      button.addEventListener("click", () => {
        open(prediction, info, reveal);
        tally(choice, prediction, info);
        focusTitle();
      });
      return button;
    }),
  );
}

function tally(choice, prediction, info) {
  const words = resultWords(prediction, info);
  const said = `You: ${lower(choice)}. Model: ${lower(words.label)}, ${words.score} %.`;
  $("tally").hidden = false;
  if (choice === NOT_SURE) {
    $("tally").textContent = unbroken(said);
    return;
  }
  lookTally.looked += 1;
  lookTally.agreed += choice === words.label;
  $("tally").textContent = unbroken(`${said} Two answers that agree can both be wrong. So far you agreed on ${lookTally.agreed} of ${lookTally.looked}.`);
}

export function focusTitle() {
  $("result-title").focus({ preventScroll: true });
}

function facts(prediction, info) {
  const { timing_ms: ms, model } = prediction;
  const variant = info.variants[model.variant];
  const { screening, rule_in } = info.thresholds;
  const rows = [
    ["Decode", `${ms.decode.toFixed(1)} ms`],
    ["Queue", `${ms.queue.toFixed(1)} ms`],
    ["Inference", `${ms.inference.toFixed(1)} ms, batch of ${prediction.batch_size}`],
    ["Total", `${ms.total.toFixed(1)} ms`],
    ["Model", `${model.name}, ${model.variant}`],
    ["Novelty", `${prediction.novelty.value.toFixed(1)}: ${prediction.novelty.level} (unusual from ${info.novelty.unusual.toFixed(1)}, very unusual from ${info.novelty.foreign.toFixed(1)})`],
    ["Abstain", prediction.abstain ? `yes: ${prediction.reasons.join(", ")}` : "no"],
    ["Limits", `screening ${(100 * screening).toFixed(1)} %, rule-in ${(100 * rule_in).toFixed(1)} %`],
    ["Calibration", `temperature ${variant.temperature.toFixed(2)}, bias ${signed(variant.bias)}`],
    ["Request", prediction.request_id, "mono"],
    ["SHA-256", model.sha256, "mono"],
  ];
  $("facts").replaceChildren(
    ...rows.map(([name, value, kind]) => {
      const row = element("div");
      const answer = element("dd", value, kind);
      if (name === "SHA-256") answer.append(copyButton(value));
      row.append(element("dt", name), answer);
      return row;
    }),
  );
}

export function cells(heatmap) {
  const head = element("tr");
  head.append(element("td"), ...heatmap.values[0].map((_, x) => scoped("col", x + 1)));
  const rows = heatmap.values.map((row, y) => {
    const line = element("tr");
    line.append(scoped("row", y + 1), ...row.map((value) => element("td", signed(value))));
    return line;
  });
  $("cells").replaceChildren(head, ...rows);
  $("cells-count").textContent = heatmap.values.flat().length;
  $("cells-table").hidden = false;
}

function copyButton(text) {
  const button = element("button", "Copy", "link");
  button.type = "button";
  button.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(text);
    button.textContent = "Copied";
  });
  return button;
}

function scoped(scope, text) {
  const cell = element("th", text);
  cell.scope = scope;
  return cell;
}
