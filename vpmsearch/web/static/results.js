// The ranks: thumbnails with their distances and bars.

import { open } from "./compare.js";
import { by, element, percent } from "./dom.js";
import { tellingNames } from "./names.js";
import { searchWith } from "./photographs.js";
import { fileName, folder, labels } from "./labels.js";
import { on, state } from "./state.js";
import { thumbnail } from "./thumbnail.js";
import { decide } from "./trail.js";

function showHits() {
  const list = by("results");
  const known = [...list.children];
  const { hits } = state;
  // Paging keeps the cards that are there, so that focus and scrolling stay.
  const isPage = known.length && hits.length > known.length
    && known.every((made, i) => made.dataset.id === String(hits[i].image_id));
  const kept = isPage ? known.length : 0;
  const hadFocus = list.contains(document.activeElement);
  const made = hits.slice(kept).map((hit) => card(hit, tellingNames(state.index.names, state.index.grid)));
  if (isPage) {
    list.append(...made);
    made[0].querySelector("button").focus();
  } else {
    list.replaceChildren(...made);
    if (hadFocus) list.focus(); // the card that had it is gone
  }
  by("legend").hidden = !hits.length;
  by("more").hidden = !state.more;
}

// One bar a region, as high as its share of the weights; an empty one had no part.
function shares(hit, names) {
  const parts = new Map(hit.regions.map((part) => [part.region, part]));
  const highest = Math.max(...hit.regions.map((part) => part.share));
  const told = hit.regions.map((part) => `region ${part.region} (${names[part.region]}) ${percent(part.share)}`).join(", ");
  const list = element("ul", { class: "shares", "aria-hidden": "true" });
  names.forEach((name, region) => {
    const part = parts.get(region);
    const inner = element("span");
    inner.style.height = part ? `${(100 * part.share / highest).toFixed(1)}%` : "0";
    const title = `region ${region}, ${name}: ${part ? `${percent(part.share)}, distance ${part.distance.toFixed(3)}` : "no part"}`;
    list.append(element("li", { title }, inner));
  });
  return { list, told };
}

function card(hit, names) {
  const { list, told } = shares(hit, names);
  const name = fileName(hit.path);
  const label = `Rank ${hit.rank}, ${name}, distance ${hit.distance.toFixed(3)}; ${told}. Compare`;
  return element("li", { class: "card", "data-id": hit.image_id },
    element("div", { class: "head" },
      element("strong", {}, String(hit.rank)),
      element("span", { title: "distance (Eq. 4)" }, hit.distance.toFixed(3))),
    element("button", { type: "button", class: "open", "aria-label": label, onclick: () => open(hit) }, thumbnail(hit.image_id)),
    list,
    element("div", { class: "small quiet file", title: hit.path }, element("bdi", {}, name)),
    folder(hit.path) ? element("div", { class: "small quiet file folder", title: folder(hit.path) }, element("bdi", {}, folder(hit.path))) : "",
    element("div", { class: "small labels" }, ...labels(hit).map((text) => element("span", {}, text)),
      ...hit.notes.map((text) => element("span", {}, text))),
    element("div", { class: "decide" },
      element("button", { type: "button", class: "confirm", "aria-label": `Same person: ${name}`, onclick: () => decide("confirmed", hit) }, "✓ Same"),
      element("button", { type: "button", class: "refuse", "aria-label": `Other person: ${name}`, onclick: () => decide("refused", hit) }, "✕ Other")),
    element("button", { type: "button", class: "again", "aria-label": `Search with this: ${name}`, onclick: () => searchWith(hit) },
      "Search with this"));
}

on("hits", showHits);
