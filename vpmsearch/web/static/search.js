// Searching: one at a time, the newest.

import * as api from "./api.js";
import { by, element } from "./dom.js";
import { wantedFilters } from "./filters.js";
import { numberOf } from "./labels.js";
import { report } from "./progress.js";
import { changed, on, state } from "./state.js";

const PAGE = 24;
const SIGNS = { match: "✓", unsure: "?", "no match": "✕", "no person": "∅" };

let running = null; // the AbortController of the search under way

// The server counts uploads first, then images of the index.
const isUpload = (photo) => !photo.id || photo.box;

export const inServersOrder = (photos) => [...photos.filter(isUpload), ...photos.filter((photo) => !isUpload(photo))];

async function search(offset = 0) {
  running?.abort();
  const photos = state.photos.filter((photo) => photo.ready);
  if (!offset) changed("searching");
  if (!photos.length) { none(null, "Choose a photograph to search with."); return; }
  if (state.chosen && !state.chosen.length) { none(state.query, "Choose at least one region."); return; }
  const mine = running = new AbortController();
  busy(true);
  tell({});
  try {
    const asked = inServersOrder(photos);
    const wanted = { ...wantedFilters(), confirmed: state.confirmed, refused: state.refused, regions: state.chosen, offset, limit: PAGE };
    const answer = await api.search(asked, wanted, mine.signal, tell);
    Object.assign(state, { asked, query: answer.query_regions, more: answer.more });
    state.hits = offset ? [...state.hits, ...answer.matches] : answer.matches;
    busy(false);
    say(...summary(answer));
    changed("hits");
  } catch (error) {
    if (error.name === "AbortError") return; // a newer search says how it goes on
    if (offset) { busy(false); say(error.message); } // the ranks before stay, and can be asked for more once more
    else none(state.query, error.message);
    by("status").classList.add("error");
    if (error instanceof api.NeedsToken) changed("login");
  }
}

function none(query, text) {
  Object.assign(state, { query, hits: [], more: false });
  busy(false);
  say(text);
  changed("hits");
}

function summary(answer) {
  if (!state.hits.length) return [`No result: ${answer.empty?.reason || "there are no more images"}.`];
  const compared = `${answer.candidates.toLocaleString("en")} compared in ${answer.elapsed_ms.toFixed(0)} ms`;
  const meaning = answer.verdict_text ? `${answer.verdict_text} ` : "";
  const old = answer.calibration_notice ? ` The calibration is old: ${answer.calibration_notice}.` : "";
  return [`${meaning}${numberOf(state.hits.length, answer.more ? "nearest image" : "image")}, ${compared}.${old}`, answer.verdict_word];
}

function busy(is) {
  for (const id of ["results", "trail"]) by(id).setAttribute("aria-busy", String(is));
  by("results").classList.toggle("busy", is);
}

function tell({ waiting, doing }) {
  const what = { seeing: " Looking at the query.", searching: " Comparing with the index." }[doing] || "";
  by("status").classList.remove("error");
  report(by("status"), `Searching…${what}`, waiting);
}

function say(text, verdict = null) {
  by("status").classList.remove("error");
  const word = verdict && verdict[0].toUpperCase() + verdict.slice(1);
  const said = word ? [element("strong", { class: "verdict", "data-verdict": verdict }, element("span", { "aria-hidden": "true" }, SIGNS[verdict]), ` ${word}`), " "] : [];
  // A whole photograph that is wider than high may be a scene, of which the answer says little.
  const mayBeScene = state.photos.some(({ image, box }) => !box && image?.naturalWidth > image?.naturalHeight);
  const find = verdict && verdict !== "match" && mayBeScene
    ? [" ", element("button", { type: "button", class: "find", onclick: () => changed("find people") }, "Find the people in it")] : [];
  by("status").replaceChildren(...said, text, ...find);
}

on("query", () => search());
by("more").addEventListener("click", () => search(state.hits.length));
