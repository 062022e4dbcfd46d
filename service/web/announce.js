// The page's polite live region: announces changes to screen readers without moving the focus.

let last = 0;

export function announce(text) {
  const region = document.getElementById("live");
  const turn = ++last;
  region.textContent = "";
  setTimeout(() => turn === last && (region.textContent = text), 100); // the text was emptied first, so that the same words are announced again
}
