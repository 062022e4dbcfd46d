// Downloads (CSV, JSON), and what a printed page adds.

import { kindOf } from "../words.js";

const COLUMNS = ["file", "answer", "score", "label", "novelty", "abstain", "reasons", "warnings", "problem", "ms", "request_id", "model", "variant", "sha256", "note"];

export function toCsv(rows, info) {
  const lines = rows.map((row) => {
    const { prediction, problem } = row;
    const values = prediction
      ? [...answer(prediction, info), prediction.novelty.level, prediction.abstain, prediction.reasons.join("; "), prediction.warnings.join("; "), ""]
      : ["", "", "", "", "", "", "", problem ? `${problem.status} ${problem.detail}` : "not sent"];
    const { name, variant, sha256 } = prediction?.model ?? {};
    return [row.name, ...values, prediction?.timing_ms.total, prediction?.request_id ?? problem?.requestId, name, variant, sha256, info.disclaimer];
  });
  return [COLUMNS, ...lines].map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

// Downloads leave out what the page hides.
function answer(prediction, info) {
  if (prediction.novelty.level === "foreign") return ["hidden", "", ""];
  return [kindOf(prediction, info), prediction.probabilities[info.positive], prediction.label];
}

export function toJson(rows, info) {
  const results = rows.map(({ name, prediction, problem }) => ({
    file: name,
    ...(prediction && { answer: answer(prediction, info)[0], prediction: shown(prediction) }),
    ...(problem && { problem: { status: problem.status, detail: problem.detail, request_id: problem.requestId } }),
  }));
  return JSON.stringify({ disclaimer: info.disclaimer, made: new Date().toISOString(), model: info.name, sha256: info.running.sha256, results }, null, 2);
}

function shown(prediction) {
  if (prediction.novelty.level !== "foreign") return prediction;
  const { label, confidence, probabilities, uncertain, ...rest } = prediction;
  return rest;
}

// Quotes a cell that a spreadsheet would run as a formula.
export function cell(value) {
  const text = String(value ?? "");
  const safe = /^[=+\-@\t\r]/.test(text) && typeof value === "string" ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// "image" or "batch": what the browser's own print command prints, the last one shown.
export function printOnly(what) {
  document.body.dataset.print = what;
  print();
  delete document.body.dataset.print;
}

export function preparePrint(info) {
  addEventListener("beforeprint", () => {
    const { name, running } = info;
    document.getElementById("print-foot").textContent = `${info.disclaimer} Model ${name}, ${running.variant}, SHA-256 ${running.sha256}. Printed ${new Date().toLocaleString("en-GB")}.`;
    document.getElementById("tool").scrollTop = 0;
  });
}
