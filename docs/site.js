// Material names neither its search nor a copy button's `nav`, and a keyboard can't scroll its wide tables: mend all,
// also on what comes later.
const mend = () => {
  document.querySelectorAll(".md-code__nav").forEach((nav, place) => nav.setAttribute("aria-label", `Code ${place + 1}`));
  document.querySelectorAll(".md-search[role=dialog]").forEach((search) => search.setAttribute("aria-label", "Search"));
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((table) => (table.tabIndex = 0));
};
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
mend();
