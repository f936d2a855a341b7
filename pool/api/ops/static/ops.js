// The operators' page works without this script; with it, it is live.

const SECOND = 1, MINUTE = 60, HOUR = 3600, DAY = 86400;

/** A length of time as the server says it. */
export function durationWords(seconds) {
  if (seconds < 2 * MINUTE) return `${Math.round(seconds / SECOND)} s`;
  if (seconds < 2 * HOUR) return `${Math.round(seconds / MINUTE)} min`;
  if (seconds < 2 * DAY) return `${Math.round(seconds / HOUR)} h`;
  return `${Math.round(seconds / DAY)} days`;
}

function agoWords(at) {
  const seconds = (Date.now() - at) / 1000;
  if (Math.abs(seconds) < 1) return "just now";
  const words = durationWords(Math.abs(seconds));
  return seconds > 0 ? `${words} ago` : `in ${words}`;
}

function refreshTimes() {
  for (const time of document.querySelectorAll("time[data-at]")) {
    const words = agoWords(Date.parse(time.dateTime));
    if (time.textContent !== words) time.textContent = words;
  }
}
setInterval(() => { if (!document.hidden) refreshTimes(); }, 1000);
