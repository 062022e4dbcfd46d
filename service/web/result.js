// The answer in the right-hand panel: label, score, bar, notes, and the facts below.

import { kindOf, lower, noveltyWords, resultWords, title, unbroken } from "./words.js";
import { picturePlace, signed } from "./stage.js";

const $ = (id) => document.getElementById(id);
const lookTally = { looked: 0, agreed: 0 }; // of this page alone, in memory

export function clear(words = "The model’s label, its score and how far to believe it appear here.") {
  $("result").dataset.kind = "none";
  for (const id of ["novelty", "answer", "look", "warnings", "tally"]) $(id).hidden = true;
  $("placeholder").hidden = false;
  $("placeholder").textContent = words;
  $("facts").replaceChildren();
  $("cells-table").hidden = true;
}

// `reveal` is called once the label and the map may be seen: at once, or after the reader has looked. Returns what is spoken.
export function show(prediction, info, reveal) {
  clear();
  fill(prediction, info);
  facts(prediction, info);
  const { level } = prediction.novelty;
  const words = resultWords(prediction, info);
  const novel = level === "typical" ? null : noveltyWords(level, info);
  if (novel) callout(novel, level === "foreign" && (() => open(prediction, info, reveal)));
  if (level === "foreign") {
    $("placeholder").textContent = "No label and no score are shown.";
    return novel.spoken;
  }
  if ($("look-first").checked) {
    askFirst(prediction, info, reveal);
    return "Look first: the model’s answer waits for yours.";
  }
  open(prediction, info, reveal);
  return novel ? `${novel.spoken} ${words.spoken}` : words.spoken;
}

function open(prediction, info, reveal) {
  $("result").dataset.kind = kindOf(prediction, info);
  $("result").dataset.novelty = prediction.novelty.level;
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
  const own = prediction.warnings.filter((warning) => !warning.startsWith(`the image is ${prediction.novelty.level}:`)); // said above
  $("warnings").hidden = !own.length;
  $("warnings").replaceChildren(...own.map((warning) => element("li", title(warning.slice(0, 1)) + warning.slice(1) + ".")));
}

export function showPlace(info) {
  const place = picturePlace();
  $("place").textContent = place
    ? `Most evidence for ${lower(info.positive)}: ${place.place} of the image (${Math.round(100 * place.share)} % of the positive sum).`
    : `No place of the image speaks for ${lower(info.positive)}.`;
}

function callout(words, more) {
  const box = $("novelty");
  box.hidden = false;
  const sign = element("span", "!", "bang");
  sign.setAttribute("aria-hidden", "true");
  const heading = element("strong", words.heading);
  heading.prepend(element("span", "Important: ", "visually-hidden"));
  box.replaceChildren(sign, heading, element("p", words.text));
  if (more) {
    const button = element("button", "Show it anyway");
    button.type = "button";
    button.addEventListener("click", () => {
      button.remove();
      more();
      $("result-title").tabIndex = -1;
      $("result-title").focus();
    });
    box.append(button);
  }
}

function askFirst(prediction, info, reveal) {
  const negative = info.labels.find((label) => label !== info.positive);
  const choices = [title(negative), title(info.positive), "Not sure"];
  $("placeholder").hidden = true;
  $("look").hidden = false;
  $("look-choices").replaceChildren(
    ...choices.map((choice) => {
      const button = element("button", choice);
      button.type = "button";
      button.addEventListener("click", () => {
        open(prediction, info, reveal);
        tally(choice, prediction, info);
      });
      return button;
    }),
  );
}

function tally(choice, prediction, info) {
  const words = resultWords(prediction, info);
  lookTally.looked += 1;
  lookTally.agreed += choice === words.label;
  $("tally").hidden = false;
  $("tally").textContent = `You: ${lower(choice)}. Model: ${lower(words.label)}, ${words.score} %. Two answers that agree can both be wrong. So far you agreed on ${lookTally.agreed} of ${lookTally.looked}.`;
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

export function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}
