// Adds to a page that is whole without it: values at the pointer, a choice of targets and of the scale, CSV.
"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);

  // Values, as the page writes them.
  const digits = (value) => Number(value.toPrecision(3)).toString();
  const time = (us) => us < 1e3 ? `${digits(us)} \u00b5s` : us < 1e6 ? `${digits(us / 1e3)} ms` : `${digits(us / 1e6)} s`;
  const count = (value) => value < 1e3 ? digits(value) : value < 1e6 ? `${digits(value / 1e3)}k` : `${digits(value / 1e6)}M`;
  const nines = (over) => `p${Number((100 - 100 / over).toFixed(Math.max(0, Math.ceil(Math.log10(over)))))}`;
  const written = {
    time, count,
    offered: (value) => `${count(value)} records/s`,
    percentile: nines,
    second: (value) => `second ${Math.floor(value)}`,
  };

  // Axes, from places back to values.
  const axisOf = (words) => {
    const [scale, ...numbers] = words.split(" ");
    const [low, high, from, to] = numbers.map(Number);
    return { isLog: scale === "log", low, high, from, to };
  };
  const valueAt = (axis, place) => {
    const part = (place - axis.from) / (axis.to - axis.from);
    return axis.isLog ? axis.low * (axis.high / axis.low) ** part : axis.low + (axis.high - axis.low) * part;
  };
  const placeOf = (axis, value) => axis.from + (axis.to - axis.from) * (value - axis.low) / (axis.high - axis.low);

  // A path's places, in halves of a pixel, each with its command; relative ones become absolute.
  const UNIT = 2;
  const parsed = (data) => {
    const steps = [];
    let x = 0, y = 0;
    for (const [, command, rest] of data.matchAll(/([MLlVz])([^MLlVz]*)/g)) {
      const numbers = (rest.match(/-?[\d.]+/g) ?? []).map(Number);
      if (command === "l") {
        for (let index = 0; index < numbers.length; index += 2) {
          x += numbers[index];
          y += numbers[index + 1];
          steps.push({ command: "L", x, y });
        }
        continue;
      }
      if (command === "V") { [y] = numbers; } else if (command !== "z") { [x, y] = numbers; }
      steps.push({ command, x, y });
    }
    return steps;
  };
  const unparsed = (steps) => steps
    .map(({ command, x, y }) => command === "z" ? "z" : command === "V" ? `V${y}` : `${command}${x} ${y}`).join("");
  const placesOf = (path) => {
    const steps = parsed(path.getAttribute("d"));
    const isArea = path.classList.contains("area");
    // An area begins and ends each of its pieces at the bottom.
    const isCorner = ({ command }, index) => isArea && (command === "M" || steps[index + 1]?.command === "z");
    return steps.filter((step, index) => step.command !== "z" && !isCorner(step, index));
  };

  // Values at the pointer, or at a cursor that the arrow keys move.
  const tip = make("div", { className: "tip", hidden: true });
  tip.setAttribute("role", "status");
  document.body.append(tip);
  const nearest = (places, x) =>
    places.reduce((best, place) => Math.abs(place.x - x) < Math.abs(best.x - x) ? place : best);
  const linesAt = (svg, x, y) => {
    const panels = all(".panel", svg);
    const isWithin = (panel) => {
      const { from, to } = axisOf(panel.dataset.y);
      return to - 12 <= y && y <= from + 12;
    };
    const panel = panels.find(isWithin) ?? panels[0];
    const axis = axisOf(panel.dataset.y);
    const lines = [];
    let at;
    for (const curve of all(".curve", panel).filter((it) => it.dataset.name && getComputedStyle(it).visibility !== "hidden")) {
      const place = nearest(placesOf(curve.querySelector(".line, .thin, .area")), x * UNIT);
      at ??= place.x / UNIT;
      lines.push(`${curve.dataset.name}: ${written[panel.dataset.as](valueAt(axis, place.y / UNIT))}`);
    }
    return { at, lines };
  };
  const show = (svg, x, y) => {
    const { at, lines } = linesAt(svg, x, y);
    if (at === undefined) { return hide(svg); }
    const box = svg.getBoundingClientRect();
    const scale = box.width / svg.viewBox.baseVal.width;
    const across = axisOf(svg.dataset.x);
    tip.textContent = [written[svg.dataset.xAs](valueAt(across, at)), ...lines].join("\n");
    tip.hidden = false;
    const left = box.left + at * scale + 12;
    const isRight = innerWidth < left + tip.offsetWidth + 8;
    tip.style.left = `${isRight ? Math.max(4, left - tip.offsetWidth - 24) : left}px`;
    tip.style.top = `${Math.min(Math.max(4, box.top + y * scale - 20), innerHeight - tip.offsetHeight - 4)}px`;
    let cursor = svg.querySelector(".cursor");
    if (!cursor) {
      cursor = document.createElementNS("http://www.w3.org/2000/svg", "path");
      cursor.classList.add("cursor");
      svg.append(cursor);
    }
    cursor.setAttribute("d", `M${at} 18V${svg.viewBox.baseVal.height - 36}`);
  };
  const hide = (svg) => {
    tip.hidden = true;
    svg.querySelector(".cursor")?.remove();
  };
  for (const svg of all("svg[data-x]")) {
    // Its name stays; the browser's own tip would cover the values.
    const title = svg.querySelector("title");
    svg.setAttribute("aria-label", title.textContent);
    title.remove();
    svg.tabIndex = 0;
    const across = axisOf(svg.dataset.x);
    let x = across.from;
    const at = ({ clientX, clientY }) => {
      const box = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / box.width;
      x = Math.min(across.to, Math.max(across.from, (clientX - box.left) * scale));
      show(svg, x, (clientY - box.top) * scale);
    };
    svg.addEventListener("pointermove", at);
    svg.addEventListener("pointerdown", at);
    svg.addEventListener("pointerleave", () => hide(svg));
    svg.addEventListener("blur", () => hide(svg));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") { hide(svg); }
      if (!step) { return; }
      event.preventDefault();
      x = Math.min(across.to, Math.max(across.from, x + step * (across.to - across.from) / 30));
      show(svg, x, 40);
    });
  }

  // Which targets are drawn, the same everywhere.
  const hidden = new Set();
  const choose = (target, isShown) => {
    if (isShown) { hidden.delete(target); } else { hidden.add(target); }
    document.documentElement.dataset.hidden = [...hidden].join(" ");
    for (const box of all(".legend input")) { box.checked = !hidden.has(box.value); }
  };
  for (const entry of all(".legend li[data-target]")) {
    const box = make("input", { type: "checkbox", checked: true, value: entry.dataset.target });
    const label = make("label");
    label.append(box, ...entry.childNodes);
    entry.append(label);
    box.addEventListener("change", () => choose(box.value, box.checked));
  }

  // Latency on a linear axis, where the large is as large as it is.
  const linearTicks = (high) => {
    const power = 10 ** Math.floor(Math.log10(high / 4));
    const step = [1, 2, 5, 10].map((it) => it * power).find((it) => high / it <= 4.0001);
    return Array.from({ length: Math.floor(high / step + 1e-6) + 1 }, (_, index) => index * step);
  };
  const toLinear = (panel) => {
    const before = axisOf(panel.dataset.y);
    const paths = all(".curve path", panel);
    const tops = all(".curve path:not(.mark)", panel).flatMap(placesOf).map(({ y }) => y / UNIT);
    const after = { ...before, isLog: false, low: 0, high: valueAt(before, Math.min(...tops)) * 1.05 };
    const moved = (y) => Math.round(placeOf(after, valueAt(before, y / UNIT)) * UNIT);
    for (const path of paths) {
      const steps = parsed(path.getAttribute("d"));
      if (path.classList.contains("mark")) {
        const [, middle] = path.dataset.at.split(" ").map(Number);
        path.setAttribute("transform", `translate(0 ${moved(middle) - middle})`);
      } else {
        const bottom = Math.round(before.from * UNIT);
        for (const step of steps) { step.y = step.y >= bottom && path.classList.contains("area") ? bottom : moved(step.y); }
        path.setAttribute("d", unparsed(steps));
      }
    }
    const ticks = linearTicks(after.high);
    const grid = panel.querySelector(".grid");
    const upright = grid.getAttribute("d").match(/M[\d.]+ [\d.]+V[\d.]+/g) ?? [];
    grid.setAttribute("d", ticks.map((it) => `M50 ${placeOf(after, it).toFixed(1)}H342`).join("") + upright.join(""));
    const model = panel.querySelector("text.y");
    all("text.y", panel).forEach((it) => it.remove());
    for (const tick of ticks) {
      const text = model.cloneNode();
      text.setAttribute("y", (placeOf(after, tick) + 3.5).toFixed(1));
      text.textContent = tick === 0 ? "0" : time(tick);
      panel.append(text);
    }
    panel.dataset.y = `linear ${after.low} ${after.high} ${after.from} ${after.to}`;
  };
  let logPanels = null;
  const switchScale = () => {
    if (logPanels) {
      for (const [panel, html, y] of logPanels) { panel.innerHTML = html; panel.dataset.y = y; }
      logPanels = null;
    } else {
      logPanels = all('.panel[data-as="time"]').map((panel) => [panel, panel.innerHTML, panel.dataset.y]);
      logPanels.forEach(([panel]) => toLinear(panel));
    }
    for (const button of all(".switch button")) { button.setAttribute("aria-pressed", String(Boolean(logPanels))); }
  };
  for (const legend of all("section[id^=w] > .legend")) {
    if (!legend.parentElement.querySelector(".panel")) { continue; }
    const button = make("button", { type: "button", textContent: "linear latency" });
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", switchScale);
    const entry = make("li", { className: "switch" });
    entry.append(button);
    legend.append(entry);
  }

  // HdrHistogram's V2 form: a cookie, a length, and deflated: a head of 40 bytes, then counts as zigzag LEB128,
  // of which a negative one is so many zeros.
  const inflated = async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes.subarray(8)]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new DataView(await new Response(stream).arrayBuffer());
  };
  const rowsOf = (view) => {
    const digitsKept = view.getUint32(12);
    const lowest = Number(view.getBigUint64(16));
    const unit = Math.floor(Math.log2(lowest));
    const half = 2 ** (Math.ceil(Math.log2(2 * 10 ** digitsKept)) - 1);
    const rows = [];
    const end = 40 + view.getUint32(4);
    for (let at = 40, index = 0; at < end;) {
      let number = 0n;
      for (let shift = 0n, length = 1; ; shift += 7n, length += 1) {
        const byte = BigInt(view.getUint8(at));
        at += 1;
        // The ninth byte has all of its bits.
        if (length === 9) { number |= byte << shift; break; }
        number |= (byte & 127n) << shift;
        if (byte < 128n) { break; }
      }
      const signed = Number(number & 1n ? -(number >> 1n) - 1n : number >> 1n);
      if (signed < 0) { index -= signed; continue; }
      const bucket = Math.max(0, Math.floor(index / half) - 1);
      const within = index - bucket * half;
      const size = 2 ** (bucket + unit);
      if (signed) { rows.push([within * size, (within + 1) * size - 1, signed]); }
      index += 1;
    }
    return rows;
  };
  const csvOf = async (link) => {
    const log = decodeURIComponent(link.getAttribute("href").split(/,(.*)/s)[1]);
    const interval = log.split("\n").find((line) => /^[\d.]+,/.test(line));
    const rows = rowsOf(await inflated(interval.split(",")[3]));
    const sum = rows.reduce((before, [, , it]) => before + it, 0);
    let below = 0;
    const lines = rows.map(([from, to, it]) => {
      below += it;
      return `${from},${to},${it},${(100 * below / sum).toPrecision(9)}`;
    });
    return ["from_ns,to_ns,count,percentile", ...lines, ""].join("\n");
  };
  for (const link of all("a[download]")) {
    const button = make("button", { type: "button", textContent: "CSV" });
    button.setAttribute("aria-label", `CSV of ${link.textContent}`);
    button.addEventListener("click", async () => {
      const url = URL.createObjectURL(new Blob([await csvOf(link)], { type: "text/csv" }));
      make("a", { href: url, download: link.download.replace(/hlog$/, "csv") }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    });
    link.after(button);
  }

  addEventListener("beforeprint", () => all("details.step").forEach((it) => { it.open = true; }));
})();
