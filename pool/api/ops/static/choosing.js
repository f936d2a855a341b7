// Choosing rows on the overview: says how many are chosen, and keeps the form in sight once one is.
// Without this script the form stands below the list and works all the same.

const byId = (id) => document.getElementById(id);
const rows = byId("rows"), several = byId("several");

const boxes = () => [...rows.querySelectorAll(".pick")];
const chosen = () => boxes().filter((box) => box.checked);

function count() {
  const number = chosen().length;
  const words = number ? `${number} chosen` : "", place = byId("chosen-count");
  if (place.textContent !== words) place.textContent = words;
  several.classList.toggle("some", number > 0);
}

if (several) {
  byId("choose-shown").hidden = false;
  byId("choose-shown").addEventListener("click", () => {
    const all = boxes(), wanted = all.some((box) => !box.checked);
    for (const box of all) box.checked = wanted;
    several.querySelector("[value=chosen]").checked = true;
    count();
  });
  rows.addEventListener("change", (event) => {
    if (!event.target.matches(".pick")) return;
    several.querySelector("[value=chosen]").checked = true;
    // On a phone the form would cover what is chosen from: there its button stays in sight.
    if (chosen().length && matchMedia("(min-width: 52rem)").matches) several.open = true;
    count();
  });
  document.addEventListener("linkpool-arranged", count);
  count(); // a browser that goes back remembers what was chosen
}
