// Uploaded photographs of this tab, by a key, so that Back and reload find them again. They are kept in memory, and in
// sessionStorage as far as there is room: some megabytes, until the tab is closed. Nothing of them is in the address.

const PREFIX = "vpmsearch photograph ";
const held = new Map(); // key -> File

export function keep(file) {
  const key = crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2);
  held.set(key, file);
  store(key, file).catch(() => { /* there is no room: it is kept in memory alone */ });
  return key;
}

async function store(key, file) {
  sessionStorage.setItem(PREFIX + key, JSON.stringify({ name: file.name, type: file.type, data: await textOf(file) }));
}

// null where it is kept no more.
export function kept(key) {
  if (!held.has(key)) {
    let value = null;
    try { value = JSON.parse(sessionStorage.getItem(PREFIX + key)); } catch { /* not allowed, or not ours */ }
    if (value) held.set(key, fileFrom(value));
  }
  return held.get(key) || null;
}

// A file as text that JSON can hold, and back.
export function textOf(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

export function fileFrom({ name, type, data }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  return new File([bytes], String(name || "photograph"), { type: String(type || "") });
}
