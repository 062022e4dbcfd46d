// Puts this service's address and the model's name into the commands. Without it, they are those of a service on this machine.

function fill(placeholder, value) {
  document.querySelectorAll("pre").forEach((command) => (command.textContent = command.textContent.replaceAll(placeholder, value)));
}

fill("localhost:8000", new URL(".", location).href.slice(0, -1)); // behind a proxy, with its prefix

const answer = await fetch("model-info");
if (answer.ok) fill("NAME", (await answer.json()).name); // a service with a token answers 401
