// Reports the background colour of the page to Python, now and after a change of JupyterLab's theme:
// WebGL and matplotlib cannot read it from the style sheet. Has no visible content.
function render({ model, el }) {
  el.style.display = "none";
  const probe = document.createElement("div");
  probe.style.backgroundColor = "var(--jp-layout-color1, #ffffff)";
  el.appendChild(probe);
  const report = () => {
    const found = getComputedStyle(probe).backgroundColor.match(/\d+/g);
    if (!found) return;
    const hex = found.slice(0, 3).map((part) => Number(part).toString(16).padStart(2, "0"));
    model.set("page", "#" + hex.join(""));
    model.save_changes();
  };
  // The style sheet of a theme may load after its name is set.
  const later = () => [0, 300, 1000].forEach((wait) => setTimeout(report, wait));
  const watch = new MutationObserver(later);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name"] });
  later();
  return () => watch.disconnect();
}
export default { render };
