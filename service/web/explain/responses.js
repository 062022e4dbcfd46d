// What the first filters answer to on an image: bright where they agree with it, dark where they agree with its negative.

import { bytesOf, mostPatterned } from "./plots.js";
import { tile } from "./figures.js";

const SHOWN = 8;
const LATER = 250; // ms
const STEP = 2; // as every stem moves
const [ZERO, GREY] = [128, 115]; // of an encoded filter; the mean grey level that images are centred on
const $ = (id) => document.getElementById(id);

let turn = 0; // of the last image

export function clear() {
  turn += 1;
  $("figure-responses").hidden = true;
  $("responses").replaceChildren();
}

// Once the answer has been painted, which must not wait for this. filters: as metrics.anatomy has them; asSquare: see stage.js.
export function showLater(filters, asSquare) {
  const own = ++turn;
  setTimeout(() => own === turn && show(filters, asSquare()), LATER);
}

function show(filters, square) {
  if (!filters || !square) return;
  $("figure-responses").hidden = false;
  const { width: side } = square;
  const grey = square.getContext("2d").getImageData(0, 0, side, side).data;
  const { shape: [, height, width], after } = filters;
  const bytes = bytesOf(after);
  const patterned = mostPatterned(filters);
  const chosen = patterned.filter((_, index) => index % Math.ceil(patterned.length / SHOWN) === 0);
  const pictures = chosen.map((index) => {
    const filter = bytes.subarray(index * width * height, (index + 1) * width * height);
    const box = document.createElement("span");
    box.append(response(grey, side, filter, width, height), tile(filter, width, height));
    return box;
  });
  $("responses").replaceChildren(...pictures);
}

function response(grey, side, filter, width, height) {
  const out = Math.floor((side - Math.max(width, height)) / STEP) + 1;
  const values = new Float32Array(out * out);
  for (let y = 0; y < out; y++) {
    for (let x = 0; x < out; x++) {
      let sum = 0;
      for (let i = 0; i < height; i++) {
        for (let j = 0; j < width; j++) sum += (filter[i * width + j] - ZERO) * (grey[4 * ((STEP * y + i) * side + STEP * x + j)] - GREY);
      }
      values[y * out + x] = sum;
    }
  }
  const greatest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
  return tile(values.map((value) => ZERO + 127 * (value / greatest)), out, out);
}
