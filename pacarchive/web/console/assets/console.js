// Keeps an open page up to date. Everything works without it, but for that.

const live = document.getElementById("live");
const liveness = document.getElementById("liveness");
const pause = document.getElementById("pause");
let source = null;
let paused = false;

function say(words) {
  if (liveness.textContent !== words) liveness.textContent = words;
}

// Make one element what another is, and leave alone what is the same: focus, choices and open forms stay.
function become(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const before = [...old.childNodes];
  const after = [...fresh.childNodes];
  after.forEach((node, index) => {
    const there = before[index];
    if (there === undefined) old.append(node);
    else if (there.nodeType !== node.nodeType || there.nodeName !== node.nodeName) there.replaceWith(node);
    else if (node.nodeType !== Node.ELEMENT_NODE) {
      if (there.data !== node.data) there.data = node.data;
    } else if (!isInUse(there, node)) become(there, node);
  });
  before.slice(after.length).forEach((node) => node.remove());
}

// A form that somebody has opened, or chooses in, stays as it is until it is closed.
function isInUse(there, node) {
  if (there.nodeName === "DETAILS") return there.open;
  return there.nodeName === "FORM" && (there.contains(document.activeElement) || there.querySelector(":checked") !== null);
}

function open() {
  if (source !== null || paused || document.hidden) return;
  source = new EventSource(live.dataset.live);
  source.addEventListener("open", () => say("Live"));
  source.addEventListener("screen", (event) => {
    const fresh = document.createElement("template");
    fresh.innerHTML = JSON.parse(event.data);
    const shell = document.createElement("div");
    shell.id = "live";
    shell.dataset.live = live.dataset.live;
    shell.append(fresh.content);
    become(live, shell);
    say("Live");
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) {
      say("Not live any more: reload the page.");
      source = null;
    } else say("The connection is lost; trying again…");
  });
}

function close() {
  if (source !== null) source.close();
  source = null;
}

pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Go on" : "Pause";
  if (paused) {
    close();
    say("Paused");
  } else open();
});
document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
window.addEventListener("pagehide", close);
open();
