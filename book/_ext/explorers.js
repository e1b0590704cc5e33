// Explorers need a model and a place to stand, and no manager: see chapter 12d. They stand as soon as the page is read.
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const said = script => JSON.parse(script.textContent);
const states = said(document.getElementById("explorers")), models = {}, addresses = {}, dressed = new Set();
function modelFor(id) {
  const { state, buffers = [] } = states[id];
  for (const { path, data } of buffers) path.slice(0, -1).reduce((part, key) => part[key], state)[path.at(-1)] = bytes(data);
  return modelOf(state);
}
async function stand(view) {
  const id = said(view).model_id, state = states[id]?.state;
  if (!state) return;                                       // the widget manager's
  const el = document.createElement("div");
  view.before(el);
  if (!dressed.has(state._css)) document.head.append(Object.assign(document.createElement("style"), { textContent: state._css }));
  dressed.add(state._css);
  const address = addresses[state._esm] ??= URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" }));
  const { default: { render } } = await import(address);
  await render({ model: models[id] ??= modelFor(id), el });
}
document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]').forEach(stand);
