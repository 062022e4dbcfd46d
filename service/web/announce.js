// The one polite live region: what a screen reader is told while nothing takes the focus.

let last = 0;

export function announce(text) {
  const region = document.getElementById("live");
  const turn = ++last;
  region.textContent = "";
  setTimeout(() => turn === last && (region.textContent = text), 100); // emptied first, so that the same words are spoken again
}
