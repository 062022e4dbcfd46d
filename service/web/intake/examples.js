// The model folder's examples: synthetic X-rays, of no one. See training/tools/synthesise.py.

import { element } from "../element.js";
import { title } from "../words.js";

const $ = (id) => document.getElementById(id);

// Passes address and name of the chosen example to `take`. Without examples the section stays hidden.
export function setUp(info, take) {
  const known = Object.fromEntries((info.metrics.examples?.images ?? []).map((image) => [image.file, image]));
  const files = info.running.examples.filter((file) => known[file]);
  $("examples").hidden = !files.length;
  $("examples-list").replaceChildren(...files.map((file, index) => item(known[file], index + 1, take)));
}

// Marks the example that is shown, and says what to look for in it. name: that of the file that is shown, if there is one.
export function mark(name) {
  const shown = $("examples-list").querySelector(`[data-name="${CSS.escape(name ?? "")}"]`);
  document.querySelectorAll(".example").forEach((button) => button.setAttribute("aria-pressed", button === shown));
  const look = element("span", shown?.dataset.look ?? "", "look");
  $("examples-look").replaceChildren(shown ? "Synthetic, of no one. " : "Synthetic X-rays, of no one, blended from many images.", look);
}

// The name does not tell the label, for those who look first.
function item({ file, label, uncertain, look }, number, take) {
  const [name, path] = [`Example ${number}, synthetic`, `examples/${encodeURIComponent(file)}`];
  const button = element("button", "", "example");
  button.type = "button";
  Object.assign(button.dataset, { name, look });
  button.setAttribute("aria-pressed", "false");
  const image = element("img");
  Object.assign(image, { src: path, alt: "Synthetic X-ray", width: 96, height: 96 });
  button.append(image, element("b", uncertain ? `${title(label)}?` : title(label)), element("span", look));
  button.addEventListener("click", () => take(path, name));
  const line = element("li");
  line.append(button);
  return line;
}
