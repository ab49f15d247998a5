// The way of a search: every state of it is an entry of the browser's history and stands in the address, so that Back,
// Forward, reload and bookmarks work. An uploaded photograph cannot stand in an address: keep.js has it for this tab.

import { by } from "./dom.js";
import { fields, setFilters } from "./filters.js";
import { keep, kept } from "./keep.js";
import { replacePhotos } from "./photographs.js";
import { changed, on, state } from "./state.js";

const UPLOAD = "upload";

// What is searched for, as JSON can hold it.
export function entry() {
  return {
    photos: state.photos.filter((photo) => photo.ready).map((photo) => ({
      ...(photo.id ? { id: photo.id } : { key: (photo.key ||= keep(photo.file)) }), name: photo.name, box: photo.box,
    })),
    confirmed: state.confirmed.map(({ image_id, path }) => ({ image_id, path })),
    refused: state.refused.map(({ image_id, path }) => ({ image_id, path })),
    chosen: state.chosen,
    filters: fields(),
  };
}

const isEmpty = (said) => !said.photos.length && !said.confirmed.length && !said.refused.length;

function address(said) {
  const asked = new URLSearchParams();
  for (const { id, box } of said.photos) {
    asked.append("image", `${id || UPLOAD}${box ? `@${[box.left, box.top, box.right, box.bottom].map((edge) => +edge.toFixed(4))}` : ""}`);
  }
  if (said.confirmed.length) asked.append("confirmed", said.confirmed.map((image) => image.image_id));
  if (said.refused.length) asked.append("refused", said.refused.map((image) => image.image_id));
  if (said.chosen) asked.append("regions", said.chosen);
  for (const [name, value] of Object.entries(said.filters)) {
    for (const each of Array.isArray(value) ? value : [value]) asked.append(name, each);
  }
  const text = isEmpty(said) ? "" : asked.toString().replaceAll("%2C", ",").replaceAll("%40", "@");
  return location.pathname + (text && `?${text}`);
}

// What an address says; an upload has no key there.
function read(text) {
  const asked = new URLSearchParams(text);
  const numbers = (name) => (asked.get(name) || "").split(",").filter((each) => /^[1-9]\d{0,15}$/.test(each)).map(Number);
  const photos = asked.getAll("image").map((each) => {
    const [what, edges] = each.split("@");
    const [left, top, right, bottom] = (edges || "").split(",").map(Number);
    const box = left >= 0 && left < right && right <= 1 && top >= 0 && top < bottom && bottom <= 1 ? { left, top, right, bottom } : null;
    return what === UPLOAD ? { key: "", name: "the photograph", box } : { id: Number(what) || 0, name: `image ${what}`, box };
  });
  const images = (name) => numbers(name).map((image_id) => ({ image_id, path: `image ${image_id}` }));
  const chosen = asked.has("regions") ? (asked.get("regions") || "").split(",").filter((each) => /^\d{1,4}$/.test(each)).map(Number) : null;
  const filters = {};
  for (const name of Object.keys(fields(true))) if (asked.has(name)) filters[name] = asked.getAll(name);
  return { photos: photos.filter((photo) => photo.id !== 0), confirmed: images("confirmed"), refused: images("refused"), chosen, filters };
}

let current = null; // the entry that the address stands for, as text
let restoring = false;
let restored = 0; // how many entries have been restored, or begun to be

export function record() {
  if (restoring) return;
  const said = entry();
  const text = JSON.stringify(said);
  if (text === current || (current === null && isEmpty(said))) return;
  current = text;
  history.pushState(said, "", address(said));
}

// Search for what an entry says, as it was asked then; says what of it is kept no more.
export async function restore(said) {
  const mine = ++restored;
  restoring = true;
  const lost = [];
  const photos = (said.photos || []).flatMap(({ id, key, name, box }) => {
    if (id) return [{ id, name, box }];
    const file = kept(key);
    if (!file) { lost.push(name || "a photograph"); return []; }
    return [{ file, key, name, box }];
  });
  Object.assign(state, { confirmed: said.confirmed || [], refused: said.refused || [], chosen: said.chosen || null });
  setFilters(said.filters || {});
  await replacePhotos(photos);
  if (mine !== restored) return; // another entry is shown by now
  restoring = false;
  current = JSON.stringify(entry());
  changed("trail");
  changed("query");
  if (lost.length) {
    by("query-error").textContent = `${lost.join(", ")}: uploaded photographs are not in the address, and this tab does not hold ${lost.length > 1 ? "them" : "it"} any more. Choose ${lost.length > 1 ? "them" : "it"} again.`;
  }
}

// What the address says when the page is opened.
export function begin() {
  const said = history.state?.photos ? history.state : read(location.search);
  if (isEmpty(said)) { current = null; history.replaceState(entry(), "", location.pathname); return; }
  history.replaceState(said, "", location.href);
  restore(said);
}

window.addEventListener("popstate", (event) => {
  if (state.index && event.state) restore(event.state);
});
on("searching", record);
