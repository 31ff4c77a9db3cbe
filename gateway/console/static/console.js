// Keeps an open page up to date. Without it every page still works, and does not change by itself.
"use strict";

const FEED_LATE_MS = 5000; // an event comes every second
const AGAIN_MS = 30000; // after a refusal: too many pages are open, or nobody is logged in any more

const suffix = document.querySelector("title").dataset.suffix || "";
const source = document.body.dataset.events;
let lastEvent = 0;
let events = null;

function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const pad = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}

function show(id, html) {
  const element = document.getElementById(id);
  if (!element) return;
  const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
  const open = new Set([...element.querySelectorAll("details[open]")].map(nameOf));
  const closed = new Set([...element.querySelectorAll("details:not([open])")].map(nameOf));
  element.innerHTML = html;
  for (const details of element.querySelectorAll("details")) {
    if (open.has(nameOf(details))) details.open = true;
    if (closed.has(nameOf(details))) details.open = false;
  }
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function nameOf(details) {
  return details.querySelector("summary")?.textContent || "";
}

function row(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim();
  return template.content.firstElementChild;
}

function arrange(list, order) {
  const wanted = new Set(order);
  for (const child of [...list.children]) if (!wanted.has(child.id)) child.remove();
  let next = list.firstElementChild;
  for (const key of order) {
    const element = document.getElementById(key);
    if (!element) continue;
    if (element === next) next = next.nextElementSibling;
    else list.insertBefore(element, next);
  }
}

function apply(message) {
  for (const [id, html] of Object.entries(message.set || {})) {
    if (id === "title") document.title = html + suffix;
    else show(id, html);
  }
  for (const [name, rows] of Object.entries(message.rows || {})) {
    const list = document.getElementById(name);
    for (const [key, html] of Object.entries(rows)) {
      const known = document.getElementById(key);
      if (!known) list.append(row(html));
      else if (known.outerHTML !== html) replace(known, html);
    }
  }
  for (const [name, order] of Object.entries(message.order || {})) {
    arrange(document.getElementById(name), order);
    if (name === "alerts") {
      const form = document.getElementById("acknowledge");
      if (form) form.hidden = order.length === 0;
    }
  }
  tick(message.now);
  if (message.over) setTimeout(() => location.reload(), 1000);
}

function replace(known, html) {
  const focused = known.contains(document.activeElement) ? document.activeElement.id : "";
  const link = known.contains(document.activeElement) && !focused;
  known.replaceWith(row(html));
  const again = focused ? document.getElementById(focused) : link && document.getElementById(known.id)?.querySelector("a");
  if (again) again.focus({ preventScroll: true });
}

function tick(now) {
  document.getElementById("now").textContent = new Date(now * 1000).toISOString().slice(11, 19);
  for (const element of document.querySelectorAll("[data-since]")) {
    element.textContent = clock(now - Number(element.dataset.since));
  }
}

function feed(state, words) {
  const element = document.getElementById("feed");
  if (element.textContent !== words) element.textContent = words;
  document.body.dataset.feed = state;
}

function listen() {
  if (events || document.hidden) return;
  lastEvent = Date.now();
  events = new EventSource(source);
  events.onmessage = (event) => {
    lastEvent = Date.now();
    feed("live", "Live");
    apply(JSON.parse(event.data));
  };
  events.onerror = () => {
    if (events.readyState !== EventSource.CLOSED) return;
    events = null;
    feed("lost", "Not live, since");
    setTimeout(listen, AGAIN_MS);
  };
}

// a browser has six connections for one gateway: pages that nobody sees leave them to the others
function rest() {
  if (events) events.close();
  events = null;
  feed("rest", "");
}

function watch() {
  if (events && Date.now() - lastEvent > FEED_LATE_MS) feed("lost", "Not live, since");
}

for (const link of document.querySelectorAll("[data-dialog]")) {
  const dialog = document.getElementById(link.dataset.dialog);
  link.addEventListener("click", (event) => {
    event.preventDefault();
    dialog.showModal();
  });
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
}

for (const time of document.querySelectorAll("time[datetime]")) {
  time.title = new Date(time.dateTime).toLocaleString();
}

if (source) {
  listen();
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : listen()));
  setInterval(watch, 1000);
}
