// The browser's side of a panel: a sign that it computes, and downloads.
// The sign appears at a choice, before Python has received it, and stays until Python has answered.
const CONTROLS = "input, select, textarea, button, [data-key], .noUi-target";
const PAUSE = 50;

function initialize({ model }) {
  model.on("msg:custom", ({ name, type }, buffers) => {
    if (!name) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(buffers, { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
}

function render({ model, el }) {
  const sign = document.createElement("div");
  sign.className = "scale-busy";
  sign.setAttribute("aria-hidden", "true");
  sign.textContent = model.get("words");
  el.append(sign);
  let [asked, answered, timer] = [0, 0, 0];
  const panel = () => el.closest(".scale-panel");

  function show() {
    const busy = timer !== 0 || answered < asked || model.get("busy");
    panel()?.classList.toggle("scale-is-busy", busy);
    panel()?.setAttribute("aria-busy", busy);
  }

  function ask(event) {
    const target = event.target instanceof Element ? event.target.closest(CONTROLS) : null;
    if (!target || !panel()?.contains(target) || timer !== 0) return;
    // After the message of the control itself.
    timer = setTimeout(() => {
      timer = 0;
      asked += 1;
      model.send({ asked });
      show();
    }, PAUSE);
    show();
  }

  // Sliders and players of ipywidgets have no names for screen readers.
  function nameControls() {
    for (const handle of panel().querySelectorAll(".noUi-handle:not([aria-label])")) {
      const label = handle.closest(".widget-inline-hbox")?.querySelector(".widget-label");
      handle.setAttribute("aria-label", label?.title || label?.textContent || "slider");
    }
    for (const icon of panel().querySelectorAll("button:not([aria-label]) > i")) {
      if (icon.parentNode.textContent.trim()) continue;
      const name = icon.parentNode.title || /fa-(\w+)/.exec(icon.className)?.[1];
      icon.parentNode.setAttribute("aria-label", name ?? "button");
    }
  }
  const watch = new MutationObserver(nameControls);
  const attached = setInterval(() => {
    if (!panel()) return;
    clearInterval(attached);
    nameControls();
    watch.observe(panel(), { childList: true, subtree: true });
  }, 200);
  const ends = new AbortController();
  const options = { capture: true, passive: true, signal: ends.signal };
  for (const kind of ["input", "change", "click", "pointerdown", "keydown"]) {
    window.addEventListener(kind, ask, options);
  }
  model.on("change:busy", show);
  model.on("msg:custom", (message) => {
    if (!Number.isInteger(message.asked)) return;
    answered = Math.max(answered, message.asked);
    show();
  });
  return () => {
    clearInterval(attached);
    watch.disconnect();
    ends.abort();
  };
}
export default { initialize, render };
