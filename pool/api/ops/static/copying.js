// Buttons that copy a text.

const byId = (id) => document.getElementById(id);

/** Has screen readers read out a message. */
function announce(words) {
  const status = byId("said");
  if (!status) return;
  status.textContent = "";
  requestAnimationFrame(() => { status.textContent = words; });
}

/** Copies a text; also where there is no clipboard: without TLS, or without permission. */
async function copied(text) {
  if (await navigator.clipboard?.writeText(text).then(() => true, () => false)) return true;
  const focused = document.activeElement, area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return done;
}

async function copyBy(button, text, what) {
  const done = await copied(text);
  announce(done ? `Copied ${what}.` : `The browser did not let ${what} be copied.`);
  const shown = done ? "done" : "refused";
  button.classList.add(shown);
  setTimeout(() => button.classList.remove(shown), 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("button[data-copy]");
  if (button) copyBy(button, button.dataset.copy, button.title.replace(/^Copy /, ""));
});
