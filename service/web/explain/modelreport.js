// If the service requires a token, a link to the model's report cannot send it: the report is fetched and shown here instead.

import { file, hasToken } from "../api.js";

const PLACE = "report/";
const dialog = document.getElementById("model-report");

export function setUp() {
  for (const link of document.querySelectorAll(".report-link")) {
    link.addEventListener("click", (event) => {
      if (!hasToken()) return;
      event.preventDefault();
      open();
    });
  }
  document.getElementById("model-report-close").addEventListener("click", () => dialog.close());
}

async function open() {
  const body = document.getElementById("model-report-body");
  if (!body.childElementCount) {
    const page = new DOMParser().parseFromString(await (await file(`${PLACE}index.html`)).text(), "text/html");
    await Promise.all([...page.images].map(fetchImage));
    body.append(...[...page.querySelectorAll("header, main")].map((part) => document.importNode(part, true)).flatMap((part) => [...part.childNodes]));
  }
  dialog.showModal();
}

async function fetchImage(image) {
  image.src = URL.createObjectURL(await file(PLACE + image.getAttribute("src")));
}
