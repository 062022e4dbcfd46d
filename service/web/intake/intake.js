// All ways to add images: file dialog, folder, camera, drop, paste. Passes Files of any kind to `take`.

import { announce } from "../announce.js";

const HINT = "or drop files anywhere, or paste with Ctrl V (⌘ V)";

export function listen(take) {
  const file = document.getElementById("file");
  const folder = document.getElementById("folder");
  const camera = document.getElementById("camera");
  const opens = { choose: file, "choose-folder": folder, photograph: camera };
  for (const [id, input] of Object.entries(opens)) {
    document.getElementById(id).addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      give([...input.files], take);
      input.value = ""; // so that the same file can be chosen again
    });
  }
  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("input:not([type=range], [type=radio], [type=checkbox])")) return;
    give([...event.clipboardData.files], take);
  });
  listenToDrops(take);
}

// The whole window accepts a drop; otherwise a missed drop would replace the page.
function listenToDrops(take) {
  const frame = document.getElementById("frame");
  let depth = 0;
  const over = (state, words) => {
    if (frame.classList.toggle("dropping", state) === state && words) announce(words);
  };
  addEventListener("dragenter", (event) => {
    event.preventDefault();
    if (!depth++) {
      const count = [...(event.dataTransfer?.items ?? [])].filter((item) => item.kind === "file").length;
      frame.dataset.drop = count > 1 ? `Drop to read ${count} files as a batch.` : count ? "Drop to read this image." : "Drop here.";
      over(true, "Over the drop area.");
    }
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    if (!depth) over(false, "Left the drop area.");
  });
  addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    over(false);
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = entries.length ? (await Promise.all(entries.map(filesOf))).flat() : [...event.dataTransfer.files];
    give(files, take);
  });
}

function give(files, take) {
  const wanted = files.filter((file) => !file.name.startsWith(".")); // .DS_Store and the like
  if (wanted.length) take(wanted);
  else announce("It contains no file.");
  document.getElementById("intake-hint").textContent = wanted.length ? HINT : "there was no file in it";
}

async function filesOf(entry) {
  if (entry.isFile) return await new Promise((resolve) => entry.file((file) => resolve([file]), () => resolve([]))); // unreadable: left out
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // at most 100 a call
    if (!some.length) break;
    found.push(...some);
  }
  return (await Promise.all(found.map(filesOf))).flat();
}
