// Draws above a map of jupyter-scatter: names of groups, pictures of products and lines to the
// nearest neighbours. Stretches the points to the canvas at every size, gives it the colours of the
// page, saves all maps of a panel as one PNG, and adds gestures of two fingers.
const MOST = 60; // Pictures drawn at once.
const ROOM = 18_000; // Square pixels of the map for each name.
const BATCH = 12; // Pictures requested at once, so that Python stays responsive.
const SETTLE = 120; // Milliseconds after the last move until pictures and names are placed again.
const SHORT = 8; // Milliseconds of drawing all points that fit into a frame.
const SHARE = 0.1; // Largest share of the time for drawing all points of a moving map, if it takes longer.
const TAP = 24; // Largest distance of a finger from its point, in pixels.

function render({ model, el }) {
  const ends = new AbortController();
  const { signal } = ends;
  const probe = document.createElement("div");
  probe.style.cssText =
    "display:none;color:var(--jp-ui-font-color1,#1b2330);background:var(--jp-layout-color1,#fff)";
  el.append(probe);
  el.style.display = "none";
  let api, box, layer, pen, tools;
  let stamp = model.get("stamp");
  const pictures = new Map(); // Index of a point -> its picture; null: requested, or there is none.
  let placed = { names: [], pictures: [], side: 30 };
  let [settling, moving, lasso] = [0, false, []];
  let sharp = null; // The last image of all points, the time it took, and what it depends on.
  let since = 0; // Time since which the map has moved away from it.

  // ---------------------------------------------------------------- places

  const size = () => [box.clientWidth, box.clientHeight];

  function projection() {
    const [width, height] = size();
    const view = api.get("cameraView");
    const across = api.get("aspectRatio");
    const points = api.get("points");
    return (what) => {
      const point = Array.isArray(what) ? what : points[what];
      if (!point) return null;
      const [x, y] = [point[0] * across, point[1]];
      return [
        ((view[0] * x + view[4] * y + view[12]) * height + width) / 2,
        (height * (1 - view[1] * x - view[5] * y - view[13])) / 2,
      ];
    };
  }

  const title = () => el.closest(".scale-map")?.querySelector("h4")?.textContent ?? "";
  const lines = () => model.get("lines");
  const near = () => [...new Set(lines().flatMap(([from, to]) => [from, to]))];

  // ----------------------------------------------------- image of the points

  // jupyter-scatter draws all points for every frame, even if only the cross hair moves. Without a
  // graphics card this takes 0.1 to 0.3 s for 100,000 points. A moving map is therefore its last
  // image, shifted and scaled, until it rests for `SETTLE` or has moved for the time that `SHARE` asks.
  function hold(renderer) {
    if (renderer.scaleHolds) return;
    renderer.scaleHolds = true; // All maps of a page share it.
    const { render } = renderer;
    renderer.render = (all, canvas) =>
      canvas.scaleShow ? canvas.scaleShow((image) => render(all, image)) : render(all, canvas);
  }

  const alike = (one, other) => one.every((value, k) => value === other[k]);
  const moved = () => sharp && !alike(sharp.view, api.get("cameraView"));

  // What an image depends on besides the view.
  function looks(canvas) {
    const selected = api.get("selectedPoints").reduce((sum, k) => (Math.imul(sum, 31) + k) | 0, 7);
    const names = ["points", "pointColor", "pointColorActive", "pointSize", "opacity", "background"];
    return [canvas.width, canvas.height, selected, ...names.map((name) => api.get(name))];
  }

  function show(canvas, render) {
    const now = performance.now();
    const valid = sharp && !moving && alike(looks(canvas), sharp.looks);
    since = moved() ? since || now : 0;
    const wait = sharp?.cost > SHORT ? sharp.cost / SHARE : 0;
    if (!valid || (since && now - since >= wait)) redraw(canvas, render);
    const [from, to] = [sharp.view, api.get("cameraView")];
    const zoom = to[0] / from[0];
    const half = canvas.height / 2; // The unit of a view, whose y axis points upwards.
    const [x, y] = [to[12] - zoom * from[12], zoom * from[13] - to[13]];
    const pixels = canvas.getContext("2d");
    pixels.clearRect(0, 0, canvas.width, canvas.height);
    pixels.setTransform(zoom, 0, 0, zoom, canvas.width / 2 + x * half, half + y * half);
    pixels.drawImage(sharp.image, -sharp.image.width / 2, -sharp.image.height / 2);
    pixels.setTransform(1, 0, 0, 1, 0, 0);
  }

  function redraw(canvas, render) {
    const image = sharp?.image ?? document.createElement("canvas");
    // Of the renderer's size, that of the window: what a shift uncovers is there.
    const { width, height } = api.get("renderer").canvas;
    if (image.width !== width || image.height !== height) Object.assign(image, { width, height });
    const hovered = api.get("hoveredPoint");
    api.hover(-1, { preventEvent: true });
    const started = performance.now();
    render(image);
    sharp = { image, cost: performance.now() - started, view: [...api.get("cameraView")], looks: looks(canvas) };
    if (hovered >= 0) api.hover(hovered, { preventEvent: true });
    since = 0;
    layer.dataset.redraws = Number(layer.dataset.redraws ?? 0) + 1;
  }

  // Chooses the names and pictures that fit without overlap; a closer view has room for more.
  function settle() {
    settling = 0;
    if (!api || !api.get("isPointsDrawn")) return;
    const [width, height] = size();
    if (!width || !height) return;
    if (moved()) {
      since = -Infinity;
      api.redraw();
    }
    const place = projection();
    const count = api.get("points").length;
    const inside = [];
    for (let index = 0; index < count; index++) {
      const [x, y] = place(index);
      if (x > 0 && y > 0 && x < width && y < height) inside.push([index, x, y]);
    }
    const side = Math.min(56, Math.max(26, Math.sqrt((width * height) / (5 * inside.length + 1))));
    placed = { side, names: names(place, side, width, height), pictures: [] };
    const selected = new Set(api.get("selectedPoints"));
    const shown = selected.size > 1 ? inside.filter(([index]) => selected.has(index)) : inside;
    if (model.get("pictures")) placed.pictures = fitting(shown, side);
    request(model.get("pictures") ? [...near(), ...placed.pictures] : []);
    draw();
  }

  function names(place, side, width, height) {
    if (!model.get("names")) return [];
    const found = [];
    const line = 1.45 * em();
    const most = (width * height) / (ROOM * (em() / 12.5) ** 2);
    pen.font = font();
    for (const [index, text, colour] of model.get("labels")) {
      if (found.length >= most) break;
      const at = place(index);
      if (!at || at[0] < 0 || at[1] < 0 || at[0] > width || at[1] > height) continue;
      const half = [pen.measureText(text).width / 2 + 3, line / 2];
      const away = (model.get("pictures") ? side / 2 : 4) + line / 2 + 1;
      const shifts = [[0, -away], [0, away], [half[0] + away - 8, 0], [8 - half[0] - away, 0]];
      for (const shift of shifts) {
        const [x, y] = [at[0] + shift[0], at[1] + shift[1]];
        const outside =
          x < half[0] || y < half[1] || x > width - half[0] || y > height - half[1];
        const clash = found.some(
          (one) => Math.abs(one.x - x) < one.half[0] + half[0] && Math.abs(one.y - y) < line,
        );
        if (outside || clash) continue;
        found.push({ index, text, colour, shift, x, y, half });
        break;
      }
    }
    return found;
  }

  function fitting(inside, side) {
    const [chosen, cells] = [[], new Map()];
    const cell = (x, y) => `${Math.floor(x / side)},${Math.floor(y / side)}`;
    const clear = (x, y) => {
      for (const dx of [-side, 0, side]) {
        for (const dy of [-side, 0, side]) {
          const other = cells.get(cell(x + dx, y + dy));
          const apart = other && Math.max(Math.abs(other[0] - x), Math.abs(other[1] - y));
          if (other && apart < side) return false;
        }
      }
      return placed.names.every(
        (name) =>
          Math.abs(name.x - x) > name.half[0] + side / 2 ||
          Math.abs(name.y - y) > name.half[1] - 3 + side / 2,
      );
    };
    for (const [index, x, y] of inside) {
      if (chosen.length >= MOST) break;
      if (pictures.get(index) === "" || !clear(x, y)) continue;
      cells.set(cell(x, y), [x, y]);
      chosen.push(index);
    }
    return chosen;
  }

  function request(wanted) {
    const missing = wanted.filter((index) => !pictures.has(index));
    if (!missing.length || !model.get("has_pictures")) return;
    missing.length = Math.min(missing.length, BATCH);
    for (const index of missing) pictures.set(index, null);
    model.send({ wanted: missing, stamp });
  }

  function receive(message) {
    if (!message.pictures || message.stamp !== stamp) return;
    for (const [index, uri] of Object.entries(message.pictures)) {
      pictures.set(Number(index), uri && null);
      if (!uri) continue;
      const image = new Image();
      image.onload = () => {
        pictures.set(Number(index), image);
        draw();
      };
      image.src = uri;
    }
    for (const [index, uri] of Object.entries(message.pictures)) {
      if (!uri) pictures.set(Number(index), "");
    }
    soon();
  }

  // --------------------------------------------------------------- drawing

  const ink = () => getComputedStyle(probe).color;
  const page = () => getComputedStyle(probe).backgroundColor;
  // Names are larger on a page for a projector, and on a tablet.
  const em = () =>
    document.body.classList.contains("scale-present")
      ? 18
      : matchMedia("(pointer: coarse)").matches ? 14 : 12.5;
  const font = (pixels = em()) => `600 ${pixels}px system-ui, "Noto Sans CJK SC", sans-serif`;

  function draw() {
    if (!pen) return;
    const [width, height] = size();
    const scale = window.devicePixelRatio || 1;
    if (layer.width !== Math.round(width * scale)) layer.width = Math.round(width * scale);
    if (layer.height !== Math.round(height * scale)) layer.height = Math.round(height * scale);
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    if (moving || !api.get("isPointsDrawn")) return;
    const place = projection();
    const groups = model.get("colours");
    const points = api.get("points");
    const stroke = (from, to, width, colour) => {
      [pen.lineWidth, pen.strokeStyle] = [width, colour];
      pen.beginPath();
      pen.moveTo(...from);
      pen.lineTo(...to);
      pen.stroke();
    };
    const picture = (index, side, frame) => {
      const [image, at] = [pictures.get(index), place(index)];
      if (!image || !at) return;
      const fit = side / Math.max(image.naturalWidth, image.naturalHeight);
      const [w, h] = [image.naturalWidth * fit, image.naturalHeight * fit];
      pen.fillStyle = groups[points[index][2]] ?? ink();
      pen.fillRect(at[0] - w / 2 - frame, at[1] - h / 2 - frame, w + 2 * frame, h + 2 * frame);
      pen.drawImage(image, at[0] - w / 2, at[1] - h / 2, w, h);
    };
    const shown = model.get("pictures");
    if (shown) placed.pictures.forEach((index) => picture(index, placed.side - 4, 1.5));
    const paper = page();
    for (const [from, to, far] of lines()) {
      const [start, end] = [place(from), place(to)];
      if (!start || !end) continue;
      pen.setLineDash([]);
      stroke(start, end, far ? 5 : 4, paper);
      pen.setLineDash(far ? [8, 5] : []);
      stroke(start, end, far ? 2.5 : 2, far ? model.get("far") : ink());
    }
    pen.setLineDash([]);
    if (shown && lines().length) {
      const [chosen, ...others] = near();
      others.forEach((index) => picture(index, placed.side, 2.5));
      picture(chosen, placed.side + 10, 4);
    }
    pen.font = font();
    [pen.textAlign, pen.textBaseline, pen.lineJoin] = ["center", "middle", "round"];
    [pen.lineWidth, pen.strokeStyle, pen.fillStyle] = [4, paper, ink()];
    for (const { index, text, shift } of placed.names) {
      const at = place(index);
      if (!at) continue;
      pen.strokeText(text, at[0] + shift[0], at[1] + shift[1]);
      pen.fillText(text, at[0] + shift[0], at[1] + shift[1]);
    }
    cross(place, width, height);
    const names = placed.names.map((name) => name.text);
    layer.dataset.names = names.length;
    layer.dataset.lines = lines().length;
    layer.dataset.pictures = shown
      ? [...new Set([...near(), ...placed.pictures])].filter((index) => pictures.get(index)).length
      : 0;
    layer.setAttribute("aria-label", [title(), ...names].join(", "));
  }

  // The cross hair of the hovered point, and the lasso.
  function cross(place, width, height) {
    const stroke = (points, wide, alpha) => {
      [pen.lineWidth, pen.globalAlpha] = [wide, alpha];
      pen.beginPath();
      points.forEach((point) => pen.lineTo(...point));
      pen.stroke();
    };
    [pen.strokeStyle, pen.fillStyle] = [ink(), ink()];
    const hovered = api.get("hoveredPoint");
    const at = place(hovered);
    if (at && !moved() && !lasso.length) {
      stroke([[0, at[1]], [width, at[1]]], 1, 0.3);
      stroke([[at[0], 0], [at[0], height]], 1, 0.3);
      [pen.lineWidth, pen.globalAlpha] = [2, 1];
      pen.fillStyle = model.get("colours")[api.get("points")[hovered][2]] ?? ink();
      pen.beginPath();
      pen.arc(...at, 5, 0, 2 * Math.PI);
      pen.fill();
      pen.stroke();
    }
    if (lasso.length > 1) {
      stroke(lasso.map(place), 2, 1);
      [pen.fillStyle, pen.globalAlpha] = [ink(), 0.15];
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  function soon() {
    clearTimeout(settling);
    settling = setTimeout(settle, SETTLE);
  }

  let before = "";
  function drawn() {
    draw();
    const selected = api.get("selectedPoints");
    const view = [...api.get("cameraView"), api.get("aspectRatio"), ...size()];
    const now = [...view, selected.length, selected[0]].join();
    if (now !== before) soon();
    before = now;
  }

  function fit() {
    const [width, height] = size();
    if (!width || !height) return;
    api.set({ aspectRatio: width / height }).then(() => {
      if (sharp) sharp.looks = [];
      api.redraw();
      soon();
    });
  }

  // A view that is being created misses changes; Python sends them again.
  function report(ready = false) {
    const parts = page().match(/[\d.]+/g).slice(0, 3);
    const hex = "#" + parts.map((part) => Number(part).toString(16).padStart(2, "0")).join("");
    model.send({ page: hex, ready });
    soon();
  }

  // ---------------------------------------------------------- PNG and zoom

  function save() {
    const frame = el.closest(".scale-maps") ?? el.closest(".scale-map").parentElement;
    const all = [...frame.querySelectorAll(".scale-map")].filter((map) => map.scaleLayers);
    const parts = all.map((map) => map.scaleLayers());
    const [gap, head] = [16, 28];
    const scale = window.devicePixelRatio || 1;
    const sheet = document.createElement("canvas");
    sheet.width = scale * (parts.reduce((sum, part) => sum + part.width + gap, gap));
    sheet.height = scale * (Math.max(...parts.map((part) => part.height)) + head + gap);
    const paper = sheet.getContext("2d");
    paper.scale(scale, scale);
    paper.fillStyle = page();
    paper.fillRect(0, 0, sheet.width, sheet.height);
    [paper.fillStyle, paper.font] = [ink(), font(Math.max(14, em()))];
    paper.textBaseline = "middle";
    let left = gap;
    for (const { width, height, layers, title } of parts) {
      paper.fillText(title, left, head / 2, width);
      for (const each of layers) paper.drawImage(each, left, head, width, height);
      left += width + gap;
    }
    sheet.toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = "scale-map.png";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    });
  }

  function zoom(factor, at = null) {
    const [width, height] = size();
    const [x, y] = at ?? [width / 2, height / 2];
    const across = width / height;
    api.get("camera").scale(factor, [((2 * x) / width - 1) * across, 1 - (2 * y) / height]);
    api.redraw();
  }

  function buttons() {
    const made = document.createElement("div");
    made.className = "scale-map-tools";
    const words = model.get("words");
    const add = (text, name, action) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.title = words[name] ?? name;
      button.setAttribute("aria-label", words[name] ?? name);
      button.addEventListener("click", action, { signal });
      made.append(button);
    };
    add("+", "closer", () => zoom(1.5));
    add("−", "wider", () => zoom(1 / 1.5));
    add("PNG", "png", save);
    return made;
  }

  // ------------------------------------------------------------- gestures

  // One finger scrolls the page, or draws the lasso; a tap chooses; two fingers move and zoom.
  function gestures(canvas) {
    let [tap, pinch, lasso] = [null, null, false];
    canvas.style.touchAction = "pan-y";
    const at = (touch) => {
      const corner = canvas.getBoundingClientRect();
      return [touch.clientX - corner.x, touch.clientY - corner.y];
    };
    const both = (event) => {
      const [a, b] = [...event.touches].map(at);
      return { x: (a[0] + b[0]) / 2, y: (a[1] + b[1]) / 2, far: Math.hypot(a[0] - b[0], a[1] - b[1]) };
    };
    const mouse = (type, touch, down) =>
      canvas.dispatchEvent(
        new MouseEvent(type, {
          bubbles: true, cancelable: true, clientX: touch.clientX, clientY: touch.clientY, buttons: down,
        }),
      );
    const on = (type, action) =>
      canvas.addEventListener(type, action, { passive: false, signal });
    on("touchstart", (event) => {
      tap = event.touches.length === 1 ? [...at(event.touches[0]), Date.now()] : null;
      if (event.touches.length === 2) {
        pinch = both(event);
        event.preventDefault();
      } else if (api.get("mouseMode") === "lasso") {
        lasso = true;
        event.preventDefault();
        mouse("mouseenter", event.touches[0], 0);
        mouse("mousemove", event.touches[0], 0);
        mouse("mousedown", event.touches[0], 1);
      }
    });
    on("touchmove", (event) => {
      if (pinch && event.touches.length === 2) {
        event.preventDefault();
        const now = both(event);
        const height = size()[1];
        const moved = [(2 * (now.x - pinch.x)) / height, (-2 * (now.y - pinch.y)) / height];
        api.get("camera").translate(moved);
        zoom(now.far / Math.max(1, pinch.far), [now.x, now.y]);
        pinch = now;
      } else if (lasso) {
        event.preventDefault();
        mouse("mousemove", event.touches[0], 1);
      }
      const [x, y] = at(event.touches[0]);
      if (tap && Math.hypot(x - tap[0], y - tap[1]) > 12) tap = null;
    });
    on("touchend", (event) => {
      if (event.touches.length < 2) pinch = null;
      if (lasso) {
        event.preventDefault();
        lasso = false;
        mouse("mouseup", event.changedTouches[0], 0);
      } else if (tap && Date.now() - tap[2] < 600) {
        const found = nearest(tap[0], tap[1]);
        if (found >= 0) {
          event.preventDefault();
          api.select([found]);
        }
      }
      tap = null;
    });
  }

  function nearest(x, y) {
    const place = projection();
    let [best, least] = [-1, TAP];
    for (let index = 0; index < api.get("points").length; index++) {
      const at = place(index);
      const away = Math.hypot(at[0] - x, at[1] - y);
      if (away < least) [best, least] = [index, away];
    }
    return best;
  }

  // --------------------------------------------------------------- set-up

  // jupyter-scatter stays empty in a browser without WebGL, for example one without a graphics card.
  function drawable() {
    if (document.createElement("canvas").getContext("webgl")) return true;
    const missing = document.createElement("div");
    missing.className = "scale-map-missing";
    missing.setAttribute("role", "alert");
    missing.textContent = model.get("words").webgl;
    el.style.display = "";
    el.append(missing);
    return false;
  }

  function attach() {
    if (signal.aborted) return;
    const map = el.closest(".scale-map");
    let node = map?.querySelector("canvas");
    while (node && node !== map && !node.api) node = node.parentElement;
    if (!node?.api || !node.clientWidth || !node.api.get("isPointsDrawn")) {
      setTimeout(attach, 50);
      return;
    }
    [api, box] = [node.api, node];
    layer = document.createElement("canvas");
    layer.className = "scale-map-layer";
    layer.setAttribute("role", "img");
    tools = buttons();
    box.append(layer, tools);
    pen = layer.getContext("2d");
    const canvas = box.querySelector("canvas");
    // Every map has its own copy of this module, so the element holds what the PNG needs.
    map.scaleLayers = () => ({
      width: size()[0],
      height: size()[1],
      layers: [canvas, layer],
      title: title(),
    });
    gestures(canvas);
    canvas.scaleShow = (render) => show(canvas, render);
    hold(api.get("renderer"));
    api.subscribe("drawing", drawn);
    api.subscribe("lassoExtend", ({ coordinates }) => (lasso = coordinates));
    api.subscribe("lassoEnd", () => (lasso = []));
    api.subscribe("transitionStart", () => (moving = true));
    api.subscribe("transitionEnd", () => {
      moving = false;
      soon();
    });
    const watch = new ResizeObserver(() => requestAnimationFrame(fit));
    watch.observe(box);
    // The style sheet of a theme may load after its name is set.
    const theme = new MutationObserver(() => [0, 300, 1000].forEach((wait) => setTimeout(report, wait)));
    theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name"] });
    signal.addEventListener("abort", () => {
      watch.disconnect();
      theme.disconnect();
      delete canvas.scaleShow;
      layer.remove();
      tools.remove();
    });
    fit();
    report(true);
  }

  model.on("change:labels change:names change:pictures", soon);
  model.on("change:lines", () => {
    draw();
    soon();
  });
  model.on("change:stamp", () => {
    stamp = model.get("stamp");
    pictures.clear();
    placed = { names: [], pictures: [], side: 30 };
    soon();
  });
  model.on("msg:custom", receive);
  if (drawable()) attach();
  return () => {
    ends.abort();
    clearTimeout(settling);
  };
}
export default { render };
