// What pages do beyond HTML: look again when something changed, follow a start, keep Lab's frame and its surround.
// No markup is ever built from text: text goes into text nodes only.
import {initAll} from "./govuk/govuk-frontend.min.js";

document.body.classList.add("js-enabled", "govuk-frontend-supported");
initAll();

const seconds = (count) => new Promise((done) => setTimeout(done, count * 1000));
const csrf = document.body.dataset.csrf;

function relative(iso) {
  const distance = (new Date(iso) - Date.now()) / 1000;
  const steps = [[31536000, "year"], [2592000, "month"], [86400, "day"], [3600, "hour"], [60, "minute"]];
  for (const [size, unit] of steps) {
    const count = Math.floor(Math.abs(distance) / size);
    if (count >= 1) {
      const words = `${count} ${unit}${count === 1 ? "" : "s"}`;
      return distance < 0 ? `${words} ago` : `in ${words}`;
    }
  }
  return distance <= 0 ? "just now" : "in less than a minute";
}

async function keepTimesFresh() {
  for (;;) {
    await seconds(30);
    for (const element of document.querySelectorAll("[data-relative]")) {
      element.textContent = `(${relative(element.dataset.relative)})`;
    }
  }
}

// A page left open: its tag says what it shows; when the server's tag differs, the page is loaded again,
// unless somebody is typing in it.
function isBeingEdited() {
  for (const field of document.querySelectorAll("textarea, input:not([type=hidden]), select")) {
    if (field.type === "checkbox" || field.type === "radio") {
      if (field.checked !== field.defaultChecked) return true;
    } else if (field.tagName === "SELECT") {
      if ([...field.options].some((option) => option.selected !== option.defaultSelected) && field.selectedIndex > 0) return true;
    } else if (field.value !== field.defaultValue) {
      return true;
    }
  }
  return false;
}

function sayChanged() {
  if (document.querySelector("[data-changed]")) return;
  const box = document.createElement("div");
  box.className = "tre-refusals";
  box.setAttribute("role", "status");
  box.dataset.changed = "";
  const text = document.createElement("p");
  text.textContent = "This page has changed since you opened it. What you typed is still here. ";
  const link = document.createElement("a");
  link.className = "govuk-link";
  link.href = here();
  link.textContent = "Load it again";
  text.append(link);
  box.append(text);
  document.getElementById("main-content").prepend(box);
}

// This page's address without what only told about the step before.
function here() {
  const query = new URLSearchParams(location.search);
  for (const name of ["done", "starting"]) query.delete(name);
  return location.pathname + (query.toString() && `?${query}`);
}

async function watch() {
  const tag = document.body.dataset.watch;
  if (tag === undefined) return;
  for (;;) {
    await seconds(4);
    if (document.hidden) continue;
    const answer = await fetch(here(), {headers: {"X-Tre-Watch": "1"}, redirect: "manual"}).catch(() => null);
    const now = answer && answer.headers.get("X-Tre-Watch");
    if (now === null || now === undefined || now === encodeURIComponent(tag)) continue;
    if (isBeingEdited()) sayChanged();
    else location.replace(here());
  }
}

function followStart() {
  const box = document.querySelector("[data-progress]");
  if (!box) return;
  history.replaceState(null, "", here());
  const bar = box.querySelector("progress");
  const log = box.querySelector("[data-log]");
  const source = new EventSource(box.dataset.progress);
  let last = "";
  const say = (message) => {
    if (!message || message === last) return;
    last = message;
    const line = document.createElement("li");
    line.textContent = message;
    if (log.children.length === 1 && bar.value === 0) log.replaceChildren(line);
    else log.append(line);
  };
  source.onmessage = (event) => {
    const step = JSON.parse(event.data);
    say(step.message);
    if (step.failed) {
      source.close();
      box.querySelector("[data-failed]").hidden = false;
      return;
    }
    if (typeof step.progress === "number") bar.value = Math.max(bar.value, step.progress);
    if (step.ready) {
      source.close();
      location.replace(location.pathname);
    }
  };
  source.onerror = async () => {
    source.close();
    await seconds(2);
    location.replace(location.pathname);
  };
}

function humanSize(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  for (const unit of ["kB", "MB", "GB"]) {
    bytes /= 1000;
    if (bytes < 999.5) return `${bytes < 9.95 ? bytes.toFixed(1) : Math.round(bytes)} ${unit}`;
  }
  return `${Math.round(bytes / 1000)} TB`;
}

function timeLeft(iso) {
  const minutes = Math.max(0, Math.floor((new Date(iso) - Date.now()) / 60000));
  const hours = Math.floor(minutes / 60);
  return hours ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
}

async function openLab() {
  const root = document.querySelector("[data-lab]");
  if (!root) return;
  const {project, base} = root.dataset;
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const over = (why, heading) => {
    const frame = part("frame");
    if (frame) frame.remove();
    part("warning").hidden = true;
    part("stop").hidden = true;
    if (heading) part("over-heading").textContent = heading;
    part("over-why").textContent = why;
    part("over").hidden = false;
  };
  const warn = (text) => {
    const box = part("warning");
    box.hidden = !text;
    if (box.textContent !== text) box.textContent = text;
  };
  const ask = async (path, options) => {
    const answer = await fetch(path, {redirect: "manual", ...options});
    const body = await answer.json().catch(() => ({}));
    return {ok: answer.ok, status: answer.status, body};
  };

  const ticket = await ask("/gate/ticket", {
    method: "POST",
    headers: {"Content-Type": "application/json", "X-Tre-Csrf": csrf},
    body: JSON.stringify({project}),
  }).catch(() => ({ok: false, body: {}}));
  if (!ticket.ok) {
    over(ticket.body.title || "The gate did not answer. Load the page again in a moment.", "The workspace could not be opened");
    return;
  }
  const form = document.createElement("form");
  form.method = "post";
  form.action = ticket.body.url;
  form.target = "lab";
  const field = document.createElement("input");
  field.type = "hidden";
  field.name = "ticket";
  field.value = ticket.body.ticket;
  form.append(field);
  document.body.append(form);
  form.submit();
  form.remove();

  let silent = 0;
  for (;;) {
    const state = await ask(`${base}/state`).catch(() => null);
    if (state && (state.status === 401 || state.status === 0)) {
      over("Your session ended. Sign in again; the workspace may still be running.", "Signed out");
      return;
    }
    if (state && state.ok) {
      silent = 0;
      if (!state.body.usable) {
        over(state.body.why || "The workspace was ended.", "This workspace was closed");
        return;
      }
      if (state.body.ends_at) part("left").textContent = timeLeft(state.body.ends_at);
      const meter = await ask(`/gate/meter?project=${encodeURIComponent(project)}`).catch(() => null);
      let warning = state.body.warning || "";
      if (meter && meter.ok) {
        part("bytes").textContent = `${humanSize(meter.body.bytes_today)} of ${humanSize(meter.body.hard)} today`;
        warning = warning || meter.body.warning || "";
      }
      warn(warning);
    } else if (++silent === 3) {
      warn("The portal does not answer. Your workspace may still be running; this page keeps trying.");
    }
    await seconds(2);
  }
}

keepTimesFresh();
watch();
followStart();
openLab();
