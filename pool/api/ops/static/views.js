// Keeps the parts marked data-live up to date: fetches the page again and replaces them.
// Forms and opened sections are left alone.

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
    // The page shows how old its data is, so a failure needs no message.
    refresh().catch(() => {});
  }, 1_000);
}
