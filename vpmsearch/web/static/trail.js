// The trail of a search: the query, the images that were confirmed and those that were refused.

import { by, element } from "./dom.js";
import { fileName } from "./labels.js";
import { changed, on, state } from "./state.js";
import { thumbnail } from "./thumbnail.js";

const without = (list, id) => list.filter((image) => image.image_id !== id);

// kind: "confirmed" or "refused".
export function decide(kind, { image_id, path }) {
  const other = kind === "confirmed" ? "refused" : "confirmed";
  state[kind] = [...without(state[kind], image_id), { image_id, path }];
  state[other] = without(state[other], image_id);
  changed("trail");
  changed("query");
}

function takeBack(kind, image) {
  state[kind] = without(state[kind], image.image_id);
  changed("trail");
  (by(kind).querySelector("button") || by("results")).focus(); // the button that had it is gone
  changed("query");
}

export function clearTrail() {
  Object.assign(state, { confirmed: [], refused: [] });
  changed("trail");
}

function chip(kind, image) {
  const name = fileName(image.path);
  const label = `Take back: ${name} is ${kind}`;
  return element("li", {}, element("button", { type: "button", class: "chip", "data-id": image.image_id, "aria-label": label, title: label, onclick: () => takeBack(kind, image) },
    thumbnail(image.image_id), element("span", { "aria-hidden": "true" }, "×")));
}

function show() {
  for (const kind of ["confirmed", "refused"]) {
    by(kind).replaceChildren(...state[kind].map((image) => chip(kind, image)));
    by(`${kind}-box`).hidden = !state[kind].length;
  }
  by("trail").hidden = !state.photos.length && !state.confirmed.length && !state.refused.length;
}

on("trail", show);
on("photos", show);
