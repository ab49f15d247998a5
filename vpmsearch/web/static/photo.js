// Photographs on a canvas: the part that is used, and the regions that the model sees in it.

// Okabe and Ito, as in vpmsearch.drawing: people with any kind of colour vision can tell them apart.
const PALETTE = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442"];

export const shade = (region) => PALETTE[region % PALETTE.length];

export const WHOLE = { left: 0, top: 0, right: 1, bottom: 1 };

export function loadImage(address) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("The browser cannot show this image."));
    image.src = address;
  });
}

// Draw the image, dim what is not used, and lay the regions over what is.
export function draw(canvas, image, { box = null, seen = null, width = 320, height = 360 } = {}) {
  const scale = Math.min(width / image.naturalWidth, height / image.naturalHeight);
  canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  const part = box || WHOLE;
  const [x, y] = [part.left * canvas.width, part.top * canvas.height];
  const [w, h] = [(part.right - part.left) * canvas.width, (part.bottom - part.top) * canvas.height];
  if (seen) paint(pen, seen.labels, x, y, w, h);
  if (box) {
    pen.fillStyle = "rgb(0 0 0 / 60%)";
    pen.fillRect(0, 0, canvas.width, y);
    pen.fillRect(0, y + h, canvas.width, canvas.height);
    pen.fillRect(0, y, x, h);
    pen.fillRect(x + w, y, canvas.width, h);
    pen.lineWidth = 2;
    pen.strokeStyle = "#fff";
    pen.strokeRect(x, y, w, h);
    pen.setLineDash([5, 4]);
    pen.strokeStyle = "#000";
    pen.strokeRect(x, y, w, h);
    pen.setLineDash([]);
  }
}

function paint(pen, labels, x, y, w, h) {
  const [cellW, cellH] = [w / labels[0].length, h / labels.length];
  const cells = document.createElement("canvas"); // a pixel a label, then enlarged: no seams between rectangles
  cells.width = labels[0].length;
  cells.height = labels.length;
  const dot = cells.getContext("2d");
  labels.forEach((row, i) => row.forEach((region, j) => {
    dot.fillStyle = shade(region);
    dot.fillRect(j, i, 1, 1);
  }));
  pen.globalAlpha = 0.42;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(cells, x, y, w, h);
  pen.imageSmoothingEnabled = true;
  pen.globalAlpha = 1;
  pen.font = "bold 15px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (const [region, place] of middles(labels)) {
    const at = [x + (place.column + 0.5) * cellW, y + (place.row + 0.5) * cellH];
    pen.lineWidth = 4;
    pen.strokeStyle = "#fff";
    pen.strokeText(region, ...at);
    pen.fillStyle = "#111";
    pen.fillText(region, ...at);
  }
}

// For each region its pixel nearest to its middle, and the rectangle around all of its pixels.
export function middles(labels) {
  const found = new Map();
  labels.forEach((row, i) => row.forEach((region, j) => {
    if (!found.has(region)) found.set(region, []);
    found.get(region).push([i, j]);
  }));
  const places = new Map();
  for (const [region, cells] of [...found].sort((a, b) => a[0] - b[0])) {
    const mean = [0, 1].map((axis) => cells.reduce((sum, cell) => sum + cell[axis], 0) / cells.length);
    const away = (cell) => (cell[0] - mean[0]) ** 2 + (cell[1] - mean[1]) ** 2;
    const [row, column] = cells.reduce((best, cell) => (away(cell) < away(best) ? cell : best));
    const rows = cells.map((cell) => cell[0]);
    const columns = cells.map((cell) => cell[1]);
    places.set(region, {
      row, column,
      top: Math.min(...rows) / labels.length, bottom: (Math.max(...rows) + 1) / labels.length,
      left: Math.min(...columns) / labels[0].length, right: (Math.max(...columns) + 1) / labels[0].length,
    });
  }
  return places;
}

// One region cut out of what was used of a photograph; null where the region is nowhere the likeliest.
export function cutOut(image, box, seen, region) {
  const place = middles(seen.labels).get(region);
  if (!place) return null;
  const part = box || WHOLE;
  const [w, h] = [part.right - part.left, part.bottom - part.top];
  const left = (part.left + place.left * w) * image.naturalWidth;
  const top = (part.top + place.top * h) * image.naturalHeight;
  const width = Math.max(1, (place.right - place.left) * w * image.naturalWidth);
  const height = Math.max(1, (place.bottom - place.top) * h * image.naturalHeight);
  const scale = Math.min(112 / width, 56 / height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.getContext("2d").drawImage(image, left, top, width, height, 0, 0, canvas.width, canvas.height);
  return canvas;
}

const SMALLEST = 0.04;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// Let a person draw the rectangle by pointer or by keys; tell `show` while it changes and `done` when it has.
export function editBox(canvas, get, show, done) {
  let start = null;
  const at = (event) => {
    const frame = canvas.getBoundingClientRect();
    return [clamp((event.clientX - frame.left) / frame.width, 0, 1), clamp((event.clientY - frame.top) / frame.height, 0, 1)];
  };
  const between = ([x0, y0], [x1, y1]) => ({
    left: Math.min(x0, x1), top: Math.min(y0, y1), right: Math.max(x0, x1), bottom: Math.max(y0, y1),
  });
  canvas.addEventListener("pointerdown", (event) => {
    start = at(event);
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

function nudged(box, [dx, dy], resize) {
  if (resize) {
    return { ...box, right: clamp(box.right + dx, box.left + SMALLEST, 1), bottom: clamp(box.bottom + dy, box.top + SMALLEST, 1) };
  }
  const x = clamp(dx, -box.left, 1 - box.right);
  const y = clamp(dy, -box.top, 1 - box.bottom);
  return { left: box.left + x, top: box.top + y, right: box.right + x, bottom: box.bottom + y };
}
