// The decision for n queries: from how many queries on each text holds was computed before; n alone is put in here.
const parts = JSON.parse(document.getElementById("by-queries").textContent);
function decide(n) {
  const part = parts.findLast((one) => one.from_queries <= n);
  const queries = `${n.toLocaleString("en-US")} ${n === 1 ? "query" : "queries"}`;
  document.getElementById("decision").textContent = `For ${queries}: ${part.text}.`;
}
for (const slider of document.querySelectorAll(".queries input")) {
  slider.addEventListener("input", () => decide(Math.round(10 ** (slider.value / 4))));
}
