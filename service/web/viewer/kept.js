// A picture that was kept with its map, on the left of the next one, to compare the two.

import { announce } from "../announce.js";

const canvas = document.getElementById("kept");
let kept = false;

export const isKept = () => kept;

export function end() {
  kept = false;
}

// picture, map: canvases; map: null where it is off. strength: opacity of the map. words: name the picture and its answer.
export function keep(picture, { map, strength, inverted, words }) {
  kept = true;
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext("2d");
  if (inverted) context.filter = "invert(1)";
  context.drawImage(picture, 0, 0);
  context.filter = "none";
  context.globalAlpha = strength;
  if (map) context.drawImage(map, 0, 0, canvas.width, canvas.height);
  document.querySelector("[data-view=kept]").style.setProperty("--ratio", canvas.width / canvas.height);
  canvas.setAttribute("aria-label", `Kept: ${words}`);
  document.getElementById("fact-kept").textContent = words;
  announce("Kept on the left. Choose another image to compare it with.");
}
