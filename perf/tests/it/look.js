// What is wrong with the page as it is shown, in words; an empty list is what one wants.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const wrong = [];
  all("details").forEach((it) => { it.open = true; });

  // The page moves up and down, never sideways: only frames that say so do.
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) { wrong.push(`the page is ${document.documentElement.scrollWidth} wide`); }
  if (width > 1300 || visualViewport.scale !== 1) { wrong.push(`laid out ${width} wide, scaled ${visualViewport.scale}`); }
  const isFramed = (element) => element.closest(".scrolled, .legend, pre, .skip, .tip, svg");
  for (const element of all("body *")) {
    const { right, width: own } = element.getBoundingClientRect();
    if (own > 0 && right > width + 1 && !isFramed(element)) {
      wrong.push(`${element.tagName} ${element.className} reaches ${Math.round(right)}: ${element.textContent.slice(0, 40)}`);
    }
  }

  // Every plot is seen, and so is something in it.
  const plots = all("svg[data-x]");
  for (const svg of plots) {
    const name = svg.getAttribute("aria-label") ?? svg.querySelector("title")?.textContent;
    if (!name || !svg.querySelector("desc")?.textContent) { wrong.push("a plot says nothing to those who do not see it"); }
    const box = svg.getBoundingClientRect();
    if (box.width < 250 || box.height < 150) { wrong.push(`${name} is ${box.width} x ${box.height}`); }
    const curves = all(".curve .line", svg).filter((it) => getComputedStyle(it).visibility !== "hidden");
    if (curves.length === 0) { wrong.push(`${name} has no curve`); }
    for (const path of curves) {
      const { width: across } = path.getBoundingClientRect();
      const { stroke } = getComputedStyle(path);
      if (!(path.getTotalLength() > 0) || !(across > 0) || stroke === "none") { wrong.push(`${name} has a curve that is not seen`); }
    }
    for (const text of all("text", svg)) {
      const { height, left, right } = text.getBoundingClientRect();
      if (height < 9) { wrong.push(`${name}: letters of ${height} pixels`); }
      if (left < 0 || right > width + 1) { wrong.push(`${name}: ${text.textContent} is cut off`); }
    }
    const labels = all("text:not(.of)", svg).map((it) => [it.textContent, it.getBoundingClientRect()]);
    for (const [text, box] of labels) {
      const over = labels.find(([other, it]) => other !== text && it.left < box.right - 1 && box.left < it.right - 1
        && it.top < box.bottom - 2 && box.top < it.bottom - 2);
      if (over) { wrong.push(`${name}: ${text} lies over ${over[0]}`); }
    }
  }

  // Letters stand out from what is behind them, as WCAG's level AA wants it.
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const channels = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [red, green, blue] = channels(colour).map((it) => it / 255).map((it) => it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    for (let it = element; it; it = it.parentElement) {
      const { backgroundColor } = getComputedStyle(it);
      if (channels(backgroundColor)[3] === 255) { return backgroundColor; }
    }
    return "white";
  };
  const contrasts = new Map();
  for (const element of all("h1, h2, h3, h4, p, a, th, td, td *, small, dt, dd, li, summary, caption, figcaption, abbr, code, pre, text")) {
    const style = getComputedStyle(element);
    const colours = [element.tagName === "text" ? style.fill : style.color, behind(element)];
    const key = colours.join(" on ");
    if (!contrasts.has(key)) {
      const [more, less] = colours.map(light).sort((one, other) => other - one);
      contrasts.set(key, (more + 0.05) / (less + 0.05));
    }
  }
  for (const [key, contrast] of contrasts) {
    if (contrast < 4.5) { wrong.push(`${key}: contrast ${contrast.toFixed(2)}`); }
  }

  // Tables say what their rows and columns are; links lead somewhere; nothing has the name of another.
  for (const head of all("th:not([scope])")) { wrong.push(`a head without scope: ${head.textContent}`); }
  for (const link of all("a[href^='#']")) {
    if (!document.getElementById(link.hash.slice(1))) { wrong.push(`${link.hash} leads nowhere`); }
  }
  const ids = all("[id]").map((it) => it.id);
  if (new Set(ids).size !== ids.length) { wrong.push("an id is there twice"); }
  if (all("script").length !== 1) { wrong.push("a script that is not ours"); }

  return { wrong: [...new Set(wrong)].slice(0, 20), plots: plots.length };
})()
