// What is known of a hit, in words.

export const fileName = (path) => path.split("/").pop();

const when = (text) => text.replace("T", " ").replace(/(\.\d+)?(Z|\+00:00)$/, "");

export function labels(hit) {
  const known = [];
  if (hit.pid !== null) known.push(`pid ${hit.pid}`);
  if (hit.camid !== null) known.push(`camera ${hit.camid}`);
  if (hit.captured_at !== null) known.push(when(hit.captured_at));
  return known;
}
