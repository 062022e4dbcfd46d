// The heat-map: evidence in logits, interpolated between its cells, as colours and contours. One scale for all images.

const SIZE = 224; // px of the painted map, the network's input
const CONTOUR = 0.5; // share of the scale at which the contours run
const LIGHTNESS = 0.7;
const CHROMA = 0.15;
const [AGAINST, FOR] = [255, 55]; // degrees of hue

// t from −1 to 1 → [r, g, b], of the same lightness throughout, so that the X-ray's own light and dark stay readable.
export function colour(t) {
  const chroma = CHROMA * Math.sqrt(Math.abs(t));
  const hue = ((t < 0 ? AGAINST : FOR) * Math.PI) / 180;
  return fromOklab(LIGHTNESS, chroma * Math.cos(hue), chroma * Math.sin(hue));
}

export const fade = (t) => Math.abs(t) ** 1.5; // opacity: weak evidence leaves the X-ray clear
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const TABLE = Array.from({ length: 255 }, (_, index) => colour((index - 127) / 127));

// Rows and columns of t. Smooth: bicubic between the cells; else one pixel per cell.
export function paint(canvas, field) {
  const [height, width] = [field.length, field[0].length];
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  field.forEach((row, y) =>
    row.forEach((t, x) => {
      const [r, g, b] = TABLE[Math.round(127 * t) + 127];
      image.data.set([r, g, b, Math.round(255 * fade(t))], 4 * (y * width + x));
    }),
  );
  canvas.getContext("2d").putImageData(image, 0, 0);
}

export const scaled = ({ values, scale }) => values.map((row) => row.map((value) => clamp(value / scale, -1, 1)));

// SIZE × SIZE values of t. Cell centres lie at (i + ½) / n; the edge values continue outside.
export function smooth({ values, scale }) {
  const across = values.map((row) => spread(row));
  const columns = Array.from({ length: SIZE }, (_, x) => spread(across.map((row) => row[x])));
  return Array.from({ length: SIZE }, (_, y) => columns.map((column) => clamp(column[y] / scale, -1, 1)));
}

function spread(line) {
  const at = (index) => line[clamp(index, 0, line.length - 1)];
  return Array.from({ length: SIZE }, (_, pixel) => {
    const place = ((pixel + 0.5) * line.length) / SIZE - 0.5;
    const i = Math.floor(place);
    const f = place - i;
    const [a, b, c, d] = [at(i - 1), at(i), at(i + 1), at(i + 2)];
    return b + 0.5 * f * (c - a + f * (2 * a - 5 * b + 4 * c - d + f * (3 * (b - c) + d - a))); // Catmull–Rom
  });
}

// An SVG path along which the field has this value (marching squares on every second pixel).
function contour(field, level) {
  const step = 2;
  let path = "";
  const cross = (a, b) => (level - a) / (b - a);
  for (let y = 0; y + step < SIZE; y += step) {
    for (let x = 0; x + step < SIZE; x += step) {
      const [a, b, c, d] = [field[y][x], field[y][x + step], field[y + step][x + step], field[y + step][x]];
      const points = [];
      if (a < level !== b < level) points.push([x + step * cross(a, b), y]);
      if (b < level !== c < level) points.push([x + step, y + step * cross(b, c)]);
      if (d < level !== c < level) points.push([x + step * cross(d, c), y + step]);
      if (a < level !== d < level) points.push([x, y + step * cross(a, d)]);
      for (let i = 0; i + 1 < points.length; i += 2) {
        const [[x1, y1], [x2, y2]] = [points[i], points[i + 1]];
        path += `M${x1.toFixed(1)} ${y1.toFixed(1)}L${x2.toFixed(1)} ${y2.toFixed(1)}`;
      }
    }
  }
  return path;
}

export const contours = (field) => ({ for: contour(field, CONTOUR), against: contour(field, -CONTOUR) });

// The ninth of the image that holds most of the evidence for the positive label, and its share of that; null if little speaks for it.
export function mostEvidence(values) {
  const [rows, columns] = [values.length, values[0].length];
  const sums = new Map();
  let [total, against] = [0, 0];
  values.forEach((row, y) =>
    row.forEach((value, x) => {
      against += Math.max(0, -value);
      if (value <= 0) return;
      const place = [["upper", "middle", "lower"][Math.floor((3 * (y + 0.5)) / rows)], ["left", "middle", "right"][Math.floor((3 * (x + 0.5)) / columns)]];
      const name = place[0] === place[1] ? "middle" : place.map((part, i) => (part === "middle" && i === 1 ? "middle" : part)).join(" ");
      sums.set(name, (sums.get(name) ?? 0) + value);
      total += value;
    }),
  );
  if (total <= against) return null;
  const [place, sum] = [...sums].reduce((best, next) => (next[1] > best[1] ? next : best));
  return { place, share: sum / total };
}

// The share of the evidence, for and against, outside the middle half of the sides.
export function outsideShare(values) {
  const isMiddle = (index, count) => index >= Math.round(count / 4) && index < Math.round((3 * count) / 4);
  let [outside, total] = [0, 0];
  values.forEach((row, y) =>
    row.forEach((value, x) => {
      total += Math.abs(value);
      if (!isMiddle(y, values.length) || !isMiddle(x, row.length)) outside += Math.abs(value);
    }),
  );
  return total ? outside / total : 0;
}

function fromOklab(lightness, a, b) {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  return linear.map((value) => {
    const v = clamp(value, 0, 1);
    return Math.round(255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055));
  });
}
