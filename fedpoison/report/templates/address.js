"use strict";
// The choices of the reader in the address of the page, as #section?name=value, so that a link repeats them.

let choices = new URLSearchParams();
const listeners = [];

const section = () => location.hash.slice(1).split("?")[0];

function readAddress() {
  choices = new URLSearchParams(location.hash.split("?").slice(1).join("?"));
}

/** Remember choices in the address. A value that is null or empty is removed, and a list is repeated. */
function remember(changes) {
  for (const [name, value] of Object.entries(changes)) {
    choices.delete(name);
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "") choices.append(name, each);
    }
  }
  writeAddress();
}

function writeAddress() {
  const query = choices.toString();
  const place = section();
  history.replaceState(null, "", query ? `#${place}?${query}` : place ? `#${place}` : location.href.split("#")[0]);
}

/** Call a function with the choices when the reader opens another address of this page. */
const onAddress = (listener) => listeners.push(listener);

addEventListener("hashchange", () => {
  if (!location.hash.includes("?")) return writeAddress(); // a link to a section keeps the choices
  readAddress();
  for (const listener of listeners) listener();
  showSection();
});

/** Scroll to the section of the address: the browser does not know it because of the choices behind it. */
function showSection() {
  if (location.hash.includes("?") && section()) byId(section())?.scrollIntoView();
}

readAddress();
