// A trail as a file: saved and opened again, and answers handed on as CSV, JSON, Parquet or a report.

import * as api from "./api.js";
import { by } from "./dom.js";
import { wantedFilters } from "./filters.js";
import { entry, record, restore } from "./history.js";
import { fileFrom, keep, textOf } from "./keep.js";
import { report } from "./progress.js";
import { inServersOrder } from "./search.js";
import { changed, state } from "./state.js";

const FORMAT = "vpmsearch trail";
const MOST = 100; // ranks of a file

function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000); // the browser reads it after the click
}

const say = (text) => { by("trail-said").textContent = text; };

// Uploaded photographs are in the file, so that it can be opened elsewhere.
async function save() {
  const said = entry();
  const files = new Map(state.photos.map((photo) => [photo.key, photo.file]));
  said.photos = await Promise.all(said.photos.map(async ({ key, ...photo }) => (
    key ? { ...photo, type: files.get(key).type, data: await textOf(files.get(key)) } : photo)));
  const { weights, images } = state.index;
  const text = JSON.stringify({ format: FORMAT, version: 1, index: { weights, images }, ...said }, null, 1);
  download(new Blob([text], { type: "application/json" }), "trail.json");
  say("The trail is saved. Uploaded photographs are in the file.");
}

async function open(file) {
  let said = null;
  try { said = JSON.parse(await file.text()); } catch { /* said below */ }
  if (said?.format !== FORMAT || said.version !== 1 || !Array.isArray(said.photos)) {
    by("query-error").textContent = `${file.name} is no trail that was saved here.`;
    return;
  }
  const isImage = (image) => Number.isInteger(image?.image_id) && image.image_id > 0 && typeof image.path === "string";
  try {
    said.photos = said.photos.map(({ type, data, ...photo }) => (
      data ? { ...photo, key: keep(fileFrom({ name: photo.name, type, data })) } : photo));
  } catch {
    by("query-error").textContent = `${file.name} holds a photograph that cannot be read.`;
    return;
  }
  for (const kind of ["confirmed", "refused"]) said[kind] = (said[kind] || []).filter(isImage);
  by("query-error").textContent = "";
  await restore(said);
  record();
  if (said.index?.weights !== state.index.weights) say("This trail was saved with another index; the same numbers may be other images here.");
}

async function hand(form) {
  const tell = by("trail-busy");
  const photos = inServersOrder(state.photos.filter((photo) => photo.ready));
  report(tell, "The file is made…");
  try {
    const wanted = { ...wantedFilters(), confirmed: state.confirmed, refused: state.refused, regions: state.chosen, offset: 0, limit: MOST };
    download(await api.exported(photos, wanted, form), `vpmsearch.${form}`);
    say(`vpmsearch.${form} has the first ${MOST} ranks at most.`);
  } catch (error) {
    say(error.message);
    if (error instanceof api.NeedsToken) changed("login");
  } finally {
    tell.replaceChildren();
  }
}

by("save").addEventListener("click", save);
for (const button of document.querySelectorAll("[data-form]")) button.addEventListener("click", () => hand(button.dataset.form));
by("trail-file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  if (file) open(file);
});
by("back").addEventListener("click", () => history.back());
