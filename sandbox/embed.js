// A stand-in for NeetoCal's embed script, with its call signature:
// neetoCal.embed({type, organization, elementSelector, slug, queryParams, styles, …}).
(() => {
  const HERE = new URL(document.currentScript.src).origin;

  const address = ({ slug, queryParams, shouldForwardQueryParams }) => {
    const url = new URL(`/${encodeURIComponent(slug)}`, HERE);
    if (String(shouldForwardQueryParams) === "true")
      for (const [name, value] of new URLSearchParams(location.search))
        url.searchParams.set(name, value);
    for (const [name, value] of Object.entries(queryParams || {}))
      url.searchParams.set(name, value);
    return url.href;
  };

  const frameOf = (given) => {
    const frame = document.createElement("iframe");
    frame.src = address(given);
    Object.assign(frame.style, { width: "100%", height: "100%", border: "0", display: "block" });
    if (typeof given.styles === "object") Object.assign(frame.style, given.styles);
    return frame;
  };

  // The page in a frame says how high it is.
  const followHeight = (frame) =>
    addEventListener("message", ({ source, origin, data }) => {
      if (source !== frame.contentWindow || origin !== HERE) return;
      const height = Number(data?.sandboxHeight);
      if (height > 0) frame.style.height = `${Math.ceil(height)}px`;
    });

  const open = (given) => {
    const dialog = document.createElement("dialog");
    Object.assign(dialog.style, { width: "min(48rem, 94vw)", height: "90vh", padding: "0" });
    const close = document.createElement("button");
    close.textContent = "Close";
    close.onclick = () => dialog.close();
    dialog.onclose = () => dialog.remove();
    const frame = frameOf(given);
    frame.title = "Booking page";
    frame.style.height = "calc(100% - 2.5rem)";
    dialog.append(close, frame);
    document.body.append(dialog);
    dialog.showModal();
  };

  const embed = (given) => {
    const place = given.elementSelector && document.querySelector(given.elementSelector);
    if (given.type === "floatingPopup") {
      const button = document.createElement("button");
      button.textContent = "Book a time";
      Object.assign(button.style, { position: "fixed", right: "1rem", bottom: "1rem" });
      button.onclick = () => open(given);
      document.body.append(button);
    } else if (!place) {
      console.warn(`neetoCal.embed: no element matches ${given.elementSelector}`);
    } else if (given.type === "elementClick") {
      place.addEventListener("click", () => open(given));
    } else {
      const frame = frameOf(given);
      if (given.queryParams?.dynamicHeight) followHeight(frame);
      place.append(frame);
    }
  };

  const waiting = window.neetoCal?.q || [];
  window.neetoCal = { embed };
  for (const [given] of waiting) embed(given);
})();
