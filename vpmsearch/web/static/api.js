// What the server is asked. Every failure is an Error whose message a person can read. Addresses are relative to the
// page's own, since a proxy may show the server under a path.

export class NeedsToken extends Error {}

async function ask(path, options = {}) {
  const response = await answered(path, options);
  return response.status === 204 ? null : response.json();
}

async function answered(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (response.ok) return response;
  let text = `The server answered ${response.status}.`;
  try { text = (await response.json()).error || text; } catch { /* not JSON: the number must do */ }
  if (response.status === 401) throw new NeedsToken(text);
  throw new Error(text);
}

export function login(token) {
  return ask("api/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
}

export const stats = () => ask("api/stats");

export const thumbnail = (id) => `api/images/${id}/thumbnail`;

export const picture = (id) => `api/images/${id}`;

export const scene = (id) => `api/images/${id}/scene`;

// The images of the index that were cut from the same scene, with their boxes.
export const sceneOf = (id, signal) => ask(`api/images/${id}/people`, { signal });

// The people that a detector finds in a file.
export function people(file, signal) {
  const body = new FormData();
  body.append("photograph", file, "photograph");
  return ask("api/people", { method: "POST", body, signal });
}

const boxText = (box) => (box ? [box.left, box.top, box.right, box.bottom].join(",") : "");

// A photo is {file} or {id}, with the box of the part to use or null.
// `tell` hears how it is getting on: {waiting: 3}, {doing: "seeing"}.
export function regions(photo, signal, tell) {
  if (photo.id) return followed(`api/images/${photo.id}/regions?box=${boxText(photo.box)}`, { signal }, tell);
  const form = new FormData();
  form.append("photograph", photo.file, "photograph");
  form.append("box", boxText(photo.box));
  return followed("api/regions", { method: "POST", body: form, signal }, tell);
}

// `tell` as above; of a search it also hears {doing: "searching"}.
export function search(photos, wanted, signal, tell) {
  return followed("api/search", { method: "POST", body: formOf(photos, wanted), signal }, tell);
}

// The same search as a file: "csv", "html", "json" or "parquet".
export async function exported(photos, wanted, form) {
  const body = formOf(photos, wanted);
  body.append("form", form);
  return (await answered("api/export", { method: "POST", body })).blob();
}

function formOf(photos, wanted) {
  const form = new FormData();
  for (const photo of photos) {
    if (photo.id && !photo.box) { form.append("image_id", photo.id); continue; }
    form.append("photograph", photo.file, "photograph");
    if (photo.id) form.append("cut_from", photo.id);
    form.append("box", boxText(photo.box));
  }
  if (wanted.regions) form.append("regions", wanted.regions.join(","));
  for (const { image_id } of wanted.confirmed) form.append("confirmed", image_id);
  for (const { image_id } of wanted.refused) form.append("refused", image_id);
  for (const pid of wanted.pids) form.append("pid", pid);
  for (const camid of wanted.camids) form.append("camid", camid);
  for (const camid of wanted.without) form.append("exclude_camid", camid);
  for (const attribute of wanted.where) form.append("where", attribute);
  if (wanted.after) form.append("after", `${wanted.after}Z`);
  if (wanted.before) form.append("before", `${wanted.before}Z`);
  form.append("prefix", wanted.prefix);
  form.append("exact", wanted.exact);
  form.append("exclude_self", wanted.others);
  form.append("fill", wanted.fill);
  form.append("offset", wanted.offset);
  form.append("limit", wanted.limit);
  return form;
}

// An answer that comes in lines of JSON, the last of which is the answer itself or an error. None comes after an abort.
async function followed(path, options, tell) {
  const response = await answered(path, { ...options, headers: { Accept: "application/x-ndjson" } });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
      options.signal.throwIfAborted();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server stopped answering. Is it still running?");
    }
    if (part.done) throw new Error("The server stopped answering. Is it still running?");
    const lines = (text + part.value).split("\n");
    text = lines.pop();
    for (const told of lines.map((line) => JSON.parse(line))) {
      if (told.answer) return told.answer;
      if (told.error) throw new Error(told.error);
      tell(told);
    }
  }
}

// The file of an image of the index, to search with a part of it.
export async function fileOf(id, signal) {
  const response = await fetch(picture(id), { signal });
  if (!response.ok) throw new Error("The image cannot be loaded.");
  return response.blob();
}
