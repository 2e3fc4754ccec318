// What the theme and Sphinx leave out for keyboards and screen readers. tests/book/test_pages.py says if
// they still do.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  // A chapter's table of claims looks like the scoreboard: a card for each on a narrow screen.
  document.querySelectorAll(".cell_output table").forEach((table) => {
    const last = table.querySelector("thead th:last-child");
    if (last && last.textContent.trim() === "verdict") table.classList.add("claims", "chapter");
  });

  // A list's children are items; Sphinx gives the references a role that has gone out of use.
  document.querySelectorAll(".citation-list > .citation").forEach((entry) => {
    entry.setAttribute("role", "listitem");
  });
});

// The theme makes a stop for Tab of each wide table or code, when the window's size changes; what
// is folded has no width then.
document.addEventListener("toggle", () => window.dispatchEvent(new Event("resize")), true);
