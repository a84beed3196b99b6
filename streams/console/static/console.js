"use strict";

// What is inside #live is fetched again when something has changed. All else works without this script.
const live = document.getElementById("live");
const state = document.getElementById("live-state");
const pause = document.getElementById("live-pause");

function keyOf(element) {
  return element.id || element.getAttribute("href");
}

function refocus(key) {
  for (const element of live.querySelectorAll("a, button, [id]")) {
    if (keyOf(element) === key) {
      element.focus({ preventScroll: true });
      return;
    }
  }
}

async function refresh() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual" });
  if (!response.ok) {
    // As after a log-out: the server says what is to be done.
    location.reload();
    return;
  }
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("live");
  const focused = live.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  live.replaceChildren(...fresh.childNodes);
  if (focused) {
    refocus(focused);
  }
}

function follow() {
  let paused = false;
  let stale = false;
  let busy = false;
  const events = new EventSource(`/api/events?after=${live.dataset.change}`);

  async function update() {
    stale = true;
    while (stale && !paused && !busy) {
      stale = false;
      busy = true;
      try {
        await refresh();
      } catch {
        // The stream tells when the server is back.
      }
      busy = false;
    }
  }

  events.addEventListener("changed", update);
  events.addEventListener("open", () => {
    state.textContent = paused ? "Paused" : "Live";
  });
  events.addEventListener("error", () => {
    state.textContent = "The console does not answer";
  });
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    state.textContent = paused ? "Paused" : "Live";
    if (!paused && stale) {
      update();
    }
  });
  pause.parentElement.hidden = false;
}

function typing(target) {
  return target.matches("input, select, textarea");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) {
    return;
  }
  if (event.key === "/") {
    const find = document.getElementById("find");
    if (find) {
      event.preventDefault();
      find.focus();
    }
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const links = [...document.querySelectorAll(".jobs th[scope=row] a")];
    const at = links.indexOf(document.activeElement);
    const next = links[at + (event.key === "ArrowDown" ? 1 : -1)];
    if (at >= 0 && next) {
      event.preventDefault();
      next.focus();
    }
  }
});

if (live && pause) {
  follow();
}
