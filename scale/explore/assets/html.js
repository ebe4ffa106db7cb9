// HTML from Python; elements with data-key can be picked by click, drag and keyboard.
// A [data-group] is one Tab stop; arrow keys move between the elements in it (up and down by
// data-columns). A pick is sent to Python as {key, drag}.

// Turns `old` into `next` and changes only the differences: pictures do not flash, sounds play on,
// the focus stays.
function patch(old, next) {
  for (const { name } of [...old.attributes]) {
    // The user opens and closes details.
    if (name === "open" && old.nodeName === "DETAILS") continue;
    if (!next.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const had = [...old.childNodes];
  const has = [...next.childNodes];
  has.forEach((node, n) => {
    const there = had[n];
    if (!there) old.append(node);
    else if (there.nodeName !== node.nodeName) there.replaceWith(node);
    else if (node.nodeType === Node.ELEMENT_NODE) patch(there, node);
    else if (there.data !== node.data) there.data = node.data;
  });
  had.slice(has.length).forEach((node) => node.remove());
}

// Highlights the elements of a panel with the same data-link, and shows those of data-detail: the
// link, or its part before "-".
function link(scope, key) {
  scope.dataset.linked = key;
  for (const node of scope.querySelectorAll("[data-link]")) {
    node.classList.toggle("linked", node.dataset.link === key);
  }
  for (const node of scope.querySelectorAll("[data-detail]")) {
    node.hidden = node.dataset.detail !== key && node.dataset.detail !== key.split("-")[0];
  }
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "scale-html";
  el.appendChild(root);
  let dragging = false;
  const keyed = (node) => {
    const found = node instanceof Element ? node.closest("[data-key]") : null;
    return found && root.contains(found) ? found : null;
  };
  const pick = (node, drag) => model.send({ key: node.dataset.key, drag });
  const siblings = (node) => {
    const group = node.closest("[data-group]");
    return group ? [...group.querySelectorAll("[data-key]")] : [node];
  };
  const stop = (node) => siblings(node).forEach((one) => (one.tabIndex = one === node ? 0 : -1));
  const find = (key) => root.querySelector(`[data-key="${CSS.escape(key)}"]`);

  const scope = () => root.closest(".scale-linked") ?? root;
  for (const kind of ["pointerover", "focusin"]) {
    root.addEventListener(kind, (event) => {
      const node = event.target instanceof Element ? event.target.closest("[data-link]") : null;
      if (!node || !root.contains(node)) return;
      // A click keeps the explanation, so that the pointer can move to it over other cells.
      if (kind === "focusin" || scope().dataset.kept === undefined) {
        link(scope(), node.dataset.link);
      }
    });
  }

  function draw() {
    const had = keyed(document.activeElement)?.dataset.key;
    const next = root.cloneNode(false);
    next.innerHTML = model.get("html");
    patch(root, next);
    for (const group of root.querySelectorAll("[data-group]")) {
      const first = group.querySelector("[data-key]");
      if (first) stop(first);
    }
    for (const node of root.querySelectorAll("[data-key]")) {
      if (!node.hasAttribute("role")) node.setAttribute("role", "button");
      if (!node.hasAttribute("tabindex")) node.tabIndex = 0;
    }
    const linked = scope().dataset.linked;
    if (linked !== undefined) link(scope(), linked);
    const again = had === undefined ? null : find(had);
    if (again) {
      stop(again);
      again.focus({ preventScroll: true });
    }
  }

  root.addEventListener("pointerdown", (event) => {
    const node = keyed(event.target);
    if (!node || event.button !== 0) return;
    // Otherwise the browser drags the picture or selects the text.
    if (node.closest("[data-drag]")) event.preventDefault();
    dragging = node.closest("[data-drag]") !== null;
    node.focus({ preventScroll: true });
    stop(node);
    if (node.dataset.link !== undefined) {
      const { dataset } = scope();
      if (dataset.kept === node.dataset.link) delete dataset.kept;
      else dataset.kept = node.dataset.link;
      link(scope(), node.dataset.link);
    }
    pick(node, false);
  });
  root.addEventListener("pointerover", (event) => {
    const node = keyed(event.target);
    if (dragging && node && event.buttons === 1) pick(node, true);
  });
  const end = () => (dragging = false);
  window.addEventListener("pointerup", end);

  root.addEventListener("keydown", (event) => {
    const node = keyed(event.target);
    if (!node) return;
    const all = siblings(node);
    const columns = Number(node.closest("[data-columns]")?.dataset.columns ?? 1);
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (event.key === "Enter" || event.key === " ") pick(node, false);
    else if (step && all.length > 1) {
      const next = all[all.indexOf(node) + step];
      if (next) {
        stop(next);
        next.focus();
      }
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  model.on("change:html", draw);
  draw();
  return () => window.removeEventListener("pointerup", end);
}
export default { render };
