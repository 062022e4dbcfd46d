// All requests to the service. A body holds only the bytes of the image, so that no file name leaves the page.

const BUSY_TRIES = 3;
let token = ""; // in memory only

export function setToken(value) {
  token = value;
}

export const hasToken = () => Boolean(token);

// A problem from the service (RFC 9457). Status 0: the request itself failed.
export class Problem extends Error {
  constructor(status, detail, { title = "", requestId = "", retryAfter = 1, bytes = 0 } = {}) {
    super(detail);
    Object.assign(this, { status, detail, title, requestId, retryAfter, bytes });
  }
}

export const isReady = () => ask("health/ready");
export const modelInfo = () => ask("model-info");

// Retries a few times while the service is overloaded. `wait` gets the seconds until the next try, and may show them.
export async function predict(image, { heatmap = false, signal, wait = pause } = {}) {
  const headers = { "Content-Type": "application/octet-stream" };
  for (let tries = 1; ; tries++) {
    try {
      return await ask(`predict?heatmap=${heatmap}`, { method: "POST", body: image, headers, signal });
    } catch (problem) {
      if (problem.status !== 429 || tries > BUSY_TRIES) throw problem;
      await wait(problem.retryAfter * (1 + 0.2 * Math.random()), signal); // with a random part, so that not all clients retry at once
    }
  }
}

// A file as a Blob: an example, or what a link cannot fetch because it cannot send the token.
export const file = async (path) => (await send(path)).blob();

// The image as the service decodes it, as a Blob, for a file that the browser cannot show.
export async function preview(image, signal) {
  const headers = { "Content-Type": "application/octet-stream" };
  return (await send("preview", { method: "POST", body: image, headers, signal })).blob();
}

async function ask(path, options = {}) {
  const response = await send(path, { ...options, cache: "no-store" });
  return response.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "its answer was cut off");
  });
}

async function send(path, options = {}) {
  const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "the service does not answer");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Problem(response.status, said.detail ?? response.statusText, {
    title: said.title,
    requestId: said.request_id ?? response.headers.get("X-Request-ID") ?? "",
    retryAfter: Number(response.headers.get("Retry-After")) || 1,
  });
}

export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const end = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(end);
      reject(new DOMException("given up", "AbortError"));
    });
  });
}
