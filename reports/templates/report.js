"use strict";
(() => {
  const ORDERS = { none: "ascending", ascending: "descending", descending: "none" };
  const tables = [...document.querySelectorAll("section.table table")];
  const rows = tables.flatMap((table) => [...table.tBodies].flatMap((body) => [...body.rows]));
  rows.forEach((row, i) => { row.dataset.order = i; });
  const search = document.getElementById("search");
  const said = document.getElementById("said");
  const given = new URLSearchParams(location.hash.slice(1));
  const state = new URLSearchParams(["q", "sort"].filter((key) => given.has(key)).map((key) => [key, given.get(key)]));

  // numbers first, in either direction; then text; a row without anything to compare last
  const compare = (a, b, column, sign) => {
    const [x, y] = [a.cells[column], b.cells[column]];
    const [numberX, numberY] = ["sort" in x.dataset, "sort" in y.dataset];
    if (numberX !== numberY) return numberX ? -1 : 1;
    if (numberX) return sign * (Number(x.dataset.sort) - Number(y.dataset.sort));
    return sign * x.textContent.localeCompare(y.textContent, "en", { numeric: true });
  };

  const sortBy = (table, column, order) => {
    const sign = order === "descending" ? -1 : 1;
    for (const button of table.querySelectorAll("thead button")) {
      button.parentElement.setAttribute("aria-sort", Number(button.dataset.column) === column ? order : "none");
    }
    for (const body of table.tBodies) {
      const sorted = [...body.rows].sort((a, b) =>
        (order === "none" ? 0 : compare(a, b, column, sign)) || a.dataset.order - b.dataset.order);
      body.append(...sorted);
    }
  };

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    said.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  };

  const remember = (name, value) => {
    if (value) state.set(name, value); else state.delete(name);
    history.replaceState(null, "", String(state) ? `#${state}` : location.pathname + location.search);
  };

  for (const table of tables) {
    const name = table.closest("section").id;
    table.tHead.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const order = ORDERS[button.parentElement.getAttribute("aria-sort")];
      sortBy(table, Number(button.dataset.column), order);
      remember("sort", order === "none" ? "" : `${name}.${button.dataset.column}.${order}`);
    });
  }
  search.addEventListener("input", () => { filter(); remember("q", search.value); });

  document.getElementById("tools").hidden = false;
  search.value = state.get("q") ?? "";
  filter();
  const [name, column, order] = (state.get("sort") ?? "").split(".");
  const wanted = tables.find((table) => table.closest("section").id === name);
  if (wanted && order in ORDERS && wanted.querySelector(`thead button[data-column="${Number(column)}"]`)) {
    sortBy(wanted, Number(column), order);
  }
})();
