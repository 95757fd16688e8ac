// The two things on a page that answer: fields of predictions, and guesses that are kept for the next visit. All else works without script.
(() => {
  const plain = text => text.normalize("NFKC").toLowerCase().replace(/[\s_]+/g, "").replace(/[×✕]/g, "x").replace(/−/g, "-");
  const number = text => (text.trim() === "" ? NaN : Number(text.trim().replace(/,(?=\d{3}\b)/g, "").replace(/%$/, "")));

  function right(given, wanted) {
    return wanted.split("|").some(answer => {
      if (plain(given) === plain(answer)) return true;
      const a = number(given), b = number(answer);
      return Number.isFinite(a) && Number.isFinite(b) && Math.abs(a - b) <= 0.02 * Math.abs(b);
    });
  }

  document.addEventListener("change", event => {
    const field = event.target, wanted = field.dataset && field.dataset.answer;
    if (wanted === undefined) return;
    const box = field.closest(".predict"), verdict = box.querySelector("output");
    const ok = right(field.value, wanted);
    verdict.textContent = field.value.trim() === "" ? "" : ok ? "✓ right" : "✗ not yet";
    verdict.className = ok ? "right" : "wrong";
    const reveal = box.querySelector("details.reveal");
    if (ok && reveal) reveal.open = true;
  });

  const storage = (() => { try { localStorage.getItem("book"); return localStorage; } catch { return null; } })();
  document.querySelectorAll("textarea[data-keep]").forEach((area, index) => {
    const key = "guess:" + location.pathname.split("/").slice(-2).join("/") + ":" + index;
    if (!storage) return;
    area.value = storage.getItem(key) || "";
    area.addEventListener("input", () => storage.setItem(key, area.value));
  });
})();
