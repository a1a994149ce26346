// Volumes in three linked planes on 2D canvases. The body of a function of gr.HTML, which gives it `element`, `props`
// and `watch`. The value is {views: [...]} as medgen/view_volume.py makes them: voxels run to the right, the front and
// the head (RAS+), x fastest; they arrive once, and nobody is asked again.

// The axis counted through, along the columns, along the rows. Columns and rows run against their axes, so that the
// patient's right is on the left, the front or the head on top, and sagittal slices face left.
const PLANES = [
  { name: "axial", through: 2, across: 0, down: 1 },
  { name: "coronal", through: 1, across: 0, down: 2 },
  { name: "sagittal", through: 0, across: 1, down: 2 },
];
const ZOOMS = [1, 1.5, 2, 3, 4, 6];
const NOTCH = 40; // pixels of the wheel for one slice
const HELP = "Click or drag: crosshair. Wheel or arrow keys: slices; Page keys: ten; Shift and arrow keys: crosshair. "
  + "Right button: window. Plus and minus: zoom.";
const root = element.querySelector(".volume-view");
let scene = null; // what is on screen: volumes, groups, panes, mm, zoom, focus
let turn = 0;

const el = (tag, attributes, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  made.append(...children);
  return made;
};
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const signed = (value) => value.toFixed(1).replace("-", "−");
const times = (m, v) => [0, 1, 2].map((i) => m[i][0] * v[0] + m[i][1] * v[1] + m[i][2] * v[2] + m[i][3]);

function inverse(m) { // of an affine
  const at = (r, c) => m[(r + 3) % 3][(c + 3) % 3];
  const minor = (r, c) => at(r + 1, c + 1) * at(r + 2, c + 2) - at(r + 1, c + 2) * at(r + 2, c + 1);
  const whole = m[0][0] * minor(0, 0) + m[0][1] * minor(0, 1) + m[0][2] * minor(0, 2);
  return [0, 1, 2].map((i) => {
    const row = [0, 1, 2].map((k) => minor(k, i) / whole);
    return [...row, -row.reduce((sum, value, k) => sum + value * m[k][3], 0)];
  });
}

async function load(view) {
  const text = atob(view.data), packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const half = bytes.length / 2;
  const voxels = view.bytes === 1 ? bytes : new Uint16Array(half);
  if (view.bytes === 2) for (let i = 0; i < half; i++) voxels[i] = bytes[i] | (bytes[half + i] << 8);
  const [x, y] = view.shape;
  return { view, voxels, inverse: inverse(view.affine), strides: [1, x, x * y], lut: new Uint32Array(view.levels) };
}

// ---- where things are
const voxelOf = ({ view, inverse }, mm) => times(inverse, mm).map((v, i) => clamp(Math.round(v), 0, view.shape[i] - 1));
const outside = ({ view, inverse }, mm) => times(inverse, mm).some((v, i) => v < -0.5001 || v > view.shape[i] - 0.4999);
const sizeMm = (volume, axis) => volume.view.shape[axis] * volume.view.view_spacing_mm[axis];
const plane = (pane) => PLANES[pane.plane];
const axes = (pane) => [plane(pane).across, plane(pane).down];
const pointOf = (pane, { corner, side }, voxel) => // where the middle of a voxel is on the canvas
  axes(pane).map((axis, i) => corner[i] + (pane.volume.view.shape[axis] - 0.5 - voxel[axis]) * side[i]);

function placed(pane) { // the picture on the canvas: pixels a voxel, and where the corner of the first voxel lies
  const { volume, canvas } = pane, { across, down } = plane(pane), { shape, view_spacing_mm: spacing } = volume.view;
  const height = canvas.height - pane.strip;
  const widest = Math.max(...scene.volumes.map((v) => sizeMm(v, across)));
  const tallest = Math.max(...scene.volumes.map((v) => sizeMm(v, down)));
  const fit = Math.min(canvas.width / widest, height / tallest) * scene.zoom;
  const side = [fit * spacing[across], fit * spacing[down]], from = [across, down];
  const middle = scene.zoom === 1 ? null : times(volume.inverse, scene.focus);
  const corner = from.map((axis, i) => {
    const view = i ? height : canvas.width;
    const column = middle ? shape[axis] - 0.5 - middle[axis] : shape[axis] / 2;
    return view / 2 - column * side[i];
  });
  return { side, corner, height, fit };
}

function moveTo(mm) {
  scene.mm = mm;
  if (scene.zoom > 1) { // the crosshair stays in sight
    for (const pane of scene.panes) {
      const place = placed(pane), [x, y] = pointOf(pane, place, times(pane.volume.inverse, mm));
      if (x < 0 || y < 0 || x > pane.canvas.width || y > place.height) scene.focus = mm;
    }
  }
  show();
}

function step(pane, axis, by) {
  const voxel = voxelOf(pane.volume, scene.mm);
  voxel[axis] = clamp(voxel[axis] + by, 0, pane.volume.view.shape[axis] - 1);
  moveTo(times(pane.volume.view.affine, voxel));
}

function pick(pane, event) {
  const box = pane.canvas.getBoundingClientRect(), { side, corner } = placed(pane), shape = pane.volume.view.shape;
  const at = [event.clientX - box.left, event.clientY - box.top].map((px) => (px * pane.canvas.width) / box.width);
  const voxel = voxelOf(pane.volume, scene.mm);
  axes(pane).forEach((axis, i) => {
    voxel[axis] = clamp(shape[axis] - 1 - Math.floor((at[i] - corner[i]) / side[i]), 0, shape[axis] - 1);
  });
  moveTo(times(pane.volume.view.affine, voxel));
}

// ---- drawing
function fillTable(group) {
  for (const { view, lut } of group.volumes) {
    for (let level = 0; level < lut.length; level++) {
      const part = (view.offset + level * view.step - group.low) / (group.high - group.low);
      const grey = clamp(Math.round(255 * part), 0, 255);
      lut[level] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
  }
  group.version = (group.version || 0) + 1;
}

function cut(pane, index, frame) { // the slice into a canvas of its own, one pixel a voxel
  const key = `${index} ${frame} ${pane.group.version}`;
  if (pane.key === key) return;
  pane.key = key;
  const { voxels, strides, lut, view } = pane.volume, { through, across, down } = plane(pane);
  const width = view.shape[across], height = view.shape[down], right = strides[across], up = strides[down];
  const first = (frame * view.shape[2] * strides[2]) + index * strides[through] + (width - 1) * right;
  let k = 0;
  for (let row = height - 1; row >= 0; row--) {
    for (let at = first + row * up, end = k + width; k < end; at -= right) pane.grey[k++] = lut[voxels[at]];
  }
  pane.slice.getContext("2d").putImageData(pane.image, 0, 0);
}

function draw(pane) {
  const { canvas, volume } = pane, { through, across, down, name } = plane(pane), { view } = volume;
  const context = canvas.getContext("2d"), voxel = voxelOf(volume, scene.mm), size = scene.textPx;
  if (!canvas.width || !size) return; // not laid out yet
  pane.strip = view.mark ? Math.round(size * 1.4) : 0;
  const frame = Math.min(scene.frame, view.frames.length - 1), { side, corner, height, fit } = placed(pane);
  const [x, y] = pointOf(pane, { corner, side }, voxel);
  cut(pane, voxel[through], frame);
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.save();
  context.beginPath();
  context.rect(0, 0, canvas.width, height);
  context.clip();
  context.imageSmoothingEnabled = scene.smooth;
  context.drawImage(pane.slice, ...corner, side[0] * view.shape[across], side[1] * view.shape[down]);
  cross(context, x, y, size);
  context.restore();
  context.font = `600 ${size}px system-ui, sans-serif`;
  const [left, right, top, bottom] = view.edges[name], pad = size * 0.4;
  write(context, left, pad, height / 2, "left", "middle");
  write(context, right, canvas.width - pad, height / 2, "right", "middle");
  write(context, top, canvas.width / 2, pad, "center", "top");
  write(context, bottom, canvas.width / 2, height - pad, "center", "bottom");
  if (scene.ruled) ruler(context, fit, size, height);
  if (view.mark) write(context, view.mark, canvas.width / 2, canvas.height - size * 0.2, "center", "bottom");
  const where = `${name} slice ${voxel[through]} of 0 to ${view.shape[through] - 1}`;
  const mark = view.mark ? `, ${view.mark.toLowerCase()}` : "";
  const letters = `left ${left}, right ${right}, top ${top}, bottom ${bottom}`;
  canvas.setAttribute("aria-label", `${where}, ${view.title}${mark}; ${letters}`);
}

function cross(context, x, y, size) { // open in the middle
  const gap = size * 0.6, far = context.canvas.width + context.canvas.height;
  for (const [colour, width] of [["#000a", 3], ["#5eead4", 1.2]]) {
    context.strokeStyle = colour;
    context.lineWidth = width * (size / 16);
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * gap, y + dy * gap);
      context.lineTo(x + dx * far, y + dy * far);
    }
    context.stroke();
  }
}

function write(context, words, x, y, align, baseline) {
  context.textAlign = align;
  context.textBaseline = baseline;
  context.lineJoin = "round";
  context.lineWidth = 4;
  context.strokeStyle = "#000";
  context.strokeText(words, x, y);
  context.fillStyle = "#fff";
  context.fillText(words, x, y);
}

function ruler(context, fit, size, height) {
  const mm = [100, 50, 20, 10, 5, 2, 1].find((n) => n * fit <= context.canvas.width / 4) || 1, pad = size * 0.5;
  const thick = Math.max(2, size / 8);
  context.fillStyle = "#000";
  context.fillRect(pad - 2, height - pad - 2, mm * fit + 4, thick + 4);
  context.fillStyle = "#fff";
  context.fillRect(pad, height - pad, mm * fit, thick);
  context.save();
  context.font = `${size * 0.8}px system-ui, sans-serif`;
  write(context, `${mm} mm`, pad, height - pad * 1.4, "left", "bottom");
  context.restore();
}

// ---- drawing at once, then at most once a frame of the screen
function show() {
  if (scene.waiting) {
    scene.again = true;
    return;
  }
  const mine = scene;
  mine.panes.forEach(draw);
  tell();
  mine.waiting = true;
  requestAnimationFrame(() => {
    mine.waiting = false;
    if (mine.again && mine === scene) show();
    mine.again = false;
  });
}

function tell() { // what stands beside the pictures: slices, mm, voxels, values
  const first = scene.volumes[0], lead = voxelOf(first, scene.mm);
  PLANES.forEach(({ through }, i) => {
    const { slider, number } = scene.sliders[i];
    slider.value = lead[through];
    slider.setAttribute("aria-valuetext", `slice ${lead[through]}, ${signed(scene.mm[through])} mm`);
    number.textContent = `${lead[through]} of 0 to ${first.view.shape[through] - 1}`;
  });
  const [x, y, z] = scene.mm.map(signed);
  for (const volume of scene.volumes) {
    const { view, strides, voxels, readout } = volume, voxel = voxelOf(volume, scene.mm);
    const frame = Math.min(scene.frame, view.frames.length - 1), size = voxels.length / view.frames.length;
    const value = view.offset + view.step * voxels[frame * size + voxel.reduce((sum, v, i) => sum + v * strides[i], 0)];
    const file = times(view.to_file, voxel).map((v) => Math.round(v)).join(", ");
    const mean = view.blocks.some((n) => n > 1) ? " (mean)" : "";
    const there = `${value.toFixed(view.digits).replace("-", "−")} ${view.unit}${mean}`;
    const from = view.oriented ? "" : " from the middle";
    const found = outside(volume, scene.mm) ? "outside" : there;
    readout.textContent = `x ${x}, y ${y}, z ${z} mm${from} · voxel ${file} · ${found}`;
  }
  if (scene.film) {
    scene.film.value = scene.frame;
    scene.filmed.textContent = `${scene.frame + 1} of ${scene.frames.length}: ${scene.frames[scene.frame]}`;
  }
}
