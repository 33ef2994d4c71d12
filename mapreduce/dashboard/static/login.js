// A token that came with the link (behind the #) is sent at once; actions need it in this tab later on, too.

import { keepToken } from "./session.js";

const form = document.querySelector("form");
const input = document.querySelector("#token");

form.addEventListener("submit", () => keepToken(input.value));
document.querySelector("#wrong").hidden = location.search !== "?wrong";

const found = /[#&]token=([\w-]+)/.exec(location.hash);
if (found && location.search !== "?wrong") {
  history.replaceState(null, "", location.pathname);
  input.value = found[1];
  form.requestSubmit();
}
