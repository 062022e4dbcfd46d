// Draws an image that looks like a chest X-ray from afar, since the repository contains no X-ray of a person. It has the
// shapes of training/data/phantoms.py: a model trained on those knows it, and any other model calls it foreign.

const [WIDTH, HEIGHT] = [400, 360];

export async function drawing() {
  const canvas = new OffscreenCanvas(WIDTH, HEIGHT);
  const context = canvas.getContext("2d");
  const image = context.createImageData(WIDTH, HEIGHT);
  const random = generator(7);
  for (let row = 0; row < HEIGHT; row++) {
    for (let column = 0; column < WIDTH; column++) {
      const x = (2 * column) / (WIDTH - 1) - 1;
      const y = (2 * row) / (HEIGHT - 1) - 1;
      const grey = 255 * (0.05 + 0.95 * density(x, y)) + 6 * normal(random);
      image.data.set([grey, grey, grey, 255], 4 * (row * WIDTH + column));
    }
  }
  context.putImageData(image, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/png" });
  return new File([blob], "Drawing, not an X-ray", { type: "image/png" });
}

function density(x, y) {
  const body = ellipse(x, y, 0, 0.25, 0.95, 1.25, 0.08);
  const spine = ellipse(x, y, 0, 0.2, 0.1, 1.4, 0.3);
  const heart = ellipse(x, y, 0.14, 0.3, 0.31, 0.38, 0.2);
  const lungs = Math.max(ellipse(x, y, -0.43, 0.02, 0.3, 0.64, 0.18), ellipse(x, y, 0.43, 0.02, 0.3, 0.64, 0.18));
  const ribs = 0.5 + 0.5 * Math.sin(19 * (y + 0.5 * x * x) + 1);
  const cloud = 0.38 * Math.exp(-((x + 0.42) ** 2 + (y - 0.2) ** 2) / (2 * 0.2 ** 2));
  return 0.55 * body - 0.42 * lungs + 0.07 * ribs * body + 0.25 * spine * body + 0.3 * heart + cloud * lungs;
}

// 1 inside, 0 outside, with an edge `softness` wide as a share of the radius.
function ellipse(x, y, cx, cy, rx, ry, softness) {
  const radius = Math.hypot((x - cx) / rx, (y - cy) / ry);
  return 1 / (1 + Math.exp(Math.min(50, Math.max(-50, (4 * (radius - 1)) / softness))));
}

function generator(seed) {
  let state = seed;
  return () => (state = (1664525 * state + 1013904223) % 2 ** 32) / 2 ** 32;
}

const normal = (random) => Math.sqrt(-2 * Math.log(random() + 1e-9)) * Math.cos(2 * Math.PI * random());
