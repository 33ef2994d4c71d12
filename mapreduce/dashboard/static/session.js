// The token that actions need: from the link that `mr dashboard` prints (behind the #, which no browser sends), kept for
// this tab, or asked for.

const KEY = "mr-token";
const HEADER = "X-MR-Token";

/** Take the token out of the address, if it is there. */
export function takeToken() {
  const found = /[#&]token=([\w-]+)/.exec(location.hash);
  if (!found) return;
  sessionStorage.setItem(KEY, found[1]);
  history.replaceState(null, "", location.pathname);
}

export function hasToken() {
  return Boolean(sessionStorage.getItem(KEY));
}

export function keepToken(token) {
  sessionStorage.setItem(KEY, token.trim());
}

/** POST with the token; `{ok, status, error}`. A token that is wrong is forgotten. */
export async function post(path) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", headers: { [HEADER]: sessionStorage.getItem(KEY) || "" } });
  } catch {
    return { ok: false, status: 0, error: "the dashboard does not answer" };
  }
  if (answer.ok) return { ok: true, status: answer.status, error: "" };
  if (answer.status === 401) sessionStorage.removeItem(KEY);
  const text = await answer.text();
  let error = text.trim();
  try {
    error = JSON.parse(text).error;
  } catch {
    // plain text as it is
  }
  return { ok: false, status: answer.status, error };
}
