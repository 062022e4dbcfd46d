// Batches: one request per image, four at a time, rows in the order of the files. Files and answers stay in memory.

import { announce } from "../announce.js";
import { predict, Problem } from "../api.js";
import { element } from "../element.js";
import { reason } from "../words.js";
import { printOnly, save, toCsv, toJson } from "../answer/report.js";
import * as table from "./table.js";

const AT_ONCE = 4;
const MOST = 500;
const NAMED = 5; // files that are named for one reason of refusal

const $ = (id) => document.getElementById(id);
let batch = null; // { rows, info, left, cancel, quarter }

export function setUp(openInStage) {
  $("batch-cancel").addEventListener("click", () => batch.cancel.abort());
  $("batch-retry").addEventListener("click", () => run(batch.rows.filter(isBusy)));
  $("batch-csv").addEventListener("click", () => save("medxfer.csv", "text/csv", toCsv(batch.rows, batch.info)));
  $("batch-json").addEventListener("click", () => save("medxfer.json", "application/json", toJson(batch.rows, batch.info)));
  $("batch-print").addEventListener("click", () => printOnly("batch"));
  $("batch-close").addEventListener("click", close);
  table.setUp(openInStage);
}

export function start(files, info) {
  batch?.cancel.abort();
  const rows = files.slice(0, MOST).map((file, index) => ({ file, index, name: file.webkitRelativePath || file.name }));
  batch = { rows, info, left: files.length - rows.length, cancel: new AbortController() };
  $("batch").hidden = false;
  $("batch-progress").max = rows.length;
  table.start(rows, info);
  $("batch").scrollIntoView({ block: "start" });
  $("batch-title").focus({ preventScroll: true });
  announce(`Reading ${rows.length} files.`);
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
  const waiting = [...wanted];
  waiting.forEach((row) => delete row.problem);
  own.quarter = 0;
  progress();
  const worker = async () => {
    for (let row; !own.cancel.signal.aborted && (row = waiting.shift()); ) {
      await ask(row, own);
      if (batch !== own) continue;
      table.note(row);
      progress();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (batch === own) finish();
}

async function ask(row, { info, cancel: { signal } }) {
  try {
    if (row.file.size > info.running.limits.max_body_bytes) throw new Problem(413, "too large", { bytes: row.file.size });
    row.prediction = await predict(row.file, { signal });
  } catch (error) {
    if (error.name === "AbortError") return;
    row.problem = error instanceof Problem ? error : new Problem(400, String(error));
  }
}

const isDone = (row) => Boolean(row.prediction || row.problem);
const isBusy = (row) => row.problem && [0, 429, 503, 504].includes(row.problem.status);

function progress() {
  const { rows } = batch;
  const done = rows.filter(isDone).length;
  const refused = rows.filter((row) => row.problem).length;
  $("batch-progress").value = done;
  $("batch-words").textContent = `Reading ${done} of ${rows.length} files.${refused ? ` ${refused} refused so far.` : ""}`;
  $("batch-cancel").hidden = false;
  $("batch-retry").hidden = $("batch-failures").hidden = true;
  const quarter = Math.floor((4 * done) / rows.length);
  if (quarter > batch.quarter && quarter < 4) announce(`${25 * quarter} percent read.`);
  batch.quarter = Math.max(batch.quarter, quarter);
  table.filters();
}

function finish() {
  const { rows, left } = batch;
  const read = rows.filter((row) => row.prediction).length;
  const failed = rows.filter((row) => row.problem);
  const stopped = rows.some((row) => !isDone(row));
  rows.filter((row) => !isDone(row)).forEach(table.note);
  const most = left ? ` Only the first ${MOST} files were taken; ${left} were not.` : "";
  $("batch-words").textContent =
    (stopped ? `Stopped after ${rows.filter(isDone).length}. The rest was not sent.` : `${read} of ${rows.length} files read.${failed.length ? ` ${failed.length} ${failed.length === 1 ? "was" : "were"} not:` : ""}`) + most;
  announce(stopped ? $("batch-words").textContent : `Batch finished. ${read} read, ${failed.length} not read.`);
  $("batch-cancel").hidden = true;
  const busy = rows.filter(isBusy).length;
  $("batch-retry").hidden = !busy;
  $("batch-retry").textContent = `Try the ${busy} unanswered again`;
  $("batch-failures").hidden = !failed.length;
  $("batch-failures").replaceChildren(
    ...Object.entries(Object.groupBy(failed, ({ problem }) => reason(problem, batch.info.running.limits))).map(failure),
  );
  table.filters();
}

// A reason of refusal, and the first files that it holds for.
function failure([words, rows]) {
  const item = element("li", `${words} `);
  rows.slice(0, NAMED).forEach((row, index) => {
    const link = element("a", row.name);
    link.href = `#row-${row.index}`;
    link.addEventListener("click", () => table.reveal(row));
    item.append(index ? ", " : "", link);
  });
  if (rows.length > NAMED) item.append(` and ${rows.length - NAMED} more`);
  return item;
}
