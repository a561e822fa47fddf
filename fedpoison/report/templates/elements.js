"use strict";
// Elements of the page.

const byId = (id) => document.getElementById(id);

/** An element with attributes and children; texts become text, never markup. */
function element(tag, attributes = {}, ...children) {
  return fitted(document.createElement(tag), attributes, children);
}

/** An element of a drawing. */
function drawn(tag, attributes = {}, ...children) {
  return fitted(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fitted(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  return put(made, ...children);
}

/** Replace the children of an element; null children are left out. */
function put(holder, ...children) {
  holder.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
  return holder;
}

/** A choice: a label with options, each a value and its text. */
function choice(name, options, value, onchange) {
  const select = element("select", { onchange: () => onchange(select.value) },
    ...options.map(([key, text]) => element("option", { value: key }, text)));
  select.value = value;
  return element("label", {}, `${name} `, select);
}
