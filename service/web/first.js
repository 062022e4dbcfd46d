// Runs before the modules load, so it is a classic script.

// Sets the chosen theme before the first paint, so that nothing flashes.
try {
  const stored = localStorage.getItem("theme");
  if (stored === "light" || stored === "dark") document.documentElement.style.setProperty("color-scheme", stored);
} catch {
  // Storage may be forbidden; then the system's theme is used.
}

// If one module fails to load, none runs: reload the page once, then report it.
addEventListener(
  "error",
  ({ target }) => {
    if (!(target instanceof HTMLScriptElement || target instanceof HTMLLinkElement)) return;
    if (performance.getEntriesByType("navigation")[0].type !== "reload") location.reload();
    else document.querySelector("#message p").textContent = "A part of the page could not be loaded. Reload the page.";
  },
  true,
);
