// What user code has printed, and what its user should know of: the last of both, in order of time.

import { h } from "./dom.js";
import { bytes, clock, whole } from "./format.js";
import { stageName } from "./words.js";

const lines = () => document.querySelector(".log");

/** Whether its last line is in sight, or none is there yet: then the next one is to be, too. */
export function followsLog() {
  const element = lines();
  return !element || element.scrollHeight - element.scrollTop - element.clientHeight < 8;
}

export function followLog() {
  const element = lines();
  if (element && element.scrollTop + element.clientHeight < element.scrollHeight) element.scrollTop = element.scrollHeight;
}

export function log(job) {
  const printed = job.printed.last.map(([at, stage, index, text, dropped]) => ({ at, kind: "printed", from: `${stageName(job, stage)} ${index}`, text, dropped }));
  const notices = job.notices.last.map(([at, level, text]) => ({ at, kind: level, from: level === "warning" ? "! warning" : "info", text, dropped: 0 }));
  const shown = [...printed, ...notices].sort((a, b) => a.at - b.at);
  const left = job.printed.seen + job.notices.seen - shown.length;
  if (!shown.length) return h("p", { class: "faint" }, "Nothing: no warnings, and the job's code has printed nothing.");
  return [
    left > 0 && h("p", { class: "faint" }, `${whole(left)} earlier entries are not shown; `, h("code", {}, `mr logs ${job.id}`), " has what the log keeps."),
    h(
      "div",
      { class: "log", role: "log", "aria-live": "off", tabindex: "0", "aria-label": "Log", key: "lines" },
      shown.map((line) =>
        h(
          "div",
          { class: `line ${line.kind}` },
          h("time", {}, clock(line.at)),
          h("span", { class: "from" }, line.from),
          h("span", { class: "text" }, line.dropped > 0 && h("em", {}, `${bytes(line.dropped)} left out `), line.text.replace(/\n$/, "")),
        ),
      ),
    ),
  ];
}
