// Material names neither its search nor a copy button's `nav`, a keyboard can't scroll its wide tables, and on a phone a
// long text is squeezed into a high cell: mend all, also on what comes later.
const mend = () => {
  document.querySelectorAll(".md-code__nav").forEach((nav, place) => nav.setAttribute("aria-label", `Code ${place + 1}`));
  document.querySelectorAll(".md-search[role=dialog]").forEach((search) => search.setAttribute("aria-label", "Search"));
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((table) => (table.tabIndex = 0));
  document.querySelectorAll(".md-typeset td").forEach((cell) => cell.classList.toggle("long", cell.textContent.length > 60));
};
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
mend();
