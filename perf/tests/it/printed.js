// What is wrong with the page as it goes to a printer, in words; an empty list is what one wants.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const wrong = [];
  const width = document.documentElement.clientWidth;
  const isShown = (element) => element.checkVisibility({ contentVisibilityAuto: true, visibilityProperty: true });

  // Paper cannot be scrolled: nothing may hide what does not fit, and nothing may reach beyond its edge.
  for (const element of all("body *").filter(isShown)) {
    const name = `${element.tagName} ${element.className.baseVal ?? element.className}: ${element.textContent.slice(0, 40)}`;
    if (element.getBoundingClientRect().right > width + 1) { wrong.push(`beyond the edge: ${name}`); }
    const { overflowX, overflowY } = getComputedStyle(element);
    const isFrame = [overflowX, overflowY].some((it) => it === "auto" || it === "scroll");
    if (isFrame && (element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1)) {
      wrong.push(`cut off: ${name}`);
    }
  }

  // Nor can it be clicked.
  for (const element of all("input, button, nav, .downloads").filter(isShown)) { wrong.push(`of no use: ${element.outerHTML.slice(0, 60)}`); }

  // What is behind a step, and why a run is void, is there without a click.
  const hidden = all(".step figure, .void li").filter((it) => !isShown(it));
  if (hidden.length > 0) { wrong.push(`${hidden.length} plots or reasons are folded away`); }
  for (const plots of all(".step .plots")) {
    const [one, other] = all("figure", plots).map((it) => it.getBoundingClientRect());
    if (other && other.left < one.right - 1) { wrong.push("plots of a step stand below each other"); }
  }
  return [...new Set(wrong)].slice(0, 20);
})()
