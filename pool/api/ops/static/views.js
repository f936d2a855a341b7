// Keeps the marked parts of a view up to date: asks for the page again and takes them over.
// Forms and what stands open are left alone.

const EVERY_MS = 10_000;

async function refresh() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const newer = page.getElementById(part.id);
    if (newer && newer.innerHTML !== part.innerHTML) part.innerHTML = newer.innerHTML;
  }
}

if (document.querySelector("[data-live]")) {
  let due = Date.now() + EVERY_MS;
  setInterval(() => {
    if (document.hidden || Date.now() < due) return;
    due = Date.now() + EVERY_MS;
    // What is shown says how old it is; a failure needs no more words than that.
    refresh().catch(() => {});
  }, 1_000);
}
