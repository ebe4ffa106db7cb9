// Tells Python the colour of the page, now and whenever JupyterLab's theme changes: what WebGL draws
// on cannot take it from the style sheet. Shows nothing.
function render({ model, el }) {
  el.style.display = "none";
  const probe = document.createElement("div");
  probe.style.backgroundColor = "var(--jp-layout-color1, #ffffff)";
  el.appendChild(probe);
  const tell = () => {
    const found = getComputedStyle(probe).backgroundColor.match(/\d+/g);
    if (!found) return;
    const hex = found.slice(0, 3).map((part) => Number(part).toString(16).padStart(2, "0"));
    model.set("page", "#" + hex.join(""));
    model.save_changes();
  };
  // The theme's style sheet may arrive after its name.
  const later = () => [0, 300, 1000].forEach((wait) => setTimeout(tell, wait));
  const watch = new MutationObserver(later);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name"] });
  later();
  return () => watch.disconnect();
}
export default { render };
