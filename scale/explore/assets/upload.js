// A file chooser. The content of the file is sent to Python as {name} with one buffer, or, if it
// exceeds the limit, {name, large: true} without content. The file is not stored.
function render({ model, el }) {
  const field = document.createElement("label");
  field.className = "scale-upload";
  const text = document.createElement("span");
  text.textContent = model.get("text") + " ";
  const input = document.createElement("input");
  input.type = "file";
  input.accept = model.get("accept");
  field.append(text, input);
  el.appendChild(field);
  input.addEventListener("change", async () => {
    const file = input.files[0];
    if (!file) return;
    if (file.size > model.get("limit")) model.send({ name: file.name, large: true });
    else model.send({ name: file.name }, undefined, [await file.arrayBuffer()]);
    // The same file can be chosen again.
    input.value = "";
  });
}
export default { render };
