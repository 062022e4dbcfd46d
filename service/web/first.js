// What cannot wait for modules. A classic script for that reason.

// The theme that the reader chose, before the first paint, so that nothing flashes.
try {
  const stored = localStorage.getItem("theme");
  if (stored === "light" || stored === "dark") document.documentElement.style.setProperty("color-scheme", stored);
} catch {
  // Storage may be forbidden; the system's theme then stands.
}

// One module that does not come, as when a network changes, and none runs: the page is asked for once more, then says so.
addEventListener(
  "error",
  ({ target }) => {
    if (!(target instanceof HTMLScriptElement || target instanceof HTMLLinkElement)) return;
    if (performance.getEntriesByType("navigation")[0].type !== "reload") location.reload();
    else document.querySelector("#message p").textContent = "A part of the page could not be loaded. Reload the page.";
  },
  true,
);
