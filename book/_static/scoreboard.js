// The scoreboard's filters. Without this script the page shows every claim.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("scoreboard-filter");
  const rows = [...document.querySelectorAll("table.scoreboard tbody tr")].map((element) => {
    const cells = [...element.cells].map((cell) => cell.textContent.trim());
    // The verdict without its mark.
    return { element, paper: cells[1], verdict: cells[cells.length - 1].replace(/^\S\s+/, "") };
  });
  if (!place || rows.length === 0) return;

  function select(name, label) {
    const values = [...new Set(rows.map((row) => row[name]))];
    if (name === "paper") values.sort((a, b) => a.localeCompare(b));
    const field = document.createElement("select");
    field.id = `scoreboard-${name}`;
    field.className = "form-select";
    field.append(new Option("all", ""));
    for (const value of values) {
      const count = rows.filter((row) => row[name] === value).length;
      field.append(new Option(`${value} (${count})`, value));
    }
    const text = document.createElement("label");
    text.htmlFor = field.id;
    text.textContent = label;
    const group = document.createElement("div");
    group.append(text, field);
    place.append(group);
    field.addEventListener("change", show);
    return field;
  }

  const paper = select("paper", "Paper");
  const verdict = select("verdict", "Verdict");
  const all = document.createElement("button");
  all.type = "button";
  all.className = "btn btn-outline-primary";
  all.textContent = "Show all";
  all.addEventListener("click", () => {
    paper.value = verdict.value = "";
    show();
  });
  const count = document.createElement("output");
  count.setAttribute("aria-live", "polite");
  place.append(all, count);
  place.hidden = false;

  function show() {
    let shown = 0;
    for (const row of rows) {
      const hidden =
        (paper.value && row.paper !== paper.value) ||
        (verdict.value && row.verdict !== verdict.value);
      row.element.hidden = Boolean(hidden);
      if (!hidden) shown += 1;
    }
    // A chapter without a row goes, too.
    for (const table of document.querySelectorAll("table.scoreboard")) {
      const section = table.closest("section");
      section.hidden = !section.querySelector("table.scoreboard tbody tr:not([hidden])");
    }
    count.textContent = `${shown} of ${rows.length} rows`;
  }

  // A link to a claim shows it and unfolds its evidence.
  function follow() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const row = target && target.closest("table.scoreboard tbody tr");
    if (!row) return;
    paper.value = verdict.value = "";
    show();
    row.querySelector("details").open = true;
    row.scrollIntoView();
  }

  show();
  follow();
  window.addEventListener("hashchange", follow);
});
