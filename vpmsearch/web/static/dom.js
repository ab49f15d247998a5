// Making and finding elements.

export const by = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function bar(fraction, color = "") {
  const inner = element("span");
  inner.style.width = `${(100 * Math.min(1, Math.max(0, fraction))).toFixed(1)}%`;
  if (color) inner.style.background = color;
  return element("div", { class: "bar" }, inner);
}

export const percent = (value) => `${(100 * value).toFixed(0)}%`;
