// Where all comes together: what is known, where the reader is, and the page that follows from both.

import { h, render } from "./dom.js";
import { Live } from "./live.js";
import { applyTheme, nextTheme, theme } from "./theme.js";
import { takeToken } from "./session.js";
import { listen } from "./keys.js";
import { announce, changes } from "./news.js";
import { askToCancel, closeDialog, dialogs, showShortcuts } from "./dialogs.js";
import { jobList, jobTable } from "./jobs.js";
import { jobPage } from "./job.js";
import { followLog, followsLog } from "./log.js";
import { workersPage } from "./workers.js";
import { phase } from "./words.js";
import { focusTimeline, zoom } from "./timeline.js";

const known = { overview: null, job: null, connection: "connecting" };
let route = { page: "jobs", job: "" };
let drawing = false;

function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const following = followsLog();
    render(document.getElementById("app"), page());
    if (following) followLog();
    render(document.getElementById("dialogs"), dialogs(draw));
    for (const dialog of document.querySelectorAll("#dialogs dialog:not([open])")) dialog.showModal();
    const shown = route.page === "job" && known.job?.name ? `${known.job.name} · ${known.job.phase}` : route.page;
    document.title = `${shown} – mapreduce`;
  });
}

function page() {
  const { overview, job, connection } = known;
  return h(
    "div",
    { class: `frame page-${route.page}` },
    h(
      "header",
      { class: "top" },
      h("a", { class: "brand", href: "#/" }, h("img", { src: "/static/icon.svg", alt: "", width: 24, height: 24 }), "mapreduce"),
      h(
        "nav",
        { "aria-label": "Pages" },
        tab("#/", "Jobs", route.page !== "workers"),
        tab("#/workers", workersLabel(overview), route.page === "workers"),
      ),
      h("div", { class: "spring" }),
      brokerState(overview, connection),
      h("button", { class: "icon", type: "button", onclick: changeTheme, "aria-label": `Theme: ${theme()}`, title: `Theme: ${theme()} (d)` }, themeSign()),
      h("button", { class: "icon", type: "button", onclick: help, "aria-label": "Keyboard shortcuts", title: "Keyboard shortcuts (?)" }, "?"),
    ),
    h("aside", { class: "side", "aria-label": "Jobs" }, jobList(overview, route.job)),
    h("main", { id: "main", tabindex: "-1" }, content(overview, job)),
  );
}

function tab(href, text, current) {
  return h("a", { href, class: "tab", "aria-current": current ? "page" : null }, text);
}

function workersLabel(overview) {
  return overview?.workers ? `Workers ${overview.workers.length}` : "Workers";
}

function brokerState(overview, connection) {
  let state = ["good", "●", "live"];
  if (connection === "lost") state = ["bad", "✕", "no connection to the dashboard; trying again"];
  else if (connection !== "live" || !overview) state = ["still", "◌", "connecting"];
  else if (!overview.broker.connected) state = ["bad", "✕", "the broker does not answer"];
  else if (overview.broker.blocked) state = ["warn", "!", "the broker takes no messages"];
  const url = overview?.broker.url;
  return h("span", { class: `state ${state[0]}`, title: url || "" }, h("span", { class: "sign", "aria-hidden": "true" }, state[1]), h("span", { class: "words" }, state[2]));
}

function themeSign() {
  return { auto: "◐", light: "☀", dark: "☾" }[theme()];
}

function content(overview, job) {
  if (route.page === "workers") return workersPage(overview);
  if (route.page === "job") return jobPage(route.job, job, overview, { cancel, draw });
  return jobTable(overview);
}

function changeTheme() {
  nextTheme();
  draw();
}

function help() {
  showShortcuts();
  draw();
}

function cancel() {
  if (route.page !== "job" || !known.job?.can_cancel) return;
  askToCancel(known.job);
  draw();
}

const live = new Live({
  overview(data) {
    changes(known.overview, data);
    known.overview = data;
    draw();
  },
  job(data) {
    if (data.id !== route.job) return;
    if (known.job?.phase && data.phase && known.job.phase !== data.phase) announce(`${data.name}: ${phase(data.phase).text}.`);
    known.job = data;
    draw();
  },
  state(connection) {
    if (connection === known.connection) return;
    if (connection === "lost") announce("The connection to the dashboard is lost; trying again.");
    else if (known.connection === "lost" && connection === "live") announce("Connected again.");
    if (!(known.connection === "lost" && connection === "connecting")) known.connection = connection;
    draw();
  },
});

function go() {
  takeToken();
  const job = /^#\/jobs\/([\w.-]+)/.exec(location.hash)?.[1] || "";
  const changed = job !== route.job || live.source === null;
  route = job ? { page: "job", job } : { page: location.hash === "#/workers" ? "workers" : "jobs", job: "" };
  if (known.job?.id !== job) known.job = null;
  if (changed) live.look(job);
  closeDialog();
  draw();
  window.scrollTo(0, 0);
}

function step(by) {
  const jobs = known.overview?.jobs || [];
  if (!jobs.length) return;
  const at = jobs.findIndex((each) => each.id === route.job);
  const next = jobs[Math.min(Math.max(at + by, 0), jobs.length - 1)];
  location.hash = `#/jobs/${next.id}`;
}

function focusOn(id) {
  const found = document.getElementById(id);
  if (found) {
    found.focus();
    found.scrollIntoView({ block: "start" });
  }
}

listen({
  j: () => step(1),
  k: () => step(-1),
  g: () => (location.hash = "#/"),
  w: () => (location.hash = "#/workers"),
  t: () => focusTimeline(),
  e: () => focusOn("errors"),
  l: () => focusOn("log"),
  c: cancel,
  d: changeTheme,
  "+": () => zoom(2, draw),
  "=": () => zoom(2, draw),
  "-": () => zoom(0.5, draw),
  "?": help,
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the part of the address behind the # says which page this is
  focusOn("main");
});
window.addEventListener("hashchange", go);
window.addEventListener("resize", draw);
setInterval(() => !document.hidden && draw(), 1000);
applyTheme();
go();
