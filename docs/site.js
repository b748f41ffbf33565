// Material names no copy button's `nav`, and a keyboard can't scroll its wide tables: mend both, also on what comes later.
const mend = () => {
  document.querySelectorAll(".md-code__nav").forEach((nav, place) => nav.setAttribute("aria-label", `Code ${place + 1}`));
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((table) => (table.tabIndex = 0));
};
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
mend();
