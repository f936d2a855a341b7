// What happens behind the demo page: the pool's level, and what the tag says.
(() => {
  const pool = new URL("../pool", document.currentScript.src);
  const by = (id) => document.getElementById(id);
  const SAID = {
    claimed: "link claimed",
    ready: "calendar shown",
    booked: "booking noticed",
    unavailable: "no link to be had",
  };

  for (const [name, said] of Object.entries(SAID))
    addEventListener(`linkpool:${name}`, ({ detail, target }) => {
      const line = document.createElement("li");
      const time = document.createElement("time");
      time.textContent = new Date().toLocaleTimeString("en-GB");
      line.append(time, detail.reason ? `${said}: ${detail.reason}` : said);
      by("log").append(line);
      while (by("log").children.length > 4) by("log").firstChild.remove();
      const frame = target.querySelector("iframe");
      if (frame) by("slug").textContent = new URL(frame.src).pathname.slice(1);
      if (name === "booked") by("slug").textContent = "used: you are booked";
      look();
    });

  const look = async () => {
    try {
      const reply = await fetch(pool);
      if (!reply.ok) return;
      const level = await reply.json();
      for (const name of ["fresh", "target", "claimed", "consumed", "state"])
        by(name).textContent = level[name];
      const full = Math.max(1, level.target);
      by("bar").ariaValueMax = full;
      by("bar").ariaValueNow = level.fresh;
      by("bar").firstElementChild.style.width = `${Math.min(100, (100 * level.fresh) / full)}%`;
    } catch {
      by("state").textContent = "not reachable";
    }
  };
  setInterval(() => document.hidden || look(), 1000);

  // Somebody who comes back from their booking page may have cancelled there.
  addEventListener("focus", () => {
    const embed = document.querySelector("linkpool-embed");
    if (embed?.dataset.state === "booked") embed.load();
  });
})();
