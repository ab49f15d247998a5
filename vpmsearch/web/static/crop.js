// The rectangle of a photograph that is used, drawn by a person: by mouse, by keys, by a finger in crop mode.

import { WHOLE } from "./photo.js";

const SMALLEST = 0.04;
const NEAR = 14; // pixels around a corner in which it can be taken hold of
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// `get` gives the rectangle; `show` is told while it changes and `done` when it has. `byFinger` says whether a finger draws:
// it scrolls otherwise.
export function editBox(canvas, get, show, done, byFinger) {
  let start = null;
  const at = (event) => {
    const frame = canvas.getBoundingClientRect();
    return [clamp((event.clientX - frame.left) / frame.width, 0, 1), clamp((event.clientY - frame.top) / frame.height, 0, 1)];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch" && !byFinger()) return;
    start = opposite(canvas, get(), at(event)) || at(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (start) show(between(start, at(event)));
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!start) return;
    const box = between(start, at(event));
    start = null;
    // A click is no rectangle: it takes the whole photograph.
    done(box.right - box.left < SMALLEST || box.bottom - box.top < SMALLEST ? null : box);
  });
  canvas.addEventListener("pointercancel", () => { start = null; show(get()); });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Escape") { done(null); return; }
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    done(nudged(get() || WHOLE, step.map((value) => 0.05 * value), event.shiftKey));
  });
}

const between = ([x0, y0], [x1, y1]) => ({
  left: Math.min(x0, x1), top: Math.min(y0, y1), right: Math.max(x0, x1), bottom: Math.max(y0, y1),
});

// The corner opposite to the one that is taken hold of; null where none is.
function opposite(canvas, box, [x, y]) {
  if (!box) return null;
  const { width, height } = canvas.getBoundingClientRect();
  for (const [corner, other] of [["left", "right"], ["right", "left"]]) {
    for (const [edge, far] of [["top", "bottom"], ["bottom", "top"]]) {
      if (Math.abs(x - box[corner]) * width < NEAR && Math.abs(y - box[edge]) * height < NEAR) return [box[other], box[far]];
    }
  }
  return null;
}

function nudged(box, [dx, dy], resize) {
  if (resize) {
    return { ...box, right: clamp(box.right + dx, box.left + SMALLEST, 1), bottom: clamp(box.bottom + dy, box.top + SMALLEST, 1) };
  }
  const x = clamp(dx, -box.left, 1 - box.right);
  const y = clamp(dy, -box.top, 1 - box.bottom);
  return { left: box.left + x, top: box.top + y, right: box.right + x, bottom: box.bottom + y };
}
