// The page as a function of what is known: h() describes an element, render() makes the document so and changes
// nothing else: focus, scrolling and what is folded out stay. All text becomes text nodes: none is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "rect", "path", "line", "text", "title", "defs", "pattern", "circle"]);

/** An element: attributes (`onclick` and the like are listeners, `style` an object, `key` names it among its
 * siblings, `initial` are attributes that it begins with and that are the reader's to change). */
export function h(tag, attributes, ...children) {
  return { tag, attributes: attributes || {}, children: children.flat(Infinity).filter(isShown) };
}

function isShown(child) {
  return child !== null && child !== undefined && child !== false && child !== "";
}

/** Make the children of `parent` what `children` describe. */
export function render(parent, ...children) {
  patchChildren(parent, children.flat(Infinity).filter(isShown));
}

function patchChildren(parent, wanted) {
  const keyed = new Map();
  for (const node of parent.childNodes) if (node.mrKey !== undefined) keyed.set(node.mrKey, node);
  let place = parent.firstChild;
  for (const child of wanted) {
    const key = child.attributes?.key;
    let node = key === undefined ? place : keyed.get(String(key));
    if (node && (!fits(node, child) || (key === undefined && node.mrKey !== undefined))) node = null;
    if (!node) node = create(child, parent);
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
    update(node, child);
  }
  while (place) {
    const next = place.nextSibling;
    parent.removeChild(place);
    place = next;
  }
}

function fits(node, child) {
  if (typeof child !== "object") return node.nodeType === Node.TEXT_NODE;
  return node.nodeType === Node.ELEMENT_NODE && node.localName === child.tag;
}

function create(child, parent) {
  if (typeof child !== "object") return document.createTextNode(String(child));
  const inSvg = child.tag === "svg" || (parent.namespaceURI === SVG && SVG_TAGS.has(child.tag));
  const node = inSvg ? document.createElementNS(SVG, child.tag) : document.createElement(child.tag);
  if (child.attributes.key !== undefined) node.mrKey = String(child.attributes.key);
  for (const [name, value] of Object.entries(child.attributes.initial || {})) set(node, name, value);
  return node;
}

function update(node, child) {
  if (typeof child !== "object") {
    if (node.data !== String(child)) node.data = String(child);
    return;
  }
  if (node.mrShows === child) return; // the very same description: nothing below it has changed
  node.mrShows = child;
  const before = node.mrAttributes || {};
  for (const name of Object.keys(before)) if (!(name in child.attributes)) set(node, name, undefined, before[name]);
  for (const [name, value] of Object.entries(child.attributes)) {
    if (before[name] !== value) set(node, name, value, before[name]);
  }
  node.mrAttributes = child.attributes;
  patchChildren(node, child.children);
}

function set(node, name, value, before) {
  if (name === "key" || name === "initial") return;
  if (name === "style") {
    for (const property of Object.keys(before || {})) if (!(property in (value || {}))) node.style.removeProperty(property);
    for (const [property, each] of Object.entries(value || {})) node.style.setProperty(property, each);
  } else if (name.startsWith("on")) {
    node[name] = value || null;
  } else if (value === undefined || value === null || value === false) {
    node.removeAttribute(name);
  } else {
    node.setAttribute(name, value === true ? "" : String(value));
  }
}
