// The chosen theme, and which parts of the explanation are open.

const WIDE = matchMedia("(min-width: 75rem)"); // two panes, as in page.css

export const isWide = () => WIDE.matches;

export function setUp() {
  setUpThemes();
  WIDE.addEventListener("change", unfold);
  unfold();
}

function setUpThemes() {
  const chosen = stored();
  document.querySelectorAll("[name=theme]").forEach((radio) => {
    radio.checked = radio.value === (chosen ?? "system");
    radio.addEventListener("change", () => choose(radio.value));
  });
}

function stored() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null; // storage is forbidden: the choice lasts as long as the page
  }
}

function choose(theme) {
  document.documentElement.style.setProperty("color-scheme", theme === "system" ? "light dark" : theme);
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // as above
  }
}

// The explanation is open beside the tool, and folded below it on a phone.
function unfold() {
  document.querySelectorAll(".part").forEach((part) => (part.open = WIDE.matches));
}
