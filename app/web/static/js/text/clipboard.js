// Copying, also on pages without https, where browsers hide the clipboard from scripts.

export async function copy(/** @type {string} */ text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "off-screen";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
