// Choose events of the inbox by boxes: how many, and all of a page at once. What was chosen stays
// chosen while rows are written anew.

const byId = (id) => document.getElementById(id);
const rows = byId("rows"), picked = byId("picked");
const chosen = new Set(); // names of boxes
const boxes = () => [...rows.querySelectorAll("input[type=checkbox]")];

/** Adds a box above the others, which needs this script. */
function boxForAll() {
  const box = document.createElement("input");
  box.type = "checkbox";
  box.setAttribute("aria-label", "Choose all events of this page");
  box.addEventListener("change", () => {
    for (const each of boxes()) each.checked = box.checked;
    noticed();
  });
  document.querySelector(".events.choosing thead th:nth-child(2)").prepend(box);
  return box;
}

/** Remembers what is chosen now. */
function noticed() {
  chosen.clear();
  for (const each of boxes()) if (each.checked) chosen.add(each.name);
  count();
}

/** Chooses again what was chosen before rows were written anew. */
function restored() {
  for (const each of boxes()) each.checked = chosen.has(each.name);
  for (const name of chosen) if (!boxes().some((each) => each.name === name)) chosen.delete(name);
  count();
}

function count() {
  const words = chosen.size ? `(${chosen.size})` : "", all = boxes().length;
  if (picked.textContent !== words) picked.textContent = words;
  every.checked = all > 0 && chosen.size === all;
  every.indeterminate = chosen.size > 0 && chosen.size < all;
}

const every = picked && rows ? boxForAll() : null;
if (every) {
  noticed();
  rows.addEventListener("change", noticed);
  new MutationObserver(restored).observe(rows, { childList: true, subtree: true });
}
