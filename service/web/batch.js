// Many images: one request each, four at a time, rows in the order of the files. Files and answers stay in this page's memory.

import { announce } from "./announce.js";
import { pause, predict, Problem } from "./api.js";
import { save, toCsv, toJson } from "./report.js";
import { element } from "./result.js";
import { kindOf, percent, reason, title } from "./words.js";

const AT_ONCE = 4;
const MOST = 500;
const PAGE = 200; // rows of a table that a browser lays out quickly
const TRIES = 3;

const $ = (id) => document.getElementById(id);
const KINDS = ["all", "negative", "positive", "uncertain", "unusual", "refused"];
let batch = null; // { rows, info, cancel, filter, sort, page }

export function setUp(openInStage) {
  $("batch-cancel").addEventListener("click", () => batch.cancel.abort());
  $("batch-retry").addEventListener("click", () => run(batch.rows.filter(isBusy)));
  $("batch-csv").addEventListener("click", () => save("medxfer.csv", "text/csv", toCsv(batch.rows, batch.info)));
  $("batch-json").addEventListener("click", () => save("medxfer.json", "application/json", toJson(batch.rows, batch.info)));
  $("batch-print").addEventListener("click", () => print());
  $("batch-close").addEventListener("click", close);
  $("batch-back").addEventListener("click", () => turn(-1));
  $("batch-next").addEventListener("click", () => turn(1));
  $("batch-rows").addEventListener("click", (event) => {
    const row = event.target.closest("button") && batch.rows[event.target.closest("tr").dataset.index];
    if (row) openInStage(row.file);
  });
  for (const button of document.querySelectorAll(".sort")) button.addEventListener("click", () => sortBy(button.closest("th")));
}

export function start(files, info) {
  batch?.cancel.abort();
  const rows = files.slice(0, MOST).map((file, index) => ({ file, index, name: file.webkitRelativePath || file.name }));
  rows.forEach((row) => (row.line = line(row)));
  batch = { rows, info, left: files.length - rows.length, filter: "all", sort: null, page: 0, cancel: new AbortController() };
  $("batch").hidden = false;
  $("batch-progress").max = rows.length;
  document.querySelectorAll("#batch th[aria-sort]").forEach((head) => head.removeAttribute("aria-sort"));
  arrange();
  $("batch").scrollIntoView({ block: "start" });
  $("batch-title").focus({ preventScroll: true });
  announce(`Reading ${rows.length} images.`);
  return run(rows);
}

function close() {
  batch.cancel.abort();
  batch = null;
  $("batch").hidden = true;
  $("choose").focus();
}

async function run(wanted) {
  const own = batch;
  own.cancel = new AbortController();
  own.running = true;
  const waiting = [...wanted];
  waiting.forEach((row) => delete row.problem);
  own.quarter = 0;
  progress();
  const worker = async () => {
    for (let row; !own.cancel.signal.aborted && (row = waiting.shift()); ) {
      await ask(row, own);
      if (batch === own) note(row);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  own.running = false;
  if (batch === own) finish();
}

async function ask(row, { info, cancel: { signal } }) {
  try {
    if (row.file.size > info.running.limits.max_body_bytes) throw new Problem(413, "too large", { bytes: row.file.size });
    row.prediction = await patiently(row.file, signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    row.problem = error instanceof Problem ? error : new Problem(400, String(error));
  }
}

async function patiently(file, signal) {
  for (let tries = 1; ; tries++) {
    try {
      return await predict(file, { signal });
    } catch (error) {
      if (error.status !== 429 || tries > TRIES) throw error;
      await pause(error.retryAfter * (1 + 0.2 * Math.random()), signal);
    }
  }
}

function line(row) {
  const tr = element("tr");
  tr.dataset.index = row.index;
  tr.id = `row-${row.index}`;
  const name = element("th");
  name.scope = "row";
  const open = element("button", row.name, "link");
  open.type = "button";
  name.append(open);
  const picture = element("td", "", "thumb");
  tr.append(picture, name, element("td", "", "scored"), element("td", "waiting", "notes"), element("td", "", "ms"));
  return tr;
}

function note(row) {
  const { info } = batch;
  const [picture, , scored, notes, ms] = row.line.children;
  if (row.problem) notes.textContent = reason(row.problem, info.running.limits);
  else if (row.prediction) {
    const { prediction } = row;
    const p = prediction.probabilities[info.positive];
    row.kind = kindOf(prediction, info);
    const level = prediction.novelty.level;
    if (level === "foreign") scored.textContent = "hidden";
    else {
      const bar = element("i", "", "mini");
      bar.style.setProperty("--score", p);
      scored.replaceChildren(element("span", `${percent(p)} %`), bar);
    }
    const answer = level === "foreign" ? "Very unusual image" : row.kind === "uncertain" ? "Uncertain" : title(prediction.label);
    notes.textContent = level === "unusual" ? `${answer}; unusual image` : answer;
    ms.textContent = prediction.timing_ms.total.toFixed(0);
  }
  row.line.dataset.kind = row.problem ? "refused" : (row.kind ?? "");
  row.line.dataset.novelty = row.prediction?.novelty.level ?? "";
  thumbnail(row, picture);
  progress();
}

async function thumbnail(row, cell) {
  try {
    const bitmap = await createImageBitmap(row.file, { resizeWidth: 80, resizeQuality: "medium" });
    const canvas = element("canvas");
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    cell.replaceChildren(canvas);
  } catch {
    cell.textContent = "–"; // not a picture that a browser can show
  }
}

const isDone = (row) => Boolean(row.prediction || row.problem);
const isBusy = (row) => row.problem && [0, 429, 503, 504].includes(row.problem.status);

function progress() {
  const { rows } = batch;
  const done = rows.filter(isDone).length;
  const refused = rows.filter((row) => row.problem).length;
  $("batch-progress").value = done;
  $("batch-words").textContent = `Reading ${done} of ${rows.length} images.${refused ? ` ${refused} refused so far.` : ""}`;
  $("batch-cancel").hidden = false;
  $("batch-retry").hidden = $("batch-failures").hidden = true;
  const quarter = Math.floor((4 * done) / rows.length);
  if (quarter > batch.quarter && quarter < 4) announce(`${25 * quarter} percent read.`);
  batch.quarter = Math.max(batch.quarter, quarter);
  filters();
}

function finish() {
  const { rows, left } = batch;
  const read = rows.filter((row) => row.prediction).length;
  const failed = rows.filter((row) => row.problem);
  const stopped = rows.some((row) => !isDone(row));
  for (const row of rows) if (!isDone(row)) row.line.children[3].textContent = "not sent";
  const most = left ? ` Only the first ${MOST} files were taken; ${left} were not.` : "";
  $("batch-words").textContent =
    (stopped ? `Stopped after ${rows.filter(isDone).length}. The rest was not sent.` : `${read} of ${rows.length} images read.${failed.length ? ` ${failed.length} ${failed.length === 1 ? "was" : "were"} not:` : ""}`) + most;
  announce(stopped ? $("batch-words").textContent : `Batch finished. ${read} read, ${failed.length} not read.`);
  $("batch-cancel").hidden = true;
  const busy = rows.filter(isBusy).length;
  $("batch-retry").hidden = !busy;
  $("batch-retry").textContent = `Try the ${busy} unanswered again`;
  $("batch-failures").hidden = !failed.length;
  $("batch-failures").replaceChildren(
    ...failed.map((row) => {
      const item = element("li");
      const link = element("a", row.name);
      link.href = `#row-${row.index}`;
      link.addEventListener("click", () => show("all"));
      item.append(link, `: ${reason(row.problem, batch.info.running.limits)}`);
      return item;
    }),
  );
  filters();
}

const belongs = {
  all: () => true,
  refused: (row) => Boolean(row.problem),
  unusual: (row) => Boolean(row.prediction) && row.prediction.novelty.level !== "typical",
};
const among = (filter) => belongs[filter] ?? ((row) => row.prediction?.novelty.level !== "foreign" && row.kind === filter);

function filters() {
  const { rows, info, filter } = batch;
  const names = { negative: title(info.labels.find((label) => label !== info.positive)), positive: title(info.positive) };
  const box = $("batch-filters");
  if (box.children.length === 1) {
    for (const kind of KINDS) {
      const label = element("label");
      const radio = element("input");
      Object.assign(radio, { type: "radio", name: "filter", value: kind });
      radio.addEventListener("change", () => show(kind));
      label.append(radio, element("span"));
      box.append(label);
    }
  }
  KINDS.forEach((kind, index) => {
    const label = box.children[index + 1];
    label.querySelector("input").checked = kind === filter;
    label.querySelector("span").textContent = `${names[kind] ?? title(kind)} ${rows.filter(among(kind)).length}`;
  });
}

function show(filter) {
  Object.assign(batch, { filter, page: 0 });
  filters();
  arrange();
}

function turn(by) {
  batch.page += by;
  arrange();
}

function sortBy(head) {
  const up = head.getAttribute("aria-sort") !== "ascending";
  document.querySelectorAll("#batch th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  batch.sort = { key: head.dataset.key, up };
  arrange();
}

function arrange() {
  const { rows, filter, sort, info } = batch;
  const keys = {
    name: (row) => row.name,
    kind: (row) => row.line.children[3].textContent,
    score: (row) => (row.prediction && row.prediction.novelty.level !== "foreign" ? row.prediction.probabilities[info.positive] : -1),
    ms: (row) => row.prediction?.timing_ms.total ?? -1,
  };
  const shown = rows.filter(among(filter));
  if (sort) {
    const key = keys[sort.key];
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
    shown.sort((a, b) => (sort.up ? 1 : -1) * compare(key(a), key(b)));
  }
  const pages = Math.max(1, Math.ceil(shown.length / PAGE));
  batch.page = Math.min(Math.max(0, batch.page), pages - 1);
  $("batch-rows").replaceChildren(...shown.slice(PAGE * batch.page, PAGE * (batch.page + 1)).map((row) => row.line));
  $("batch-pages").hidden = pages === 1;
  $("batch-page").textContent = `Page ${batch.page + 1} of ${pages}`;
  $("batch-back").disabled = batch.page === 0;
  $("batch-next").disabled = batch.page === pages - 1;
}
