// What the page knows, in one place. A module that changes it says so by `changed`; those that show it listen by `on`.

export const state = {
  index: null, // what /api/stats says
  photos: [], // see photographs.js
  active: 0, // the number of the photograph that is edited
  confirmed: [], // images that a person has said to show whoever is searched for: {image_id, path}
  refused: [], // and those that show somebody else
  chosen: null, // regions to compare by; null: all
  asked: [], // the photographs of the last search, as the server counts them
  query: null, // what the server said of their regions; kept when a later search fails
  hits: [], // the ranks that are shown
  more: false, // whether there are further ranks
};

const listeners = new EventTarget();

// "photos": one was added, removed, picked or looked at. "query": there is something else to search for. "trail": something
// was confirmed, refused or taken back. "hits": other ranks are shown. "login": the server asks for a token.
export const on = (what, listener) => listeners.addEventListener(what, (event) => listener(event.detail));
export const changed = (what, detail = null) => listeners.dispatchEvent(new CustomEvent(what, { detail }));
