// Sets the stored theme before the first paint, so that nothing flashes. A classic script for that reason: modules come too late.
try {
  const stored = localStorage.getItem("theme");
  if (stored === "light" || stored === "dark") document.documentElement.style.setProperty("color-scheme", stored);
} catch {
  // Storage may be forbidden; the system's theme then stands.
}
