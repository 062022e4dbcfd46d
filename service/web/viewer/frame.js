// The messages in the frame: instead of a picture, or below it while an image is read.

import { announce } from "../announce.js";
import { element } from "../element.js";
import { lower } from "../words.js";

const $ = (id) => document.getElementById(id);

export function clear() {
  show([]);
}

export function empty(info, hasExamples) {
  const limits = info?.running.limits;
  const size = limits ? `, up to ${(limits.max_body_bytes / 1e6).toLocaleString("en")}\u00a0MB` : "";
  const touch = matchMedia("(pointer: coarse)").matches;
  show([
    element("h3", `${touch ? "Choose a chest X-ray, or take a photo of one" : "Drop a chest X-ray here"}${hasExamples ? ", or try one of those below" : ""}.`),
    ...(info ? [element("p", `The model tells ${info.labels.map(lower).join(" from ")}, or is uncertain.`)] : []),
    element("p", `JPEG, PNG or DICOM${size}. One file, or ${touch ? "several" : "a whole folder"}.`),
    element("p", "The image goes to this service only, is not stored, and its file name is not sent."),
    ...(hasExamples ? [] : [element("p", "No X-ray at hand? Send a drawing: it shows how the model answers something it may never have learned.", "soft")]),
  ]);
}

// kept: the number of files that were chosen meanwhile.
export function waiting(problem, kept) {
  const starting = Boolean(problem.status);
  show([
    element("h3", starting ? "The service is starting." : "No connection to the service."),
    element("p", `${starting ? "It is loading the model and testing it on a known image." : `The page is loaded, but ${location.host} does not answer.`} This page tries again by itself.`),
    element("p", starting ? problem.detail : "", "said"),
  ]);
  if (kept) keep(kept);
}

export function keep(count) {
  const words = count === 1 ? "Your image is kept and will be read as soon as the service is ready." : "Your images are kept and will be read as soon as the service is ready.";
  $("message").querySelector(".kept")?.remove();
  $("message").append(element("p", words, "kept"));
  announce(words);
}

export function problem(name, { heading, text, detail }, tryAgain) {
  const alert = element("div");
  alert.setAttribute("role", "alert");
  alert.append(element("h3", heading), element("p", text));
  if (detail) alert.append(element("p", detail, "said"));
  const buttons = element("p", "", "actions");
  if (tryAgain) buttons.append(button("Try again", tryAgain));
  buttons.append(button("Choose another image", () => $("choose").click()));
  show([element("p", name, "file-name"), alert, buttons], "problem");
}

export function unseen() {
  show([element("p", "Your browser cannot show this file type; the model can read it. Saved as PNG, it is shown under the map.")], "foot");
}

// Falsy words mean that no image is being read.
export function reading(words, button = "Cancel") {
  $("reading").hidden = !words;
  $("reading-text").textContent = words || "";
  $("cancel").textContent = button;
}

export function busy(seconds) {
  reading(`The service is busy. It answers as many images as it can. Trying again in ${seconds} ${seconds === 1 ? "second" : "seconds"}.`, "Stop trying");
}

function show(parts, kind = "") {
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
