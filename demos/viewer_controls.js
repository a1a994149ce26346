// The second half of the same function as viewer.js: what people touch, and the page around the canvases.

// ---- windows
const groupOf = (view) => JSON.stringify([view.unit, view.window]); // volumes that start alike share one window

function setWindow(group, low, high) {
  const { view } = group.volumes[0];
  if (!(high - low >= Math.abs(view.step) && Number.isFinite(high - low))) return false;
  [group.low, group.high] = [low, high];
  fillTable(group);
  const written = (value) => String(Number(value.toFixed(view.digits + 1)));
  if (document.activeElement !== group.width) group.width.value = written(high - low);
  if (document.activeElement !== group.level) group.level.value = written((low + high) / 2);
  const found = view.presets.findIndex((one) => one.low === low && one.high === high);
  group.select.value = String(found);
  return true;
}

function windowFields(group) {
  const { view } = group.volumes[0], alone = scene.groups.length === 1;
  const of = alone ? "" : ` of ${group.volumes.map((volume) => volume.view.title).join(", ")}`;
  const number = (value) => String(Number(value.toFixed(view.digits)));
  const options = view.presets.map((one, i) =>
    el("option", { value: i }, `${one.name}: ${number(one.low)} to ${number(one.high)}`));
  group.select = el("select", { "aria-label": `Window${of}` }, ...options, el("option", { value: -1 }, "by hand"));
  group.width = el("input", { type: "number", step: "any", "aria-label": `Window width${of}` });
  group.level = el("input", { type: "number", step: "any", "aria-label": `Window level${of}` });
  group.select.addEventListener("change", () => {
    const preset = view.presets[Number(group.select.value)];
    if (preset) setWindow(group, preset.low, preset.high);
    show();
  });
  for (const field of [group.width, group.level]) {
    field.addEventListener("input", () => {
      const width = group.width.valueAsNumber, level = group.level.valueAsNumber;
      const good = width > 0 && setWindow(group, level - width / 2, level + width / 2);
      field.setCustomValidity(good ? "" : `Type a ${field === group.width ? "width above 0" : "number"}.`);
      show();
    });
    field.addEventListener("blur", () => {
      field.setCustomValidity("");
      setWindow(group, group.low, group.high);
    });
  }
  return el("fieldset", {}, el("legend", {}, `Window${of}, in ${view.unit}`), el("div", { class: "row" }, group.select,
    el("label", {}, "Width ", group.width), el("label", {}, "Level ", group.level)));
}

// ---- what a pane listens to
function listen(pane) {
  const { canvas, group } = pane;
  const axis = plane(pane).through;
  let drag = null, wheel = 0;
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => {
    canvas.focus({ preventScroll: true });
    if (event.button !== 0 && event.button !== 2) return;
    canvas.setPointerCapture(event.pointerId);
    drag = { button: event.button, x: event.clientX, y: event.clientY, low: group.low, high: group.high };
    if (event.button === 0) pick(pane, event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) return;
    if (drag.button === 0) return pick(pane, event);
    const old = drag.high - drag.low, width = old * 2 ** ((event.clientX - drag.x) / 100);
    const level = (drag.low + drag.high) / 2 + ((event.clientY - drag.y) / 200) * old;
    setWindow(group, level - width / 2, level + width / 2);
    show();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { drag = null; });
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey) return; // the zoom of the browser
    event.preventDefault();
    wheel -= event.deltaY * (event.deltaMode ? NOTCH : 1);
    // a notch of a mouse is one slice, however many pixels it counts; a touchpad sends many small ones
    const by = Math.abs(event.deltaY) >= 100 || event.deltaMode ? Math.sign(wheel) : Math.trunc(wheel / NOTCH);
    if (!by) return;
    wheel = Math.abs(event.deltaY) >= 100 || event.deltaMode ? 0 : wheel - by * NOTCH;
    step(pane, axis, by);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { across, down } = plane(pane), last = pane.volume.view.shape[axis];
    const aside = { ArrowLeft: [across, 1], ArrowRight: [across, -1], ArrowUp: [down, 1], ArrowDown: [down, -1] };
    const through = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1,
      PageUp: 10, PageDown: -10, Home: -last, End: last };
    const zoom = { "+": 1, "=": 1, "-": -1 }[event.key];
    if (zoom) setZoom(zoom);
    else if (event.shiftKey && aside[event.key]) step(pane, ...aside[event.key]);
    else if (through[event.key]) step(pane, axis, through[event.key]);
    else return;
    event.preventDefault();
  });
}

function setZoom(by) {
  scene.zoom = by ? ZOOMS[clamp(ZOOMS.indexOf(scene.zoom) + by, 0, ZOOMS.length - 1)] : 1;
  scene.focus = scene.mm;
  scene.zoomed.textContent = `${scene.zoom}×`;
  show();
}

function home() { // the middle of the first volume, its first window, no zoom
  const { view } = scene.volumes[0];
  for (const group of scene.groups) setWindow(group, ...group.volumes[0].view.window);
  scene.mm = times(view.affine, view.shape.map((n) => Math.floor(n / 2)));
  setZoom(0);
}

// ---- the page
function planeSection({ name, through }, index) {
  const first = scene.volumes[0].view, title = name[0].toUpperCase() + name.slice(1);
  const slider = el("input", { type: "range", min: 0, max: first.shape[through] - 1, step: 1, "aria-label": title });
  const number = el("span", { class: "quiet" });
  const large = el("button", { type: "button", "aria-pressed": "false", "aria-label": `Enlarge ${name}` }, "Enlarge");
  slider.addEventListener("input", () => {
    const voxel = voxelOf(scene.volumes[0], scene.mm);
    voxel[through] = slider.valueAsNumber;
    moveTo(times(first.affine, voxel));
  });
  const panes = scene.volumes.map((volume) => {
    const size = [PLANES[index].across, PLANES[index].down].map((axis) => volume.view.shape[axis]);
    const canvas = el("canvas", { tabindex: 0, role: "img" });
    const slice = el("canvas", { width: size[0], height: size[1] });
    const image = new ImageData(...size), grey = new Uint32Array(image.data.buffer);
    const group = scene.groups.find((one) => one.volumes.includes(volume));
    const pane = { plane: index, volume, group, canvas, slice, image, grey, strip: 0 };
    scene.panes.push(pane);
    listen(pane);
    const caption = scene.volumes.length > 1 ? [el("figcaption", {}, volume.view.title)] : [];
    return el("figure", {}, ...caption, canvas);
  });
  scene.sliders.push({ slider, number });
  const longest = (axis) => Math.max(...scene.volumes.map((volume) => sizeMm(volume, axis)));
  const aspect = [longest(PLANES[index].across), longest(PLANES[index].down)];
  aspect[1] = Math.max(aspect[1], aspect[0] / 4); // a single slice is no line
  const section = el("section", { class: "plane", style: `--aspect: ${aspect[0]} / ${aspect[1]}` },
    el("div", { class: "row" }, el("strong", {}, title), number, large), slider,
    el("div", { class: "panes" }, ...panes));
  large.addEventListener("click", () => {
    const on = large.getAttribute("aria-pressed") === "false";
    for (const other of root.querySelectorAll(".plane")) {
      other.classList.toggle("large", on && other === section);
      other.querySelector("button").setAttribute("aria-pressed", String(on && other === section));
    }
    scene.planes.classList.toggle("enlarged", on);
  });
  return [section, aspect];
}

function filmRow() {
  if (scene.frames.length < 2) return [];
  scene.film = el("input", { type: "range", min: 0, max: scene.frames.length - 1, step: 1, "aria-label": "Frame" });
  scene.filmed = el("span", { class: "filmed" });
  const play = el("button", { type: "button" }, "Play"), mine = scene;
  scene.film.addEventListener("input", () => { scene.frame = scene.film.valueAsNumber; show(); });
  play.addEventListener("click", () => {
    const stop = () => { clearInterval(mine.clock); mine.clock = null; play.textContent = "Play"; };
    if (mine.clock) return stop();
    play.textContent = "Pause";
    mine.clock = setInterval(() => {
      if (mine !== scene || !root.isConnected) return stop();
      scene.frame = (scene.frame + 1) % scene.frames.length;
      show();
    }, 200);
  });
  return [el("div", { class: "row film" }, play, el("strong", {}, "Frame"), scene.film, scene.filmed)];
}

function build(volumes, before) {
  const keys = [...new Set(volumes.map((volume) => groupOf(volume.view)))];
  const groups = keys.map((key) => ({ volumes: volumes.filter((volume) => groupOf(volume.view) === key) }));
  const frames = volumes.map((volume) => volume.view.frames).reduce((a, b) => (b.length > a.length ? b : a));
  scene = { volumes, groups, frames, frame: 0, panes: [], sliders: [], zoom: 1, smooth: true };
  const fields = groups.map(windowFields), sections = PLANES.map(planeSection);
  scene.zoomed = el("output", {}, "1×");
  const button = (words, label, act) => {
    const made = el("button", { type: "button", "aria-label": label }, words);
    made.addEventListener("click", act);
    return made;
  };
  const smooth = el("input", { type: "checkbox", checked: "" });
  smooth.addEventListener("change", () => { scene.smooth = smooth.checked; show(); });
  const tools = el("fieldset", {}, el("legend", {}, "Zoom"), el("div", { class: "row" },
    button("−", "Zoom out", () => setZoom(-1)), scene.zoomed, button("+", "Zoom in", () => setZoom(1)),
    el("label", {}, smooth, " Smooth"), button("Reset", "Reset window, crosshair and zoom", home)));
  const kind = volumes.length > 1 ? "planes many" : "planes";
  scene.planes = el("div", { class: kind }, ...sections.map(([section]) => section));
  // all planes at one scale, as large as the screen lets all rows of pictures stand on it
  const wide = sections.reduce((sum, [, aspect]) => sum + aspect[0], 0);
  const tall = Math.max(...sections.map(([, aspect]) => aspect[1]));
  scene.planes.style.gridTemplateColumns = sections.map(([, aspect]) => `minmax(0, ${aspect[0] / wide}fr)`).join(" ");
  scene.planes.style.maxWidth = `calc(${wide / tall} * ${[60, 40, 32][volumes.length - 1] || 32}vh)`;
  const said = volumes.map((volume) => {
    volume.readout = el("output", { class: "readout", "aria-live": "off" });
    const { title, said } = volume.view;
    return el("div", { class: "said" }, el("strong", {}, title), volume.readout, el("span", { class: "quiet" }, said));
  });
  root.replaceChildren(...filmRow(), el("div", { class: "bar" }, ...fields, tools), scene.planes, ...said,
    el("p", { class: "quiet" }, HELP));
  home();
  const grid = (one) => JSON.stringify(one.volumes.map(({ view }) => [view.shape, view.affine]));
  if (before && grid(before) === grid(scene)) {
    Object.assign(scene, { mm: before.mm, focus: before.focus, zoom: before.zoom });
    scene.zoomed.textContent = `${scene.zoom}×`;
  }
  const mine = scene, sizes = new ResizeObserver((entries) => {
    const dots = Math.min(2, window.devicePixelRatio || 1);
    for (const { target } of entries) {
      [target.width, target.height] = [Math.round(target.clientWidth * dots), Math.round(target.clientHeight * dots)];
    }
    const narrowest = Math.min(...mine.panes.map(({ canvas }) => canvas.clientWidth));
    mine.textPx = clamp(narrowest / 18, 12, 20) * dots;
    mine.ruled = narrowest > 160;
    if (mine === scene) show();
  });
  scene.panes.forEach((pane) => sizes.observe(pane.canvas));
}

async function open(value) {
  const mine = ++turn, views = (value && value.views) || [];
  let volumes;
  try {
    volumes = await Promise.all(views.map(load));
  } catch (error) {
    console.error(error);
    root.replaceChildren(el("p", {}, "This browser cannot unpack the volume; use one of 2023 or later."));
    return;
  }
  if (mine !== turn) return; // a newer value came meanwhile
  const before = scene;
  scene = null;
  if (volumes.length) build(volumes, before);
  else root.replaceChildren(el("p", { class: "quiet" }, "Nothing is shown yet."));
}

root.setAttribute("role", "group");
root.setAttribute("aria-label", props.label || "Volumes");
watch("value", () => open(props.value));
open(props.value);
