// The stream of snapshots: one connection, begun anew when it breaks or falls silent, none while nobody looks.

const SILENCE_MS = 30000;
const MOST_MS = 10000;

export class Live {
  /** `on.overview(data)`, `on.job(data)`, `on.state("connecting" | "live" | "lost")` */
  constructor(on) {
    this.on = on;
    this.job = "";
    this.source = null;
    this.pause = 500;
    this.timer = 0;
    this.silence = 0;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.stop() : this.start()));
    window.addEventListener("online", () => this.start());
  }

  /** Follow this job besides the overview; "": none. */
  look(job) {
    this.job = job;
    this.start();
  }

  start() {
    this.stop();
    this.on.state("connecting");
    const query = this.job ? `?job=${encodeURIComponent(this.job)}` : "";
    const source = new EventSource(`/api/events${query}`);
    this.source = source;
    const heard = (event) => {
      if (source !== this.source) return null;
      this.pause = 500;
      this.on.state("live");
      this.listen();
      return event.data ? JSON.parse(event.data) : null;
    };
    for (const name of ["hello", "ping"]) source.addEventListener(name, heard);
    for (const name of ["overview", "job"]) {
      source.addEventListener(name, (event) => {
        const data = heard(event);
        if (data) this.on[name](data);
      });
    }
    source.onerror = () => {
      if (source !== this.source) return;
      this.retry();
      signInIfAsked();
    };
    this.listen();
  }

  stop() {
    clearTimeout(this.timer);
    clearTimeout(this.silence);
    this.source?.close();
    this.source = null;
  }

  listen() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.retry(), SILENCE_MS);
  }

  retry() {
    this.stop();
    this.on.state("lost");
    this.timer = setTimeout(() => this.start(), this.pause);
    this.pause = Math.min(this.pause * 2, MOST_MS);
  }
}

/** A stream does not say why it broke: a dashboard that was started anew has a new token. */
async function signInIfAsked() {
  const answer = await fetch("/api/overview").catch(() => null);
  if (answer?.status === 401) location.assign("/login");
}
