// Says what settings would mean while they are typed. Without this script the page says what the
// present ones mean, and a form that is refused keeps what was typed.

const fields = document.getElementById("settings-fields");
const typed = document.getElementById("typed-meanings");
const PAUSE_MS = 300; // after the last key

// Where the page has one column, what is typed is explained below its fields and not far above them.
if (fields && !matchMedia("(min-width: 70rem)").matches) fields.after(typed);

let waiting = 0, asked = 0;

async function say() {
  const number = ++asked;
  const form = new FormData(fields.closest("form"));
  const named = [...fields.querySelectorAll("[name]")].map((each) => each.name).filter((name) => name !== "reason");
  const query = new URLSearchParams(named.map((name) => [name, form.get(name) ?? ""]));
  try {
    const answer = await fetch(`${fields.dataset.meaning}?${query}`, { headers: { accept: "text/html" } });
    if (!answer.ok || number !== asked) return;
    const words = await answer.text();
    typed.lastElementChild.innerHTML = words;
    typed.hidden = false;
  } catch {
    typed.hidden = true; // linkpool does not answer: the page says so itself
  }
}

fields?.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(say, PAUSE_MS);
});
