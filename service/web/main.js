// Joins the parts: waits for the service, takes images, shows what it answers. All that is known stands in these few variables.

import { announce } from "./announce.js";
import * as api from "./api.js";
import * as batch from "./batch.js";
import { backboneName, explain, showInFigures } from "./explain.js";
import { listen } from "./intake.js";
import { drawing } from "./phantom.js";
import * as modelReport from "./modelreport.js";
import * as prevalence from "./prevalence.js";
import { preparePrint } from "./report.js";
import * as result from "./result.js";
import * as stage from "./stage.js";
import { limit, problemWords } from "./words.js";

const BUSY_TRIES = 3;
const WIDE = "(min-width: 56.25rem)"; // two panes, as in page.css
const $ = (id) => document.getElementById(id);
const { element } = result;

let info = null; // of /model-info
let current = null; // AbortController of the image in work
let pending = null; // files that were given before the service was ready

stage.setUp();
batch.setUp(readOne);
listen(take);
modelReport.setUp();
setUpThemes();
setUpParts();
for (const id of ["send-drawing", "send-drawing-too"]) $(id).addEventListener("click", async () => take([await drawing()]));
$("cancel").addEventListener("click", () => {
  current?.abort();
  empty();
  $("choose").focus();
});
$("print").addEventListener("click", () => print());
$("token-form").addEventListener("submit", useToken);
empty();
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
  status("ready", "Ready", `${backboneName(info)} ${info.running.variant} · ${info.running.sha256.slice(0, 8)}`);
  explain(info);
  prevalence.setUp(info);
  preparePrint(info);
  const full = `${info.heatmap.scale.toFixed(1)}`;
  $("legend-low").textContent = `−${full}`;
  $("legend-high").textContent = `+${full}`;
  $("bar").style.setProperty("--screening", info.thresholds.screening);
  $("bar").style.setProperty("--rule-in", info.thresholds.rule_in);
  $("tick-screening").textContent = `${limit(info.thresholds.screening)} %`;
  $("tick-rule-in").textContent = `${limit(info.thresholds.rule_in)} %`;
  document.querySelectorAll(".report-link").forEach((link) => (link.hidden = !info.running.report));
  if ($("tool").dataset.state === "waiting") announce("Ready.");
  if (pending) take(pending);
  else if (["waiting", "empty"].includes($("tool").dataset.state)) empty();
}

function take(files) {
  if (!info) {
    pending = files;
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
  $("frame").scrollIntoView({ block: matchMedia(WIDE).matches ? "nearest" : "start" }); // so that a phone shows the answer below it
  try {
    if (file.size > info.running.limits.max_body_bytes) throw new api.Problem(413, "too large", { bytes: file.size });
    state("reading");
    reading("Reading the image…");
    const spoken = setTimeout(() => announce("Reading the image."), 1000);
    const slow = setTimeout(() => reading("Still waiting. The service is busy with other images."), 3000);
    own.signal.addEventListener("abort", () => [spoken, slow].forEach(clearTimeout));
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (own.signal.aborted) return;
    if (bitmap) stage.showPicture(file.name, bitmap);
    try {
      const prediction = await patiently(file, own);
      show(file, bitmap, prediction);
    } finally {
      [spoken, slow].forEach(clearTimeout);
    }
  } catch (error) {
    if (own.signal.aborted) return;
    fail(error, file);
  }
}

// As often as the service asks for it, a few times; the reader can stop it.
async function patiently(file, own) {
  for (let tries = 1; ; tries++) {
    try {
      return await api.predict(file, { heatmap: true, signal: own.signal });
    } catch (error) {
      if (error.status !== 429 || tries > BUSY_TRIES) throw error;
      const seconds = error.retryAfter * (1 + 0.2 * Math.random());
      announce(`The service is busy. Trying again in ${Math.ceil(seconds)} seconds.`);
      await countDown(seconds, own.signal);
    }
  }
}

async function countDown(seconds, signal) {
  $("cancel").textContent = "Stop trying";
  for (let left = Math.ceil(seconds); left > 0; left--) {
    reading(`The service is busy. It answers as many images as it can. Trying again in ${left} ${left === 1 ? "second" : "seconds"}.`);
    await api.pause(Math.min(1, seconds), signal);
  }
  $("cancel").textContent = "Cancel";
  reading("Reading the image…");
}

function show(file, bitmap, prediction) {
  state("result");
  if (!bitmap) stage.showPicture(file.name, null);
  const reveal = () => {
    stage.showMap(prediction.heatmap, prediction.novelty.level === "typical");
    result.showPlace(info);
    result.cells(prediction.heatmap);
    prevalence.showScore(prediction.probabilities[info.positive]);
    showInFigures(prediction);
  };
  const spoken = result.show(prediction, info, reveal);
  if (!bitmap) message([element("p", "Your browser cannot show this file type; the model can read it.")], "foot");
  announce(bitmap ? spoken : `No preview. ${spoken}`);
}

function fail(error, file) {
  if (!(error instanceof api.Problem)) throw error;
  if (error.status === 401) return askForToken();
  clear();
  state("problem");
  const { heading, text, detail, again } = problemWords(error, info.running.limits);
  const alert = element("div");
  alert.setAttribute("role", "alert");
  alert.append(element("h3", heading), element("p", text));
  if (detail) alert.append(element("p", detail, "said"));
  const buttons = element("p", "", "actions");
  if (again) buttons.append(button("Try again", () => readOne(file)));
  buttons.append(button("Choose another image", () => $("choose").click()));
  message([element("p", file.name, "file-name"), alert, buttons], "problem");
  result.clear("No answer for this file.");
}

function waiting(problem) {
  if (problem.status && problem.status !== 503) status("problem", `Problem ${problem.status}`);
  else status("starting", problem.status ? "Starting" : "Not reachable");
  if (pending || $("tool").dataset.state === "waiting" || $("tool").dataset.state === "empty") {
    state("waiting");
    const heading = problem.status ? "The service is starting." : "No connection to the service.";
    const text = problem.status
      ? "It is loading the model and testing it on a known image. This page tries again by itself."
      : `The page is loaded, but ${location.host} does not answer. This page tries again by itself.`;
    message([element("h3", heading), element("p", text), element("p", problem.status ? problem.detail : "", "said")]);
  }
}

function empty() {
  clear();
  state("empty");
  const limits = info?.running.limits;
  const size = limits ? `, up to ${(limits.max_body_bytes / 1e6).toLocaleString("en")} MB` : "";
  const touch = matchMedia("(pointer: coarse)").matches;
  message([
    element("h3", touch ? "Choose a chest X-ray, or take a photo of one." : "Drop a chest X-ray here."),
    element("p", `JPEG, PNG or DICOM${size}. One file, or ${touch ? "several" : "a whole folder"}.`),
    element("p", "The image goes to this service only, is not stored, and its file name is not sent."),
    element("p", "No X-ray at hand? Send a drawing: it shows how the model answers something it may never have learned.", "soft"),
  ]);
}

function clear() {
  stage.clear();
  result.clear();
  prevalence.showScore(null);
  if (info) showInFigures(null);
  message([]);
  $("cancel").textContent = "Cancel";
}

function state(name) {
  $("tool").dataset.state = name;
  $("reading").hidden = name !== "reading";
  $("result").setAttribute("aria-busy", name === "reading");
}

function reading(text) {
  $("reading-text").textContent = text;
}

function message(parts, kind = "") {
  $("message").className = `message ${kind}`;
  $("message").hidden = !parts.length;
  $("message").replaceChildren(...parts);
}

function button(text, act) {
  const made = element("button", text);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

function status(kind, text, detail = "") {
  $("status").dataset.kind = kind;
  $("status-text").textContent = text;
  $("status-detail").textContent = detail;
}

function askForToken() {
  status("starting", "Token wanted");
  $("token-form").hidden = false;
  $("token").focus();
}

async function useToken(event) {
  event.preventDefault();
  api.setToken($("token").value);
  try {
    info = await api.modelInfo();
  } catch (problem) {
    $("token-wrong").textContent = problem.status === 401 ? "The service refuses this token." : problem.detail;
    return;
  }
  $("token-form").hidden = true;
  $("token").value = $("token-wrong").textContent = "";
  ready();
  $("choose").focus();
}

function setUpThemes() {
  let stored = null;
  try {
    stored = localStorage.getItem("theme");
  } catch {
    // forbidden: the choice then lasts as long as the page
  }
  document.querySelectorAll("[name=theme]").forEach((radio) => {
    radio.checked = radio.value === (stored ?? "system");
    radio.addEventListener("change", () => {
      document.documentElement.style.setProperty("color-scheme", radio.value === "system" ? "light dark" : radio.value);
      try {
        localStorage.setItem("theme", radio.value);
      } catch {
        // as above
      }
    });
  });
}

// Beside the tool the explanation lies open; below it, on a phone, it waits folded.
function setUpParts() {
  const wide = matchMedia(WIDE);
  const unfold = () => document.querySelectorAll(".part").forEach((part) => (part.open = wide.matches));
  wide.addEventListener("change", unfold);
  unfold();
}
