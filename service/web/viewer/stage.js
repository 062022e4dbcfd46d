// The viewer: picture and map, zoom and pan, inverted, overlay or side by side. The picture grows in layout, not by a transform,
// so that the contours keep their width.

import { signed } from "../words.js";
import { contours, mostEvidence, outsideShare, paint, scaled, smooth } from "./heatmap.js";
import * as kept from "./kept.js";

const LONGEST = 2048; // px, the longest side of the picture that is kept
const STEP = 1.25;
const MOST = 8;

const $ = (selector) => document.querySelector(selector);
const stage = $("#stage");
const original = $("[data-view=image] .base");
const base = $("#base");
const opacity = $("#opacity");
const start = () => ({ zoom: 1, x: 0, y: 0, invert: false, map: true, cells: false, mode: "overlay" });
let view = start();
let picture = null; // { name, width, height } of what is shown
let heatmap = null;
let square = 224; // px, the side of the square that the network reads

export const setSquare = (side) => (square = side);

export function setUp() {
  document.querySelectorAll("[data-tool]").forEach((button) => button.addEventListener("click", () => act(button.dataset.tool)));
  document.querySelectorAll("[name=mode]").forEach((radio) => radio.addEventListener("change", () => change({ mode: radio.value })));
  opacity.addEventListener("input", () => change({ map: true }));
  stage.addEventListener("keydown", onKey);
  stage.addEventListener("wheel", onWheel, { passive: false });
  stage.addEventListener("dblclick", (event) => zoomAt(event, view.zoom > 1 ? 1 / view.zoom : 2));
  listenToPointers();
  clear();
}

export function clear() {
  picture = heatmap = null;
  view = { ...start(), mode: view.mode };
  for (const canvas of [original, base, $("#map")]) canvas.width = canvas.height = 1;
  draw();
}

// bitmap: null if the browser cannot show the file; then a plain grid replaces it. note: stands before the size.
export function showPicture(name, bitmap, note = "") {
  const [width, height] = bitmap ? [bitmap.width, bitmap.height] : [1000, 1000];
  picture = { name, width, height, note, unseen: !bitmap };
  if (!bitmap) view.mode = "overlay"; // a grid cannot be compared with anything
  const shrink = Math.min(1, LONGEST / Math.max(width, height));
  original.width = Math.round(width * shrink);
  original.height = Math.round(height * shrink);
  const context = original.getContext("2d");
  if (bitmap) context.drawImage(bitmap, 0, 0, original.width, original.height);
  else drawGrid(context, original.width);
  paintBase(bitmap);
  stage.style.setProperty("--ratio", width / height);
  stage.toggleAttribute("data-unseen", !bitmap);
  draw();
}

// shown: whether the map is visible at once, which it is not for unusual images.
export function showMap(answer, shown) {
  heatmap = answer;
  view.map = shown;
  const field = smooth(heatmap);
  const lines = contours(field);
  for (const [name, path] of Object.entries(lines)) {
    const line = stage.querySelector(`path.${name}`);
    line.setAttribute("d", path);
    line.previousElementSibling.setAttribute("d", path); // the dark outline below the line
  }
  fillCells();
  draw();
}

// What the network reads: grey, shrunk and stretched to a square, here as the browser does it. Null without a picture.
export function asSquare() {
  if (!picture || picture.unseen) return null;
  const canvas = new OffscreenCanvas(square, square);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.filter = "grayscale(1)";
  context.imageSmoothingQuality = "high";
  context.drawImage(original, 0, 0, square, square);
  return canvas;
}

// What the answer says of the picture, for the time that it is kept beside another one.
export function setCaption(words) {
  if (picture) picture.caption = words;
}

export const picturePlace = () => heatmap && { ...mostEvidence(heatmap.values), outside: outsideShare(heatmap.values) };

export function endKeeping() {
  kept.end();
  draw();
}

function keep() {
  if (!heatmap) return;
  const map = stage.classList.contains("mapped") ? $("#map") : null;
  const words = [picture.name, picture.caption].filter(Boolean).join(": ");
  kept.keep(base, { map, strength: Number(opacity.value) / 100, inverted: view.invert, words });
  draw();
}

// bitmap: of the original, if it is at hand; else the canvas that holds it is drawn.
function paintBase(bitmap) {
  const seen = view.mode === "square" && asSquare();
  base.width = (seen || original).width;
  base.height = (seen || original).height;
  base.getContext("2d").drawImage(seen || bitmap || original, 0, 0, base.width, base.height);
}

function act(tool) {
  if (tool === "keep" && kept.isKept()) return endKeeping();
  if (!picture || (tool === "invert" && picture.unseen)) return;
  const pans = { left: [1, 0], right: [-1, 0], up: [0, 1], down: [0, -1] };
  if (tool in pans) pan(...pans[tool], 0.1);
  else if (tool === "in") zoom(STEP);
  else if (tool === "out") zoom(1 / STEP);
  else if (tool === "fit") change({ zoom: 1, x: 0, y: 0 });
  else if (tool === "keep") keep();
  else change({ [tool]: !view[tool] });
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const tools = { "+": "in", "=": "in", "-": "out", 0: "fit", i: "invert", m: "map", c: "cells", k: "keep" };
  const arrows = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const { key } = event;
  if (key in tools) act(tools[key]);
  else if (key in arrows && view.zoom > 1) pan(...arrows[key], event.shiftKey ? 0.5 : 0.1);
  else if (key === "[" || key === "]") {
    opacity.value = Number(opacity.value) + (key === "]" ? 5 : -5);
    change({ map: true });
  } else if (key === "s" && !picture?.unseen) change({ mode: view.mode === "side" ? "overlay" : "side" });
  else if (key === "?") $("#keys").togglePopover();
  else return;
  event.preventDefault();
}

function onWheel(event) {
  if (!picture || !(event.ctrlKey || document.activeElement === stage)) return; // otherwise the wheel scrolls the page
  event.preventDefault();
  zoomAt(event, STEP ** Math.sign(-event.deltaY));
}

function listenToPointers() {
  const pointers = new Map();
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  };
  stage.addEventListener("pointerdown", (event) => {
    if (!picture) return;
    pointers.set(event.pointerId, event);
    if (event.pointerType !== "touch" || view.zoom > 1 || pointers.size > 1) stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const apart = pointers.size === 2 && spread();
    pointers.set(event.pointerId, event);
    if (apart) zoom(spread() / apart);
    else if (view.zoom > 1) change({ x: view.x + event.clientX - before.clientX, y: view.y + event.clientY - before.clientY });
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => pointers.delete(event.pointerId));
}

function zoom(factor) {
  const to = Math.min(MOST, Math.max(1, view.zoom * factor));
  const ratio = to / view.zoom;
  change({ zoom: to, x: view.x * ratio, y: view.y * ratio });
}

// Zooms around the place under the pointer.
function zoomAt(event, factor) {
  if (!picture) return;
  const box = (event.target.closest(".view") ?? stage).getBoundingClientRect();
  const [cx, cy] = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
  const to = Math.min(MOST, Math.max(1, view.zoom * factor));
  const ratio = to / view.zoom;
  change({ zoom: to, x: cx - (cx - view.x) * ratio, y: cy - (cy - view.y) * ratio });
}

function pan(x, y, share) {
  change({ x: view.x + x * share * stage.clientWidth, y: view.y + y * share * stage.clientHeight });
}

function change(what) {
  if (!picture) {
    view = { ...view, mode: what.mode ?? view.mode };
    return draw();
  }
  const isOther = what.mode && what.mode !== view.mode;
  view = { ...view, ...what };
  if (isOther) paintBase();
  draw();
}

function draw() {
  keepInSight();
  const shown = Boolean(heatmap) && view.map;
  const strength = Number(opacity.value);
  stage.dataset.mode = view.mode;
  stage.toggleAttribute("data-kept", kept.isKept());
  stage.classList.toggle("inverted", view.invert);
  stage.classList.toggle("mapped", shown && strength > 0);
  stage.classList.toggle("celled", view.cells);
  stage.classList.toggle("zoomed", view.zoom > 1);
  stage.querySelector("[data-view=image]").hidden = !["side", "square"].includes(view.mode) || !picture || kept.isKept();
  stage.querySelector("[data-view=kept]").hidden = !kept.isKept();
  for (const name of ["zoom", "x", "y"]) stage.style.setProperty(`--${name}`, view[name]);
  stage.style.setProperty("--strength", strength / 100);
  if (heatmap) paint($("#map"), view.cells ? scaled(heatmap) : smooth(heatmap));
  describe(shown, strength);
}

function keepInSight() {
  if (view.zoom === 1) view.x = view.y = 0;
  const box = stage.querySelector("[data-view=map]");
  const [width, height] = [box.clientWidth, box.clientHeight];
  const ratio = picture && view.mode !== "square" ? picture.width / picture.height : 1;
  const fitted = Math.min(width, height * ratio);
  const reach = (size, room) => Math.max(0, (size * view.zoom - room) / 2);
  const [x, y] = [reach(fitted, width), reach(fitted / ratio, height)];
  view.x = Math.min(x, Math.max(-x, view.x));
  view.y = Math.min(y, Math.max(-y, view.y));
}

function describe(shown, strength) {
  const percent = `${strength} %`;
  opacity.setAttribute("aria-valuetext", `${strength} percent`);
  $("#opacity-out").textContent = percent;
  for (const tool of ["invert", "map", "cells"]) $(`[data-tool=${tool}]`).setAttribute("aria-pressed", view[tool]);
  document.querySelectorAll("[data-tool]").forEach((button) => (button.disabled = !picture));
  $("[data-tool=invert]").disabled = !picture || picture.unseen;
  $("[data-tool=keep]").disabled = !kept.isKept() && !heatmap;
  $("[data-tool=keep]").setAttribute("aria-pressed", kept.isKept());
  for (const control of [opacity, $("[data-tool=map]"), $("[data-tool=cells]")]) control.disabled = !heatmap;
  document.querySelectorAll("[name=mode]").forEach((radio) => {
    radio.checked = radio.value === view.mode;
    radio.disabled = !picture || picture.unseen;
  });
  $("#arrows").hidden = view.zoom === 1;
  stage.tabIndex = picture ? 0 : -1;
  fact("name", picture?.name);
  fact("size", picture && !picture.unseen && `${picture.note}${picture.width} × ${picture.height}`);
  fact("zoom", picture && `zoom ${Math.round(100 * view.zoom)} %`);
  fact("map", shown ? `map ${percent}` : heatmap && "map off");
  fact("square", picture && view.mode === "square" && `Stretched to ${square} × ${square}`);
  const size = picture?.unseen ? "no preview" : `${picture?.width} by ${picture?.height} pixels`;
  base.setAttribute("aria-label", picture ? `${picture.name}, ${size}` : "No image");
}

function fact(name, text) {
  const chip = $(`#fact-${name}`);
  chip.hidden = !text;
  chip.textContent = text || "";
}

function fillCells() {
  const box = $("#cell-values");
  const [rows, columns] = heatmap.grid;
  box.style.setProperty("--rows", rows);
  box.style.setProperty("--columns", columns);
  box.replaceChildren(
    ...heatmap.values.flat().map((value) => {
      const cell = document.createElement("span");
      const number = document.createElement("b");
      number.textContent = signed(value);
      if (columns <= 8) cell.append(number);
      return cell;
    }),
  );
}

function drawGrid(context, size) {
  context.fillStyle = "#10161c";
  context.fillRect(0, 0, size, size);
  context.strokeStyle = "#2f3c48";
  for (let at = 0; at <= size; at += size / 10) {
    context.strokeRect(at, -1, 0, size + 2);
    context.strokeRect(-1, at, size + 2, 0);
  }
}
