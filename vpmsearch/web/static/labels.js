// What is known of an image, in words.

// Of a part of a photograph or film the part is no part of the name.
const file = (path) => path.replace(/#(t=|xywh=)[^/]*$/, "");

// "1 image", "638 images".
export const numberOf = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

export const fileName = (path) => file(path).split("/").pop();

export const folder = (path) => file(path).split("/").slice(0, -1).join("/");

// "2026-11-22 16:20:05": the server's times are UTC.
export const when = (text) => text.replace("T", " ").replace(/(\.\d+)?(Z|\+00:00)$/, "");

// A moment of a film: "1:02:03.4".
export function moment(seconds) {
  const tenths = Math.round(10 * seconds); // rounded first, or 59.97 would be 0:60.0
  const [hours, minutes] = [Math.floor(tenths / 36000), Math.floor((tenths % 36000) / 600)];
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export function labels(hit) {
  const known = [];
  if (hit.pid !== null) known.push(`pid ${hit.pid}`);
  if (hit.camid !== null) known.push(`camera ${hit.camid}`);
  if (hit.captured_at !== null) known.push(when(hit.captured_at));
  if (Number.isFinite(hit.seconds)) known.push(`at ${moment(hit.seconds)}`);
  for (const [name, value] of Object.entries(hit.attributes || {})) known.push(`${name}: ${value}`);
  return known;
}
