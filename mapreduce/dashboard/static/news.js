// What is said to those who do not see the page: endings of jobs, lost connections, answers to actions.

import { phase } from "./words.js";

/** So many stay, for whoever has not been told of them yet. */
const KEPT = 5;

export function announce(text) {
  const news = document.getElementById("news");
  const line = document.createElement("p");
  line.textContent = text;
  news.append(line);
  while (news.childElementCount > KEPT) news.firstElementChild.remove();
}

/** Say what is new about the jobs. */
export function changes(before, now) {
  if (!before) return;
  const old = new Map(before.jobs.map((job) => [job.id, job.phase]));
  for (const job of now.jobs) {
    const was = old.get(job.id);
    if (was === undefined) announce(`A new job: ${job.name}.`);
    else if (was !== job.phase) announce(`${job.name}: ${phase(job.phase).text}.`);
  }
}
