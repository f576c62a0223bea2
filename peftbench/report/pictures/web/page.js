"use strict";
const SVG = "http://www.w3.org/2000/svg";

// Tables: a click on a header sorts by it, another one the other way round; what is absent stays at the end.
function sortBy(table, index, header) {
  const up = header.getAttribute("aria-sort") === "ascending";
  const isText = header.classList.contains("text");
  const rows = [...table.tBodies[0].rows];
  const value = (row) => (isText ? row.cells[index].textContent.trim() : row.cells[index].dataset.v);
  rows.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    return (isText ? x.localeCompare(y) : x - y) * (up ? -1 : 1);
  });
  for (const other of header.parentNode.cells) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", up ? "descending" : "ascending");
  table.tBodies[0].append(...rows);
}
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((header, index) =>
    header.firstElementChild.addEventListener("click", () => sortBy(table, index, header)));
}

// Tooltips: a title's text, where the pointer or the focus is. Without this script the browser shows the titles.
const tip = document.getElementById("tip");
function showTip(point) {
  const box = point.getBoundingClientRect();
  tip.textContent = point.dataset.told;
  tip.hidden = false;
  const left = Math.min(box.left + box.width / 2 + 10, innerWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 8;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${above < 8 ? box.bottom + 8 : above}px`;
}
for (const point of document.querySelectorAll(".pt")) {
  const title = point.querySelector("title");
  point.dataset.told = title.textContent;
  point.setAttribute("aria-label", title.textContent.replaceAll("\n", "; "));
  title.remove();
  for (const kind of ["pointerenter", "focus", "click"]) point.addEventListener(kind, () => showTip(point));
  for (const kind of ["pointerleave", "blur"]) point.addEventListener(kind, () => { tip.hidden = true; });
}
addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

// Labels: one that would stand on another or on a point gives way, first to other places, then altogether.
const PLACES = [["start", 8, -5], ["end", -8, -5], ["start", 8, 12], ["end", -8, 12], ["middle", 0, -11], ["middle", 0, 19]];
const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
function declutter(svg) {
  const frame = svg.querySelector(".frame").getBoundingClientRect();
  const taken = [...svg.querySelectorAll(".dot, .level-text")].map((dot) => dot.getBoundingClientRect());
  for (const label of svg.querySelectorAll(".label")) {
    label.style.visibility = "";
    const isFree = PLACES.some(([anchor, x, y]) => {
      label.setAttribute("text-anchor", anchor);
      label.setAttribute("x", x);
      label.setAttribute("y", y);
      const box = label.getBoundingClientRect();
      return box.left > frame.left && box.right <= frame.right && !taken.some((other) => meet(box, other));
    });
    if (isFree) taken.push(label.getBoundingClientRect());
    else label.style.visibility = "hidden";
  }
}
const clutterFree = () => document.querySelectorAll("figure > svg:has(.label)").forEach(declutter);

// Total FLOPs after n queries: place and axis both go by FLOPs / n, so that only what is paid once moves.
function ticks(svg, low, high, place) {
  const group = svg.querySelector(".xticks");
  const floor = Number(group.dataset.floor);
  const decades = [];
  for (let k = Math.ceil(Math.log10(low)); k <= Math.log10(high); k++) decades.push(k);
  const step = Math.max(1, Math.ceil(decades.length / 7));
  group.replaceChildren(...decades.filter((k, index) => index % step === 0).flatMap((k) => {
    const line = document.createElementNS(SVG, "path");
    line.setAttribute("class", "grid");
    line.setAttribute("d", `M${place(10 ** k)} 8V${floor}`);
    const text = document.createElementNS(SVG, "text");
    for (const [name, value] of [["class", "tick"], ["text-anchor", "middle"], ["x", place(10 ** k)], ["y", floor + 15]]) {
      text.setAttribute(name, value);
    }
    text.textContent = `1e${k}`;
    return [line, text];
  }));
}
function slide(figure, n, start) {
  const svg = figure.querySelector(":scope > svg");
  const [low, high, left, right] = ["low", "high", "left", "right"].map((name) => Number(svg.dataset[name]));
  const place = (flops) => left + (right - left) * Math.log(flops * start / n / low) / Math.log(high / low);
  ticks(svg, low * n / start, high * n / start, place);
  for (const point of svg.querySelectorAll("[data-each]")) {
    const total = Number(point.dataset.once) + n * Number(point.dataset.each);
    point.setAttribute("transform", `translate(${place(total).toFixed(1)} ${point.dataset.y})`);
    const lines = point.dataset.told.split("\n").filter((line) => !line.startsWith("total "));
    point.dataset.told = [...lines, `total ${total.toExponential(1).replace("+", "")} FLOPs`].join("\n");
  }
  for (const line of svg.querySelectorAll("[data-paid]")) {
    const places = JSON.parse(line.dataset.paid).map(([once, each, y]) => [place(once + n * each), y].map((at) => at.toFixed(1)).join(" "));
    line.setAttribute("d", `M${places.join("L")}`);
  }
  const many = n.toLocaleString("en-US");
  figure.querySelector("output").textContent = many;
  figure.querySelector("figcaption b").textContent = `Accuracy against total FLOPs after ${many} queries`;
  svg.querySelector(".axis").textContent = `total FLOPs after ${many} queries`;
  for (const item of figure.querySelectorAll(".paid li")) {
    item.classList.toggle("yes", item.dataset.n !== "" && n >= Number(item.dataset.n));
  }
  declutter(svg);
}
for (const slider of document.querySelectorAll(".queries input")) {
  const start = Number(slider.dataset.start);
  const moved = () => slide(slider.closest("figure"), Math.round(10 ** (slider.value / 4)), start);
  slider.addEventListener("input", moved);
  moved();
}
clutterFree();
addEventListener("resize", clutterFree);
