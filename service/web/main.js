// Connects the parts: waits for the service, takes images, shows the answers. All state is in these few variables.

import { announce } from "./announce.js";
import * as api from "./api.js";
import * as appearance from "./appearance.js";
import { hasZone, isLikeThose, limit, problemWords, unbackedWords } from "./words.js";
import * as prevalence from "./answer/prevalence.js";
import { preparePrint, printOnly } from "./answer/report.js";
import * as result from "./answer/result.js";
import * as batch from "./batch/batch.js";
import { backboneName, explain, showInFigures } from "./explain/explain.js";
import * as modelReport from "./explain/modelreport.js";
import * as responses from "./explain/responses.js";
import * as examples from "./intake/examples.js";
import { listen } from "./intake/intake.js";
import { drawing } from "./intake/phantom.js";
import * as frame from "./viewer/frame.js";
import * as stage from "./viewer/stage.js";

const $ = (id) => document.getElementById(id);

let info = null; // the answer of /model-info
let current = null; // AbortController of the image in work
let pending = null; // files that were chosen before the service was ready

stage.setUp();
batch.setUp(async (file) => {
  await readOne(file);
  result.focusTitle();
});
listen(take);
modelReport.setUp();
appearance.setUp();
for (const id of ["send-drawing", "send-drawing-too"]) $(id).addEventListener("click", async () => take([await drawing()]));
$("cancel").addEventListener("click", () => {
  current?.abort();
  empty();
  $("choose").focus();
});
$("print").addEventListener("click", () => printOnly("image"));
$("token-form").addEventListener("submit", useToken);
empty();
history.replaceState(null, ""); // all modules are there: see first.js
connect();

async function connect() {
  for (let tries = 0; !info; tries++) {
    try {
      await api.isReady();
      info = await api.modelInfo();
    } catch (problem) {
      if (problem.status === 401) return askForToken();
      if (!tries) announce("The service is starting.");
      waiting(problem);
      await api.pause(Math.min(15, 2 ** tries));
    }
  }
  ready();
}

function ready() {
  showReady();
  explain(info);
  examples.setUp(info, takeExample);
  stage.setSquare(info.image_size);
  prevalence.setUp(info);
  preparePrint(info);
  const full = `${info.heatmap.scale.toFixed(1)}`;
  $("legend-low").textContent = `−${full}`;
  $("legend-high").textContent = `+${full}`;
  $("bar").style.setProperty("--screening", info.thresholds.screening);
  $("bar").style.setProperty("--rule-in", info.thresholds.rule_in);
  $("tick-screening").textContent = `${limit(info.thresholds.screening)} %`;
  $("tick-rule-in").textContent = `${limit(info.thresholds.rule_in)} %`;
  for (const id of ["bar-note", "tick-rule-in", "points"]) $(id).hidden = !hasZone(info);
  document.querySelectorAll(".report-link").forEach((link) => (link.hidden = !info.running.report));
  if ($("tool").dataset.state === "waiting") announce("Ready.");
  if (pending) take(pending);
  else if (["waiting", "empty"].includes($("tool").dataset.state)) empty();
}

function showReady() {
  status("ready", "Ready", `${backboneName(info)} ${info.running.variant} · ${info.running.sha256.slice(0, 8)}`);
}

function take(files) {
  if (!info) {
    pending = files;
    frame.keep(files.length);
    return;
  }
  pending = null;
  if (files.length > 1) batch.start(files, info);
  else readOne(files[0]);
}

async function readOne(file) {
  current?.abort();
  const own = (current = new AbortController());
  clear();
  examples.mark(file.name);
  $("frame").scrollIntoView({ block: appearance.isWide() ? "nearest" : "start" }); // so that a phone shows the answer below it
  try {
    if (file.size > info.running.limits.max_body_bytes) throw new api.Problem(413, "too large", { bytes: file.size });
    state("reading");
    const spoken = setTimeout(() => announce("Reading the image."), 1000);
    const slow = setTimeout(() => frame.reading("Still waiting. The service is busy with other images."), 3000);
    own.signal.addEventListener("abort", () => [spoken, slow].forEach(clearTimeout));
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (own.signal.aborted) return;
    if (bitmap) stage.showPicture(file.name, bitmap);
    try {
      const wait = (seconds, signal) => {
        clearTimeout(slow); // the countdown replaces it
        return countDown(seconds, signal);
      };
      const prediction = await api.predict(file, { heatmap: true, signal: own.signal, wait });
      show(file, bitmap, prediction);
      if (!bitmap) showPreview(file, own.signal);
    } finally {
      [spoken, slow].forEach(clearTimeout);
    }
  } catch (error) {
    if (own.signal.aborted) return;
    fail(error, file);
  }
}

// Replaces the plain grid below the map, unless another image was chosen meanwhile. Without a preview, the grid stays.
async function showPreview(file, signal) {
  const picture = await api.preview(file, signal).then(createImageBitmap).catch(() => null);
  if (!picture || signal.aborted) return;
  stage.showPicture(file.name, picture, "shrunk to ");
  frame.clear();
  responses.showLater(info.metrics.anatomy?.filters, stage.asSquare);
}

// An example that comes late does not replace what was chosen meanwhile.
async function takeExample(path, name) {
  const before = current;
  try {
    const content = await api.file(path);
    if (current === before) take([new File([content], name, { type: content.type })]);
  } catch (problem) {
    if (current === before) fail(problem, { name });
  }
}

async function countDown(seconds, signal) {
  announce(`The service is busy. Trying again in ${Math.ceil(seconds)} seconds.`);
  for (let left = Math.ceil(seconds); left > 0; left--) {
    frame.busy(left);
    await api.pause(Math.min(1, seconds), signal);
  }
  frame.reading("Reading the image…");
}

function show(file, bitmap, prediction) {
  state("result");
  if (!bitmap) stage.showPicture(file.name, null);
  const reveal = () => {
    stage.showMap(prediction.heatmap, prediction.novelty.level === "typical");
    result.showPlace(prediction, info);
    result.cells(prediction.heatmap);
    prevalence.showScore(isLikeThose(prediction) && !unbackedWords(prediction, info) ? prediction.probabilities[info.positive] : null);
    showInFigures(prediction);
    stage.setCaption(`${$("label").textContent.toLowerCase()}, ${$("score").textContent}`);
  };
  responses.showLater(info.metrics.anatomy?.filters, stage.asSquare);
  const spoken = result.show(prediction, info, reveal);
  if (!bitmap) frame.unseen();
  announce(bitmap ? spoken : `No preview. ${spoken}`);
}

function fail(error, file) {
  if (!(error instanceof api.Problem)) throw error;
  if (error.status === 401) return askForToken();
  clear();
  state("problem");
  const words = problemWords(error, info.running.limits);
  frame.problem(file.name, words, words.again && (() => readOne(file)));
  result.clear("No answer for this file.");
  if (!error.status) reconnect();
}

async function reconnect() {
  status("starting", "Not reachable");
  for (let tries = 0; ; tries++) {
    await api.pause(Math.min(15, 2 ** tries));
    if (await api.isReady().catch(() => null)) break;
  }
  showReady();
}

function waiting(problem) {
  if (problem.status && problem.status !== 503) status("problem", `Problem ${problem.status}`);
  else status("starting", problem.status ? "Starting" : "Not reachable");
  if (!pending && !["waiting", "empty"].includes($("tool").dataset.state)) return;
  state("waiting");
  frame.waiting(problem, pending?.length);
}

function empty() {
  clear();
  stage.endKeeping();
  state("empty");
  examples.mark(null);
  frame.empty(info, !$("examples").hidden);
}

function clear() {
  stage.clear();
  result.clear();
  prevalence.showScore(null);
  if (info) showInFigures(null);
  responses.clear();
  frame.clear();
  announce("");
}

function state(name) {
  $("tool").dataset.state = name;
  frame.reading(name === "reading" && "Reading the image…");
  $("result").setAttribute("aria-busy", name === "reading");
}

function status(kind, text, detail = "") {
  $("status").dataset.kind = kind;
  $("status-text").textContent = text;
  $("status-detail").textContent = detail;
}

function askForToken() {
  status("starting", "Token required");
  $("token-form").hidden = false;
  $("token").focus();
}

async function useToken(event) {
  event.preventDefault();
  api.setToken($("token").value);
  try {
    info = await api.modelInfo();
  } catch (problem) {
    $("token-wrong").textContent = problem.status === 401 ? "The service rejects this token." : problem.detail;
    return;
  }
  $("token-form").hidden = true;
  $("token").value = $("token-wrong").textContent = "";
  ready();
  $("choose").focus();
}
