// Runs before the modules load, so it is a classic script.

// Sets the chosen theme before the first paint, so that nothing flashes.
try {
  const stored = localStorage.getItem("theme");
  if (stored === "light" || stored === "dark") document.documentElement.style.setProperty("color-scheme", stored);
} catch {
  // Storage may be forbidden; then the system's theme is used.
}

// If one module fails to load, none runs: load the page again, at most three times, then report it. Chromium breaks off what it
// loads whenever a network interface comes or goes, which is what Docker makes them do while containers start.
let failed = false;
addEventListener(
  "error",
  ({ target }) => {
    if (failed || !(target instanceof HTMLScriptElement || target instanceof HTMLLinkElement)) return;
    failed = true;
    const reloads = history.state?.reloads ?? 0; // main.js sets it back
    history.replaceState({ reloads: reloads + 1 }, "");
    if (reloads < 3) setTimeout(() => location.reload(), 500 * reloads);
    else document.querySelector("#message p").textContent = "A part of the page could not be loaded. Reload the page.";
  },
  true,
);
