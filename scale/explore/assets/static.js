// Panels of precomputed results: no kernel, no network, no libraries. `scale/explore/static.py` puts
// this file, the style sheet and the results into one script element, which calls `mount`. Texts of a
// catalogue reach the page through textContent; `data.*.html` is escaped by Python.
"use strict";

/** Fill every element `<div data-static=ID>` with the panel `kind`; its picture is replaced. */
function mount(id, kind, css, data, words, tries = 40) {
  const hosts = [...document.querySelectorAll(`[data-static="${id}"]`)].filter((e) => !e.shadowRoot);
  // JupyterLab may run the script before it shows the output.
  if (!hosts.length && tries) setTimeout(() => mount(id, kind, css, data, words, tries - 1), 50);
  for (const host of hosts) {
    host.setAttribute("data-lm-suppress-shortcuts", ""); // arrow keys belong to the panel
    const root = host.attachShadow({ mode: "open" });
    const body = make("div", { class: "panel" });
    root.append(make("style", {}, css), body);
    ({ scores: scorePanel, map: mapPanel })[kind](body, data, words);
  }
}

function make(tag, attributes = {}, ...children) {
  const space = /^(svg|g|line|circle|rect|image|text)$/.test(tag) ? "http://www.w3.org/2000/svg" : null;
  const node = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") Object.entries(value).forEach((pair) => node.addEventListener(...pair));
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Numbers of a base64 string of little-endian 16-bit integers, divided by their maximum. */
function shares(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float64Array.from({ length: bytes.length / 2 }, (_, k) => view.getInt16(2 * k, true) / 32767);
}

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (all, key) => values[key] ?? all);
const sum = (values) => values.reduce((total, value) => total + value, 0);

function fixed(value, digits = 2) {
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? (0).toFixed(digits) : text).replace("-", "−");
}

function signed(value) {
  const text = fixed(value);
  return text.startsWith("−") ? text : `+${text}`;
}

/** Black or white, whichever has the higher contrast on a colour (WCAG 2). */
function inkOn(hex) {
  const parts = [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16) / 255);
  const [r, g, b] = parts.map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return 1.05 / (light + 0.05) > (light + 0.05) / 0.05 ? "#ffffff" : "#000000";
}

/** A card of a product: picture, title, category and a fact. */
function card(product, fact, { hit = false, act, far = "" } = {}) {
  const picture = product.picture
    ? make("img", { src: product.picture, alt: "" })
    : make("span", { class: "nopicture" }, product.title);
  const lines = [product.title, (hit ? "✓ " : "") + product.category, fact];
  const inside = lines.map((line) => make("span", { class: "line" }, line));
  const mark = far ? make("span", { class: "far" }, far) : null;
  const look = { class: hit ? "card hit" : "card", title: product.title };
  if (!act) return make("div", look, picture, ...inside, mark);
  return make("button", { ...look, type: "button", on: { click: act } }, picture, ...inside, mark);
}

// ---------------------------------------------------------------- scores

/**
 * S, softmax(S), S' and the nearest products for a choice of one content per modality.
 *
 * Every encoder reads its own modality only, so that the cosines between all contents of a product
 * (`cosine`) give S of every combination. `near` has the cosine of every content to every product.
 */
function outputsOf(product, chosen) {
  const there = chosen.map((at) => at !== null);
  const rows = chosen.map((at, i) =>
    chosen.map((to, j) => (there[i] && there[j] ? (i === j ? 1 : product.cosine[at * product.n + to]) : 0)),
  );
  const share = rows.map((row, i) => {
    const power = row.map((value, j) => (there[i] && there[j] ? Math.exp(value) : 0));
    return power.map((value) => value / (sum(power) || 1));
  });
  const weighted = rows.map((row, i) => row.map((value, j) => value * share[i][j]));
  const length = Math.sqrt(sum(rows.flat())); // of the sum of the unit features
  const near = Array.from({ length: product.others }, (_, k) =>
    sum(chosen.map((at) => (at === null ? 0 : product.near[at * product.others + k]))) / length,
  );
  const best = near.map((_, k) => k).filter((k) => k !== product.row);
  best.sort((a, b) => near[b] - near[a]);
  return { there, scores: rows, softmax: share, weighted, near, best: best.slice(0, 5) };
}

function scorePanel(root, data, words) {
  const names = data.modalities;
  const number = names.map((_, m) => m);
  for (const product of data.products) {
    product.cosine = shares(product.cosine);
    product.near = shares(product.near);
    product.n = Math.sqrt(product.cosine.length);
    product.others = data.gallery.length;
  }
  let product = data.products[0];
  let kinds = number.map(() => 0); // of the change of each modality; 0: unchanged
  let steps = number.map(() => 0); // of its slider

  const content = (m) => {
    const own = product.contents[m];
    if (!own.length) return null;
    const kind = own[kinds[m]];
    return kind.steps[Math.min(steps[m], kind.steps.length - 1)];
  };
  const outputs = () => outputsOf(product, number.map((m) => content(m)?.at ?? null));
  const unchanged = () => outputsOf(product, product.contents.map((own) => own[0]?.steps[0].at ?? null));
  const find = (m, kind) => product.contents[m].findIndex((each) => each.key === kind);

  // Products
  const picked = (place) => {
    product = data.products[place];
    reset();
  };
  const group = `product-${Math.random()}`;
  const choices = data.products.map((each, place) => {
    const radio = make("input", { type: "radio", name: group, checked: place === 0, on: { change: () => picked(place) } });
    const shown = each.picture ? make("img", { src: each.picture, alt: "" }) : null;
    return make("label", { class: "choice", title: each.title }, radio, shown, make("span", { class: "line" }, each.title));
  });

  // Stories: one change by one click
  const tell = (m, key) => {
    const place = find(m, key);
    if (place < 0) return;
    kinds = number.map(() => 0);
    kinds[m] = place;
    steps = number.map(() => 0);
    steps[m] = product.contents[m][place].steps.length - 1;
    refresh();
  };
  const stories = data.stories.map(([text, m, key]) =>
    make("button", { type: "button", "data-story": `${names[m].key}-${key}`, on: { click: () => tell(m, key) } }, text),
  );
  const reset = () => {
    kinds = number.map(() => 0);
    steps = number.map(() => 0);
    refresh();
  };

  // A column per modality
  const columns = names.map((name, m) => {
    const tile = make("div", { class: "tile" });
    const kind = make("select", {
      "aria-label": `${name.text}: ${words.change}`,
      on: {
        change: () => {
          kinds[m] = Number(kind.value);
          steps[m] = product.contents[m][kinds[m]].steps.length - 1;
          refresh();
        },
      },
    });
    const slider = make("input", {
      type: "range", min: 0, "aria-label": `${name.text}: ${words.strength}`,
      on: {
        input: () => {
          steps[m] = Number(slider.value);
          refresh();
        },
      },
    });
    const strength = make("span", { class: "note" });
    const head = make("h4", {}, make("i", { style: `background:${name.colour}` }), name.text);
    const all = make("div", { class: "column", "data-modality": name.key }, head, tile, kind, slider, strength);
    return { all, tile, kind, slider, strength };
  });

  // Matrices
  const grids = Object.entries(data.matrices).map(([key, { title, shades, low, high }]) => {
    const cells = number.map(() => number.map(() => make("td")));
    const header = (name, scope) =>
      make("th", { scope }, make("i", { style: `background:${name.colour}` }), name.text);
    const table = make(
      "table", { class: "heat", "data-matrix": key },
      make("caption", {}, title),
      make("thead", {}, make("tr", {}, make("td"), ...names.map((name) => header(name, "col")))),
      make("tbody", {}, ...names.map((name, i) => make("tr", {}, header(name, "row"), ...cells[i]))),
    );
    return { key, table, cells, shades, low, high };
  });
  const draw = ({ key, cells, shades, low, high }, now, before) => {
    const count = shades.length / 6;
    number.forEach((i) => number.forEach((j) => {
      const cell = cells[i][j];
      const value = now[key][i][j];
      const known = now.there[i] && now.there[j];
      const place = Math.min(Math.max((value - low) / (high - low), 0), 1);
      const at = 6 * Math.round(place * (count - 1));
      const colour = `#${shades.slice(at, at + 6)}`;
      const change = before.there[i] && before.there[j] && known ? value - before[key][i][j] : 0;
      cell.className = known ? (key === "weighted" && i <= j ? (i === j ? "own" : "pair") : "") : "absent";
      cell.style.cssText = known ? `background:${colour};color:${inkOn(colour)}` : "";
      cell.dataset.value = known ? value.toFixed(6) : "";
      cell.textContent = known ? fixed(value) : "";
      if (key === "weighted" && i === j) cell.style.setProperty("--frame", names[i].colour);
      cell.dataset.change = Math.abs(change) < 0.005 ? "" : change > 0 ? "▲" : "▼";
      cell.title = known ? `${names[i].text}–${names[j].text}: ${fixed(value, 3)} (${signed(change)})` : "";
    }));
  };

  // Weights as bars
  const pairs = number.flatMap((i) => number.filter((j) => j > i).map((j) => [i, j]));
  const bars = (places) => {
    const rows = places.map(([i, j]) => {
      const both = [...new Set([i, j])];
      const name = make("span", {}, ...both.map((m) => make("i", { style: `background:${names[m].colour}` })));
      name.append(both.map((m) => names[m].text).join("–"));
      const bar = make("b", { style: `background:linear-gradient(${names[i].colour} 50%, ${names[j].colour} 50%)` });
      const mark = make("u");
      return { i, j, name, bar, mark, track: make("span", { class: "track" }, bar, mark), value: make("span", { class: "value" }) };
    });
    const all = make("div", { class: "bars" }, ...rows.flatMap(({ name, track, value }) => [name, track, value]));
    return { rows, all };
  };
  const sides = [bars(pairs), bars(number.map((m) => [m, m]))];
  const drawBars = ({ rows }, now, before) => {
    for (const { i, j, bar, mark, value } of rows) {
      const [has, had] = [now, before].map(({ there }) => there[i] && there[j]);
      const [new_, old] = [now, before].map(({ weighted }) => weighted[i][j]);
      const wide = (x) => 100 * Math.min(Math.max((x + 0.12) / 0.72, 0), 1);
      const [from, to] = [wide(0), wide(new_)].sort((a, b) => a - b);
      bar.style.left = `${from}%`;
      bar.style.width = `${has ? to - from : 0}%`;
      mark.style.left = `${wide(old)}%`;
      mark.hidden = !had;
      value.textContent = has ? `${fixed(new_)} (${signed(new_ - old)})` : "–";
      value.dataset.value = has ? new_.toFixed(6) : "";
    }
  };

  const title = make("p", { class: "title" });
  const total = make("p", { class: "total", role: "status" });
  const near = make("div", { class: "near" });
  const cards = (shown, ranks) => shown.best.map((k, place) => {
    const other = data.gallery[k];
    const was = ranks ? ranks.indexOf(k) : place;
    const moved = was === place ? "" : was < 0 ? ` ${words.new_}` : ` (${was + 1} → ${place + 1})`;
    return card(other, fixed(shown.near[k]) + moved, { hit: other.category === product.category });
  });

  const refresh = () => {
    const [now, before] = [outputs(), unchanged()];
    title.textContent = `${product.title} · ${product.category} · ${product.id}`;
    columns.forEach((column, m) => {
      const own = product.contents[m];
      const shown = content(m);
      column.kind.replaceChildren(...own.map((kind, k) => make("option", { value: k, selected: k === kinds[m] }, kind.text)));
      column.kind.disabled = !own.length;
      const length = own.length ? own[kinds[m]].steps.length : 1;
      column.slider.hidden = column.strength.hidden = length < 2;
      column.slider.max = length - 1;
      column.slider.value = Math.min(steps[m], length - 1);
      column.strength.textContent = shown?.text ?? "";
      column.slider.setAttribute("aria-valuetext", shown?.text ?? "");
      column.tile.className = shown?.at === undefined || shown?.at === null ? "tile hatched" : "tile";
      if (!shown) column.tile.textContent = names[m].absent;
      else if (shown.html !== undefined) column.tile.innerHTML = shown.html;
      else column.tile.replaceChildren(...(shown.picture ? [make("img", { class: shown.look, src: shown.picture, alt: names[m].text })] : []), shown.note ?? "");
    });
    data.stories.forEach(([, m, key], k) => {
      stories[k].disabled = find(m, key) < 0;
      stories[k].setAttribute("aria-pressed", String(kinds[m] > 0 && product.contents[m][kinds[m]]?.key === key));
    });
    if (!now.there.some(Boolean)) {
      total.textContent = words.nothing;
      return;
    }
    grids.forEach((grid) => draw(grid, now, before));
    sides.forEach((side) => drawBars(side, now, before));
    const totals = [now, before].map(({ weighted }) => [sum(pairs.map(([i, j]) => weighted[i][j])), sum(number.map((m) => weighted[m][m]))]);
    total.textContent = fill(words.total, {
      pairs: fixed(totals[0][0]), pairs_change: signed(totals[0][0] - totals[1][0]),
      own: fixed(totals[0][1]), own_change: signed(totals[0][1] - totals[1][1]),
    });
    total.dataset.pairs = totals[0][0].toFixed(6);
    total.dataset.own = totals[0][1].toFixed(6);
    near.replaceChildren(
      make("div", {}, make("h4", {}, words.near_before), make("div", { class: "cards" }, ...cards(before))),
      make("div", {}, make("h4", {}, words.near_now), make("div", { class: "cards" }, ...cards(now, before.best))),
    );
  };

  root.append(
    make("div", { class: "choices", role: "radiogroup", "aria-label": words.product }, ...choices),
    title,
    make("div", { class: "stories" }, ...stories, make("button", { type: "button", on: { click: reset } }, words.reset)),
    make("div", { class: "columns" }, ...columns.map(({ all }) => all)),
    total,
    make("div", { class: "grids" }, ...grids.map(({ table }) => table)),
    make("p", { class: "note" }, words.roles),
    make("div", { class: "sides" },
      make("div", {}, make("h4", {}, words.pairs), sides[0].all),
      make("div", {}, make("h4", {}, words.own), sides[1].all)),
    make("p", { class: "note" }, words.mark),
    near,
    make("p", { class: "note" }, words.near_note),
  );
  refresh();
}

// ---------------------------------------------------------------- map

function mapPanel(root, data, words) {
  const points = data.points;
  const { width, height, side } = data;
  let chosen = data.chosen;
  let hovered = null;
  let group = null;
  let found = null; // places of the products that the search finds

  const lines = make("g");
  const marks = points.map((point) => {
    const half = side / 2;
    const colour = data.groups[point.group].colour;
    const dot = make("circle", { r: side / 4, fill: colour });
    const frame = make("rect", { x: -half, y: -half, width: side, height: side, rx: 3, fill: "#fff", stroke: colour, "stroke-width": 2.5 });
    const where = { transform: `translate(${point.x} ${point.y})`, "data-id": point.id };
    if (!point.picture) return make("g", where, dot);
    const picture = make("image", { href: point.picture, x: -half + 1, y: -half + 1, width: side - 2, height: side - 2 });
    return make("g", where, make("g", { class: "dot" }, dot), make("g", { class: "picture" }, frame, picture));
  });
  const layer = make("g", {}, ...marks);
  const labels = make("g", { class: "labels" }, ...data.labels.flatMap((each) => [
    each.leader ? make("line", { x1: each.at[0], y1: each.at[1], x2: each.x, y2: each.y, class: "leader" }) : null,
    make("text", { x: each.x, y: each.y, "text-anchor": "middle", "dominant-baseline": "central" }, each.text),
  ].filter(Boolean)));
  const ring = make("circle", { class: "ring", r: side * 0.75, visibility: "hidden" });
  const map = make("svg", {
    viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "application", "aria-label": words.label,
  }, layer, labels, ring);

  const inspector = make("div", { class: "inspector" });
  const status = make("p", { class: "note", role: "status" });
  const near = make("div", { class: "near" });

  const at = (event) => {
    const box = map.getBoundingClientRect();
    const scale = Math.min(box.width / width, box.height / height);
    const x = (event.clientX - box.left - (box.width - scale * width) / 2) / scale;
    const y = (event.clientY - box.top - (box.height - scale * height) / 2) / scale;
    const far = points.map((point) => Math.hypot(point.x - x, point.y - y));
    const best = far.indexOf(Math.min(...far));
    return far[best] < 2 * side ? best : null;
  };
  /** The nearest point in a direction (a cone of 45 degrees to both sides). */
  const towards = (from, dx, dy) => {
    let best = null;
    let least = Infinity;
    points.forEach((point, k) => {
      const [x, y] = [point.x - points[from].x, point.y - points[from].y];
      const ahead = x * dx + y * dy;
      const aside = Math.abs(x * dy - y * dx);
      if (k !== from && ahead > 0 && aside <= ahead && ahead + 2 * aside < least) [best, least] = [k, ahead + 2 * aside];
    });
    return best;
  };

  const inspect = () => {
    const place = hovered ?? chosen;
    ring.setAttribute("visibility", place === null ? "hidden" : "visible");
    if (place === null) return inspector.replaceChildren(make("p", { class: "note" }, words.hover));
    const point = points[place];
    ring.setAttribute("transform", `translate(${point.x} ${point.y})`);
    inspector.replaceChildren(
      ...(point.picture ? [make("img", { src: point.picture, alt: "" })] : []),
      make("b", {}, point.title), make("span", {}, point.category),
      make("span", { class: "note" }, point.has), make("span", { class: "note" }, point.id),
    );
  };
  const choose = (place) => {
    chosen = place;
    hovered = null;
    refresh();
  };
  const refresh = () => {
    const nearest = chosen === null ? [] : points[chosen].near;
    const kept = new Set([chosen, ...nearest.map(([k]) => k)]);
    marks.forEach((mark, k) => {
      const faded = (group !== null && points[k].group !== group) || (found !== null && !found.includes(k));
      mark.classList.toggle("faded", faded && !kept.has(k));
    });
    lines.replaceChildren(...nearest.map(([k, , far]) =>
      make("line", { x1: points[chosen].x, y1: points[chosen].y, x2: points[k].x, y2: points[k].y, class: far ? "torn" : "kept" })));
    // Above the other products: the lines, their ends, the chosen product.
    layer.append(...marks.filter((_, k) => !kept.has(k)), lines, ...nearest.map(([k]) => marks[k]));
    if (chosen !== null) layer.append(marks[chosen]);
    inspect();
    const torn = nearest.filter(([, , far]) => far).length;
    status.textContent = chosen === null ? words.ask : fill(words.far_count, { n: torn, k: nearest.length });
    near.replaceChildren(...(chosen === null ? [] : [
      make("h4", {}, fill(words.nearest, { k: nearest.length, product: points[chosen].title })),
      make("div", { class: "cards" }, ...nearest.map(([k, cosine, far]) =>
        card(points[k], fixed(cosine), { hit: points[k].category === points[chosen].category, act: () => choose(k), far: far ? words.far : "" }))),
    ]));
    chips.forEach((chip, k) => chip.setAttribute("aria-pressed", String(k === group)));
  };

  map.addEventListener("pointermove", (event) => {
    const place = at(event);
    if (place !== hovered) {
      hovered = place;
      inspect();
    }
  });
  map.addEventListener("pointerleave", () => {
    hovered = null;
    inspect();
  });
  map.addEventListener("click", (event) => {
    const place = at(event);
    if (place !== null) choose(place);
  });
  map.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const from = hovered ?? chosen ?? 0;
    if (way) {
      hovered = towards(from, ...way) ?? from;
      inspect();
      status.textContent = `${points[hovered].title} · ${points[hovered].category}`;
    } else if (event.key === "Enter" || event.key === " ") choose(from);
    else if (event.key === "Escape") choose(null);
    else return;
    event.preventDefault();
  });

  const chips = data.groups.map(({ name, colour, count }, k) =>
    make("button", { type: "button", on: { click: () => { group = group === k ? null : k; refresh(); } } },
      make("i", { style: `background:${colour}` }), `${name} ${count}`));
  const search = make("input", {
    type: "search", placeholder: words.search_hint, "aria-label": words.search,
    on: {
      input: () => {
        const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
        const fits = (point) => wanted.every((word) => `${point.id} ${point.title} ${point.category}`.toLowerCase().includes(word));
        found = wanted.length ? points.flatMap((point, k) => (fits(point) ? [k] : [])) : null;
        refresh();
        if (found) status.textContent = fill(words.found, { n: found.length });
      },
      keydown: (event) => {
        if (event.key === "Enter" && found?.length) choose(found[0]);
      },
    },
  });
  const pictures = make("input", { type: "checkbox", checked: data.pictures, on: { change: () => map.classList.toggle("plain", !pictures.checked) } });
  map.classList.toggle("plain", !data.pictures);

  root.append(
    make("div", { class: "stories" }, search, make("label", {}, pictures, words.pictures)),
    make("p", { class: "note" }, words.how),
    make("div", { class: "map" }, map, inspector),
    status,
    near,
    make("div", { class: "chips", role: "group", "aria-label": words.groups }, ...chips),
    make("p", { class: "note" }, words.caution),
  );
  refresh();
}
