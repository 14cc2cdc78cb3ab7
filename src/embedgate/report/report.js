(() => {
  "use strict";
  const form = document.getElementById("filter");
  const rows = [...document.querySelectorAll("[data-of]")].map((part) => ({
    part,
    verdict: part.dataset.verdict,
    kind: part.dataset.kind || "",
    of: part.dataset.of.split(" "),
    text: null,
  }));
  // What a fold or a heading holds, so that it tells how much of it is left, and goes where nothing is.
  const groups = [...document.querySelectorAll("[data-group]")].map((part) => ({
    part,
    rows: rows.filter((row) => part.contains(row.part)),
    count: part.querySelector("[data-count]"),
  }));

  const filter = () => {
    const { words, verdict, kind, combination } = form.elements;
    const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const any = asked.length || verdict.value || kind.value || combination.value;
    for (const row of rows) {
      if (asked.length && row.text === null) row.text = row.part.textContent.toLowerCase();
      row.shown =
        (!verdict.value || row.verdict === verdict.value) &&
        (!kind.value || row.kind === kind.value) &&
        (!combination.value || row.of.includes(combination.value)) &&
        asked.every((word) => row.text.includes(word));
      row.part.hidden = !row.shown;
    }
    for (const group of groups) {
      const left = group.rows.filter((row) => row.shown).length;
      if (group.count) group.count.textContent = any ? `${left} of ${group.rows.length}` : group.rows.length;
      if (group.part.dataset.group === "kind") group.part.hidden = !left;
    }
    const left = rows.filter((row) => row.shown).length;
    form.elements.told.value = any ? `${left} of ${rows.length} shown` : "";
  };

  const value = (row, column) => row.cells[column].textContent.trim();
  // What begins with a number as a whole is one: dates and commits do not.
  const begins = /^([-−+]?[\d,]*\.?\d+(?:e[-+]\d+)?)(?:(%|x)|\s?([kMG]?B))?(?=$|[\s(/])/;
  const scale = { "%": 0.01, B: 1, kB: 1e3, MB: 1e6, GB: 1e9 };
  const number = (text) => {
    const [, digits, sign, unit] = begins.exec(text) ?? [];
    return digits ? digits.replace(/,/g, "").replace("−", "-") * (scale[sign ?? unit] ?? 1) : NaN;
  };
  const compare = (one, other) => {
    const [a, b] = [number(one), number(other)];
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b) || one.localeCompare(other);
    return a - b;
  };
  const sort = (heading) => {
    const table = heading.closest("table");
    const column = heading.cellIndex;
    const up = heading.getAttribute("aria-sort") !== "ascending";
    for (const each of table.querySelectorAll("th[aria-sort]")) each.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const keyed = [...table.tBodies[0].rows].map((row) => [value(row, column), row]);
    keyed.sort((a, b) => (a[0] === "") - (b[0] === "") || (up ? compare(a[0], b[0]) : compare(b[0], a[0])));
    table.tBodies[0].append(...keyed.map(([, row]) => row));
  };
  for (const heading of document.querySelectorAll("table.sorts th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sort(heading));
  }

  const unfold = (hash) => {
    const named = hash && document.getElementById(decodeURIComponent(hash.slice(1)));
    for (let part = named; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    return named;
  };
  addEventListener("hashchange", () => unfold(location.hash));
  // In a notebook's frame, whose address is about:srcdoc, such a link would open the notebook in it.
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (!link || location.protocol !== "about:") return;
    event.preventDefault();
    unfold(link.getAttribute("href"))?.scrollIntoView();
  });
  addEventListener("beforeprint", () => document.querySelectorAll(".finding").forEach((fold) => (fold.open = true)));
  unfold(location.hash);
  if (form) {
    form.hidden = false;
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(filter));
    filter(); // a browser that goes back keeps what was typed
  }
})();
