// The table of a batch: one row per file, filled in place, with filters, sorting and pages.

import { element } from "../element.js";
import { kindOf, percent, reason, title } from "../words.js";

const PAGE = 200; // rows that a browser lays out quickly
const KINDS = ["all", "negative", "positive", "uncertain", "unusual", "refused"];

const $ = (id) => document.getElementById(id);
let table = null; // { rows, info, filter, sort, page }

export function setUp(open) {
  $("batch-back").addEventListener("click", () => turn(-1));
  $("batch-next").addEventListener("click", () => turn(1));
  $("batch-rows").addEventListener("click", (event) => {
    const row = event.target.closest("button") && table.rows[event.target.closest("tr").dataset.index];
    if (row) open(row.file);
  });
  for (const button of document.querySelectorAll(".sort")) button.addEventListener("click", () => sortBy(button.closest("th")));
}

export function start(rows, info) {
  rows.forEach((row) => (row.line = line(row)));
  table = { rows, info, filter: "all", sort: null, page: 0 };
  document.querySelectorAll("#batch th[aria-sort]").forEach((head) => head.removeAttribute("aria-sort"));
  arrange();
}

// The outcome of a row.
export function note(row) {
  const { info } = table;
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
  } else notes.textContent = "not sent";
  row.line.dataset.kind = row.problem ? "refused" : (row.kind ?? "");
  row.line.dataset.novelty = row.prediction?.novelty.level ?? "";
  thumbnail(row, picture);
}

// Each finished row has one kind, so that the counts add up.
const among = (filter) => (row) => filter === "all" || filter === kind(row);

function kind({ problem, prediction, kind }) {
  if (problem) return "refused";
  return prediction && (prediction.novelty.level === "typical" ? kind : "unusual");
}

export function filters() {
  const { rows, info, filter } = table;
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

export function show(filter) {
  Object.assign(table, { filter, page: 0 });
  filters();
  arrange();
}

// Turns to the page of the table with this row, before a link leads there.
export function reveal(row) {
  table.filter = "all";
  table.page = Math.floor(ordered().indexOf(row) / PAGE);
  filters();
  arrange();
}

function turn(by) {
  table.page += by;
  arrange();
}

function sortBy(head) {
  const up = head.getAttribute("aria-sort") !== "ascending";
  document.querySelectorAll("#batch th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  table.sort = { key: head.dataset.key, up };
  arrange();
}

function arrange() {
  const shown = ordered();
  const pages = Math.max(1, Math.ceil(shown.length / PAGE));
  table.page = Math.min(Math.max(0, table.page), pages - 1);
  $("batch-rows").replaceChildren(...shown.slice(PAGE * table.page, PAGE * (table.page + 1)).map((row) => row.line));
  $("batch-pages").hidden = pages === 1;
  $("batch-page").textContent = `Page ${table.page + 1} of ${pages}`;
  $("batch-back").disabled = table.page === 0;
  $("batch-next").disabled = table.page === pages - 1;
}

function ordered() {
  const { rows, filter, sort, info } = table;
  const keys = {
    name: (row) => row.name,
    kind: (row) => row.line.children[3].textContent,
    score: (row) => (row.prediction && row.prediction.novelty.level !== "foreign" ? row.prediction.probabilities[info.positive] : null),
    ms: (row) => row.prediction?.timing_ms.total ?? null,
  };
  const shown = rows.filter(among(filter));
  if (!sort) return shown;
  const key = keys[sort.key];
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  const [known, unknown] = [shown.filter((row) => key(row) !== null), shown.filter((row) => key(row) === null)];
  return [...known.sort((a, b) => (sort.up ? 1 : -1) * compare(key(a), key(b))), ...unknown];
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

async function thumbnail(row, cell) {
  try {
    const bitmap = await createImageBitmap(row.file, { resizeWidth: 80, resizeQuality: "medium" });
    const canvas = element("canvas");
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    cell.replaceChildren(canvas);
  } catch {
    cell.textContent = "–"; // the browser cannot show this file type
  }
}
