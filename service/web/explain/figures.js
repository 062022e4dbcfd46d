// Small SVG drawing: elements, axes, text. Colours come from the stylesheet by class.

const SVG = "http://www.w3.org/2000/svg";

export function shape(tag, attributes = {}, text = "") {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

export const text = (x, y, words, attributes = {}) => shape("text", { x, y, ...attributes }, words);

export function fill(id, label, shapes) {
  const svg = document.getElementById(id);
  svg.setAttribute("aria-label", label);
  svg.replaceChildren(...shapes.flat(Infinity).filter(Boolean));
}

// A linear scale: from [a, b] to [c, d].
export const scale = ([a, b], [c, d]) => (value) => c + ((value - a) / (b - a)) * (d - c);

// A bitmap of one filter, 0–255, drawn small and shown large.
export function tile(levels, width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  levels.forEach((level, index) => image.data.set([level, level, level, 255], 4 * index));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
