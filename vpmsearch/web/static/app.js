// The page begins here: the token, what is in the index, and the parts that show the rest.

import * as api from "./api.js";
import { by } from "./dom.js";
import { showFilters } from "./filters.js";
import { numberOf } from "./labels.js";
import { showPresets } from "./regions.js";
import { on, state } from "./state.js";
import { showStart } from "./start.js";
import "./compare.js";
import "./files.js";
import { begin } from "./history.js";
import "./photographs.js";
import "./results.js";
import "./search.js";
import "./tool.js";

async function start() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    history.replaceState(history.state, "", location.pathname + location.search); // out of the address bar and the history
    try { await api.login(token); } catch { /* the request below asks for another */ }
  }
  await enter();
}

async function enter() {
  try {
    state.index = await api.stats();
  } catch (error) {
    const asked = error instanceof api.NeedsToken;
    by("login").hidden = !asked;
    by("main").hidden = asked;
    by("stats").textContent = asked ? "" : error.message;
    if (asked) by("token").focus();
    return;
  }
  const wasAsked = !by("login").hidden;
  by("login").hidden = true;
  by("main").hidden = false;
  if (wasAsked) by("file").focus(); // the field that had it is hidden
  const { images, cameras, weights } = state.index;
  by("stats").textContent = [numberOf(images, "image"), ...(cameras ? [numberOf(cameras, "camera")] : []), weights || "unnamed weights"].join(", ");
  showFilters();
  showPresets();
  showStart();
  begin();
}

by("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await api.login(by("token").value.trim());
    by("login-error").textContent = "";
    by("token").value = "";
    await enter();
  } catch (error) {
    by("login-error").textContent = error.message;
  }
});

on("login", enter);
start();
