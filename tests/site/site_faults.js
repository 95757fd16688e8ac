// What is wrong with the page that is open, as a list of sentences; run by tests/site/test_site.py in every view.
() => {
  const all = selector => [...document.querySelectorAll(selector)];
  const text = document.querySelector("article").innerText;
  const faults = {
    "wider than the screen": document.documentElement.scrollWidth > innerWidth,
    "formulas not laid out": all("math").filter(m => m.checkVisibility() && m.getBoundingClientRect().height < 5).length,
    "TeX left over": /\\(frac|mathbf|operatorname|left|sum)|\\[(\[]/.test(text),
    "directives left over": (text.match(/(^|\n)::[a-z]+ .*|\{=\w[^}]*\}|\[\[\d\.\d+\]\]/) || [""])[0],
    "broken pictures": [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src).join(),
    "pictures without words": all("article img, article svg[role=img]").filter(i => !(i.alt || i.ariaLabel || i.ariaHidden)).length,
    "fields without labels": all("article :is(input, textarea)")
      .filter(i => i.type !== "radio" && i.type !== "checkbox" && !i.labels.length && !i.ariaLabel).length,
    "headings out of order": all("article :is(h1, h2, h3, h4, h5, h6)").map(h => +h.tagName[1])
      .filter((level, i, levels) => level > (i ? levels[i - 1] : 0) + 1).join(),
    "not exactly one title": all("article h1").length !== 1,
    "anchors twice": all("article [id]").map(e => e.id).filter((id, i, ids) => ids.indexOf(id) !== i).join(),
    "poor contrast": contrast(),
  };
  return Object.entries(faults).filter(([, value]) => value).map(([what, value]) => `${what}: ${value}`);

  // Text whose colour is too near to its ground's (WCAG AA: 4.5, large text 3).
  function contrast() {
    const channels = colour => {
      const numbers = colour.match(/[\d.]+/g).map(Number);
      if (colour.startsWith("color(")) numbers.splice(0, 3, ...numbers.slice(0, 3).map(v => v * 255));
      return numbers.length > 3 ? numbers : [...numbers.slice(0, 3), 1];
    };
    const luminance = colour => {
      const [r, g, b] = colour.map(v => v / 255).map(v => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = element => {
      for (; element; element = element.parentElement) {
        const colour = channels(getComputedStyle(element).backgroundColor);
        if (colour[3] > 0.9) return colour.slice(0, 3);
      }
      return [255, 255, 255];
    };
    const walker = document.createTreeWalker(document.querySelector(".md-container"), NodeFilter.SHOW_TEXT), poor = new Map();
    while (walker.nextNode()) {
      const words = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
      if (!words || !element.checkVisibility({ opacityProperty: true }) || element.closest("svg, .headerlink, .md-top")) continue;
      const style = getComputedStyle(element), ink = channels(style.color), paper = ground(element);
      if (ink[3] === 0) continue;
      const mixed = ink.slice(0, 3).map((v, i) => v * ink[3] + paper[i] * (1 - ink[3]));
      const [light, dark] = [luminance(mixed), luminance(paper)].sort((x, y) => y - x), ratio = (light + 0.05) / (dark + 0.05);
      if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5))
        poor.set(`${element.tagName}.${element.className}`, `${ratio.toFixed(2)} "${words.slice(0, 30)}"`);
    }
    return [...poor].map(pair => pair.join(" ")).slice(0, 5).join("; ");
  }
}
