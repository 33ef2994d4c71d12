// All jobs: as a list at the side, and as a table.

import { h } from "./dom.js";
import { ago, date, seconds, whole } from "./format.js";
import { phase } from "./words.js";

/** Done and all tasks of a job's stages, as far as they are known. */
export function progress(stages) {
  const known = stages.filter((stage) => stage.total);
  const total = known.reduce((sum, stage) => sum + stage.total, 0);
  const done = known.reduce((sum, stage) => sum + stage.done, 0);
  const part = stages.length ? known.reduce((sum, stage) => sum + stage.done / stage.total, 0) / stages.length : 0;
  return { done, total, part };
}

export function sign(name) {
  const { sign: text, kind } = phase(name);
  return h("span", { class: `sign ${kind}`, "aria-hidden": "true" }, text);
}

export function jobList(overview, current) {
  if (!overview) return h("p", { class: "faint pad" }, "Asking the workers …");
  if (!overview.jobs.length) return h("p", { class: "faint pad" }, "No jobs.");
  return h(
    "ol",
    { class: "joblist" },
    overview.jobs.map((job) =>
      h(
        "li",
        { key: job.id },
        h(
          "a",
          { href: `#/jobs/${job.id}`, "aria-current": job.id === current ? "true" : null },
          sign(job.phase),
          h("span", { class: "name" }, job.name || job.id),
          h("span", { class: "when" }, ago(job.submitted_at, overview.at)),
          h("span", { class: "unseen" }, phase(job.phase).text),
          phase(job.phase).kind === "runs" && meter(progress(job.stages).part),
        ),
      ),
    ),
  );
}

function meter(part) {
  return h("span", { class: "meter", "aria-hidden": "true" }, h("span", { class: "fill", style: { width: `${(part * 100).toFixed(1)}%` } }));
}

export function jobTable(overview) {
  const jobs = overview?.jobs || [];
  return [
    h("h1", {}, "Jobs"),
    overview && silent(overview),
    !overview
      ? h("p", { class: "faint" }, "Asking the workers …")
      : !jobs.length
        ? empty(overview)
        : h("div", { class: "cards" }, jobs.map((job) => card(job, overview))),
  ];
}

function silent(overview) {
  return [
    overview.silent > 0 && h("p", { class: "note warn" }, "! ", `${overview.silent} of the broker's workers did not answer: their jobs may be missing here.`),
    overview.waiting_leases > 0 && h("p", { class: "note" }, `${overview.waiting_leases} jobs wait for a worker that coordinates them.`),
  ];
}

function empty(overview) {
  return h(
    "div",
    { class: "empty card" },
    h("p", { class: "big" }, overview.workers.length ? "No jobs at the moment." : "No workers, no jobs."),
    h("p", { class: "faint" }, "Jobs show up here as soon as they are submitted, and stay as long as their logs are kept."),
    h("pre", {}, overview.workers.length ? "mr run wordcount.py books/*.txt --broker URL" : "mr worker --broker URL"),
  );
}

function card(job, overview) {
  const { done, total, part } = progress(job.stages);
  const { kind, text } = phase(job.phase);
  return h(
    "a",
    { class: `card job ${kind}`, href: `#/jobs/${job.id}`, key: job.id },
    h("span", { class: "row" }, h("span", { class: `pill ${kind}` }, sign(job.phase), text), h("span", { class: "spring" }), h("span", { class: "faint", title: date(job.submitted_at) }, ago(job.submitted_at, overview.at))),
    h("span", { class: "name" }, job.name || job.id),
    h("span", { class: "row faint" }, h("code", {}, job.id), job.pool !== "default" && ` pool ${job.pool}`),
    h("span", { class: "meter wide", "aria-hidden": "true" }, h("span", { class: `fill ${kind}`, style: { width: `${(kind === "good" ? 100 : part * 100).toFixed(1)}%` } })),
    h("span", { class: "row faint" }, total ? `${whole(done)} of ${whole(total)} tasks` : "no tasks yet", job.kept_until > overview.at && [h("span", { class: "spring" }), `kept for ${seconds(job.kept_until - overview.at)}`]),
    job.cause && h("span", { class: "cause" }, job.cause),
  );
}
