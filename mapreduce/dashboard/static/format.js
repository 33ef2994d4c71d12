// Numbers and times as people read them.

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];
const COUNTS = ["", "k", "M", "G", "T"];

function scaled(number, step, units) {
  let at = 0;
  while (Math.abs(number) >= step * 0.9995 && at < units.length - 1) {
    number /= step;
    at += 1;
  }
  const digits = at === 0 && Number.isInteger(number) ? 0 : Math.abs(number) < 9.995 ? 2 : Math.abs(number) < 99.95 ? 1 : 0;
  return [number.toFixed(digits).replace(/\.0+$/, ""), units[at]];
}

export function bytes(number) {
  const [text, unit] = scaled(number, 1024, SIZES);
  return `${text} ${unit}`;
}

/** 1234567 as 1.23 M; small numbers as they are. */
export function short(number) {
  if (typeof number !== "number") return String(number);
  if (Math.abs(number) < 10000) return whole(Math.abs(number) < 10 ? Math.round(number * 10) / 10 : Math.round(number));
  const [text, unit] = scaled(number, 1000, COUNTS);
  return `${text} ${unit}`.trim();
}

/** 1234567 as 1 234 567, with narrow spaces; text (a number beyond 2**53) as it is. */
export function whole(number) {
  const [digits, rest] = String(number).split(".");
  const grouped = digits.length > 4 ? digits.replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f") : digits;
  return rest === undefined ? grouped : `${grouped}.${rest}`;
}

export function seconds(secs) {
  if (secs === null || secs === undefined) return "–";
  if (secs < 0.0995) return `${Math.round(secs * 1000)} ms`;
  if (secs < 9.95) return `${secs.toFixed(1)} s`;
  const all = Math.round(secs);
  if (all < 60) return `${all} s`;
  if (all < 3600) return `${Math.floor(all / 60)} min ${pad(all % 60)} s`;
  if (all < 86400) return `${Math.floor(all / 3600)} h ${pad(Math.floor((all % 3600) / 60))} min`;
  return `${Math.floor(all / 86400)} d ${Math.floor((all % 86400) / 3600)} h`;
}

function pad(number) {
  return String(number).padStart(2, "0");
}

export function clock(at) {
  return at ? new Date(at * 1000).toLocaleTimeString([], { hour12: false }) : "";
}

export function date(at) {
  return at ? new Date(at * 1000).toLocaleString([], { hour12: false }) : "";
}

export function ago(at, now) {
  const secs = now - at;
  if (!at) return "";
  if (secs < 5) return "just now";
  if (secs < 3600) return `${secs < 60 ? seconds(secs) : `${Math.floor(secs / 60)} min`} ago`;
  return secs < 86400 ? `${Math.floor(secs / 3600)} h ago` : `${Math.floor(secs / 86400)} d ago`;
}

/** "1 task", "2 tasks". */
export function count(number, noun) {
  return `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;
}
