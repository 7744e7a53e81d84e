// Keeps an open page up to date. Everything works without it, but for that.

const live = document.getElementById("live");
const liveness = document.getElementById("liveness");
const pause = document.getElementById("pause");
let source = null;
let paused = false;
let lost = 0;
let again = 0;

const SOON = 10000; // ms: a stream ends every few minutes, and the next one is begun; nobody needs to hear of that
const AGAIN = 15000;

function say(words) {
  clearTimeout(lost);
  lost = 0;
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
    else if (there.nodeType !== node.nodeType || there.nodeName !== node.nodeName) {
      if (!hasOneInUse(there)) there.replaceWith(node);
    } else if (node.nodeType !== Node.ELEMENT_NODE) {
      if (there.data !== node.data) there.data = node.data;
    } else if (!isInUse(there) && !isAnother(there, node)) become(there, node);
  });
  for (const node of before.slice(after.length)) if (!hasOneInUse(node)) node.remove();
}

// A form that somebody has opened, or chooses in, stays as it is until it is closed, and so do those beside it.
function isInUse(there) {
  if (there.nodeName === "DETAILS") return there.open;
  if (there.className === "actions") return there.querySelector("details[open]") !== null;
  return there.nodeName === "FORM" && (there.contains(document.activeElement) || there.querySelector("input:checked") !== null);
}

function hasOneInUse(there) {
  return there.nodeType === Node.ELEMENT_NODE && [there, ...there.querySelectorAll("details, form")].some(isInUse);
}

// A row where somebody is does not become the row of something else.
function isAnother(there, node) {
  if (there.nodeName !== "TR" || there.cells[0].textContent === node.cells[0].textContent) return false;
  return there.contains(document.activeElement) || hasOneInUse(there);
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
    const within = live.contains(document.activeElement);
    become(live, shell);
    // What had the focus is gone: the keyboard goes on from here, and not from the top of the page.
    if (within && document.activeElement === document.body) live.parentElement.focus({ preventScroll: true });
    say("Live");
  });
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) {
      if (lost === 0) lost = setTimeout(say, SOON, "The connection is lost; trying again…");
      return;
    }
    // An answer that is none: the server is full, or begins, or who looks here has to sign in again.
    say("Not live; trying again. If that lasts, reload the page.");
    source = null;
    again = setTimeout(open, AGAIN);
  });
}

function close() {
  clearTimeout(again);
  clearTimeout(lost);
  lost = 0;
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
