// The head of the page of `scale explore`: run, catalogue, product; language, colours, pictures.
// The address of the browser follows the choices; a link to it opens the same view. When the kernel
// has ended, a sentence and a button replace silence.
const CHECK = 2000;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function button(text, action, attributes = {}) {
  const made = element("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", action);
  return made;
}

function render({ model, el }) {
  const words = model.get("words");
  const config = JSON.parse(document.getElementById("jupyter-config-data")?.textContent ?? "{}");
  const kernel = `${config.baseUrl}api/kernels/${config.kernelId}`;
  document.documentElement.lang = model.get("lang") === "zh" ? "zh-CN" : "en";
  document.body.classList.toggle("scale-present", model.get("present"));

  // A page keeps its choices when it is opened with another language or other colours.
  const reopen = (name, value) => {
    const query = new URLSearchParams(model.get("query"));
    if (value) query.set(name, value);
    else query.delete(name);
    window.location.search = query;
  };
  const either = (name, now, values) =>
    Object.entries(values).map(([value, text]) =>
      button(text, () => reopen(name, value), { "aria-pressed": String(now === value) }),
    );
  const facts = element("div", { class: "facts" });
  const link = button(words.link, async () => {
    await navigator.clipboard?.writeText(window.location.href);
    link.textContent = words.copied;
    setTimeout(() => (link.textContent = words.link), 2000);
  });
  const groups = {
    [words.language]: either("lang", model.get("lang"), { en: "English", zh: "中文" }),
    [words.colours]: either("theme", model.get("theme"), { light: words.light, dark: words.dark }),
    [words.view]: [
      button(words.present, () => reopen("present", model.get("present") ? "0" : "1"), {
        "aria-pressed": String(model.get("present")),
      }),
      link,
    ],
    [words.picture]: ["PNG", "SVG"].map((kind) =>
      button(kind, () => model.send({ picture: kind.toLowerCase() })),
    ),
  };
  const nav = element("div", { class: "tools" });
  for (const [name, buttons] of Object.entries(groups)) {
    nav.append(element("div", { role: "group", "aria-label": name }, ...buttons));
  }
  const gone = element("div", { role: "alert", class: "gone", hidden: "" }, words.gone, " ");
  gone.append(button(words.reload, () => window.location.reload()));
  el.append(element("header", { class: "scale-header" }, facts, nav), gone);

  function show() {
    facts.replaceChildren();
    for (const [name, value] of Object.entries(model.get("facts"))) {
      const shown = element("b", { title: value }, value);
      facts.append(element("div", {}, element("span", {}, name), shown));
    }
    document.title = ["SCALE", ...Object.values(model.get("facts"))].join(" · ");
  }
  function follow() {
    const query = model.get("query");
    if (window.location.search !== `?${query}`) window.history.replaceState(null, "", `?${query}`);
  }
  model.on("change:facts", show);
  model.on("change:query", follow);
  show();
  follow();
  if (!config.kernelId) return undefined;

  const check = setInterval(async () => {
    const lives = await fetch(kernel, { cache: "no-store" }).then((found) => found.ok, () => false);
    if (lives) return;
    clearInterval(check);
    gone.hidden = false;
    document.body.classList.add("scale-gone");
  }, CHECK);
  return () => clearInterval(check);
}
export default { render };
