"use strict";
// A table that the reader sorts by a click on a heading, and filters by a choice or a text.

const COMPARE = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

class Sortable {
  constructor(table) {
    this.table = table;
    this.name = table.dataset.table;
    this.body = table.tBodies[0];
    this.heads = [...table.tHead.rows[0].cells];
    this.original = [...this.body.rows];
    this.filters = new Map();
    this.text = "";
    this.shown = () => true;
    for (const head of this.heads) {
      const button = element("button", { type: "button", class: "sort", onclick: () => this.turn(head) }, ...head.childNodes);
      head.replaceChildren(button);
    }
    this.read();
  }

  /** Take order and filters from the address. */
  read() {
    const order = choices.get(`${this.name}-sort`) ?? "";
    this.key = order.replace(/^-/, "");
    this.falling = order.startsWith("-");
    this.text = choices.get(`${this.name}-find`) ?? "";
    this.filters = new Map(this.filtered().map(([key]) => [key, choices.get(`${this.name}-${key}`) ?? ""]));
    this.fillFilters();
    this.update();
  }

  /** Sort by a column; by the same column again: in the other direction. */
  turn(head) {
    const first = head.dataset.kind === "number" && head.dataset.first === "highest";
    this.falling = this.key === head.dataset.key ? !this.falling : first;
    this.key = head.dataset.key;
    remember({ [`${this.name}-sort`]: `${this.falling ? "-" : ""}${this.key}` });
    this.update();
  }

  /** The columns with a choice, each with its key, title and texts. */
  filtered() {
    return this.heads.flatMap((head, place) => {
      if (head.dataset.filtered === undefined) return [];
      const texts = [...new Set(this.original.map((row) => textOf(row.cells[place])))].sort(COMPARE.compare);
      return texts.length > 1 ? [[head.dataset.key, head.textContent, texts, place]] : [];
    });
  }

  fillFilters() {
    const holder = document.querySelector(`[data-filters="${this.name}"]`);
    if (!holder || this.original.length < 2) return;
    const keep = (key, value) => {
      remember({ [`${this.name}-${key}`]: value });
      this.update();
    };
    const find = element("input", {
      type: "search", size: 14, value: this.text, oninput: () => keep("find", this.text = find.value.trim()),
    });
    put(holder,
      ...this.filtered().map(([key, title, texts]) =>
        choice(title, [["", "all"], ...texts.map((text) => [text, text])], this.filters.get(key), (value) => {
          this.filters.set(key, value);
          keep(key, value);
        })),
      element("label", {}, "Find ", find));
  }

  /** Show the rows that the choices leave, in the chosen order. */
  update() {
    const place = this.heads.findIndex((head) => head.dataset.key === this.key);
    const number = place >= 0 && this.heads[place].dataset.kind === "number";
    const rows = [...this.original];
    if (place >= 0) rows.sort((one, other) => this.compare(one.cells[place], other.cells[place], number));
    this.body.append(...rows);
    const places = this.filtered();
    const wanted = this.text.toLowerCase();
    for (const row of rows) {
      const chosen = places.every(([key, , , at]) => !this.filters.get(key) || textOf(row.cells[at]) === this.filters.get(key));
      row.hidden = !(chosen && this.shown(row) && (!wanted || row.textContent.toLowerCase().includes(wanted)));
    }
    for (const [at, head] of this.heads.entries()) {
      head.setAttribute("aria-sort", at !== place ? "none" : this.falling ? "descending" : "ascending");
    }
    const count = document.querySelector(`[data-count="${this.name}"]`);
    const visible = rows.filter((row) => !row.hidden).length;
    if (count) count.textContent = visible < rows.length ? `${visible} of ${rows.length} rows` : "";
    count?.classList.toggle("unseen", visible === rows.length);
  }

  /** Order of two cells. A missing number is last in both directions. */
  compare(one, other, number) {
    const sign = this.falling ? -1 : 1;
    if (!number) return sign * COMPARE.compare(textOf(one), textOf(other));
    const [left, right] = [one, other].map((cell) => (cell.dataset.value ? Number(cell.dataset.value) : null));
    if (left === null || right === null) return (left === null) - (right === null);
    return sign * (left - right);
  }
}

const textOf = (cell) => cell.dataset.text ?? cell.textContent.trim();

const sortables = new Map();

/** Make the tables of the page sort and filter. */
function sortTables() {
  for (const table of document.querySelectorAll("table[data-table]")) sortables.set(table.dataset.table, new Sortable(table));
  onAddress(() => sortables.forEach((sortable) => sortable.read()));
}
