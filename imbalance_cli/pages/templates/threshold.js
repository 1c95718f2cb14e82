// The threshold that the reader moves: counts from the scores of the page, in log-odds.
(() => {
  const { scores: [common, rare], ties } = JSON.parse(document.getElementById("scores").textContent);
  const element = (id) => document.getElementById(id);
  const slider = element("threshold");
  const [low, high] = [Number(slider.min), Number(slider.max)];
  const probability = (at) => 1 / (1 + Math.exp(-at));

  // How many images have a score on the side of the minority; the scores are in rising order.
  function above({ values, each }, at) {
    let [from, to] = [0, values.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      if (values[middle] > at || (ties && values[middle] === at)) to = middle;
      else from = middle + 1;
    }
    return (values.length - from) * each;
  }
  const total = ({ values, each }) => values.length * each;
  function countsAt(at) {
    const [found, alarms] = [above(rare, at), above(common, at)];
    return { found, alarms, missed: total(rare) - found, right: total(common) - alarms };
  }
  const cost = (counts) => Number(element("miss").value) * counts.missed + Number(element("alarm").value) * counts.alarms;

  const share = (part, rest) => (part + rest ? part / (part + rest) : null);
  // 66.25 to the even digit, as in the rest of the page.
  const tenths = new Intl.NumberFormat("en", {
    minimumFractionDigits: 1, maximumFractionDigits: 1, roundingMode: "halfEven", useGrouping: false,
  });
  const percent = (value) => (value === null ? "–" : `${tenths.format(100 * value)}\u00a0%`);
  const number = (value) => value.toLocaleString("en", { maximumFractionDigits: 1 });

  function show() {
    const at = Number(slider.value);
    const counts = countsAt(at);
    const [recall, specificity] = [share(counts.found, counts.missed), share(counts.right, counts.alarms)];
    const [positives, negatives] = [counts.found + counts.missed, counts.right + counts.alarms];
    // Divided once, it is the same number as in the tables to the last bit.
    const mean = (counts.found * negatives + counts.right * positives) / (2 * positives * negatives);
    const balanced = positives && negatives ? mean : (recall ?? specificity);
    for (const [name, of] of [["found", "missed"], ["missed", "found"], ["alarms", "right"], ["right", "alarms"]]) {
      const cell = element(name);
      cell.firstElementChild.textContent = number(counts[name]);
      cell.style.setProperty("--share", share(counts[name], counts[of]) ?? 0);
    }
    element("recall").textContent = percent(recall);
    element("precision").textContent = percent(share(counts.found, counts.alarms));
    element("specificity").textContent = percent(specificity);
    element("balanced").textContent = percent(balanced);
    element("cost").textContent = number(cost(counts));
    element("rate").textContent = number((1000 * cost(counts)) / Math.max(1, total(common) + total(rare)));
    const shown = probability(at).toPrecision(3);
    element("reading").textContent = shown;
    slider.setAttribute("aria-valuetext", `${shown}: recall ${percent(recall)}, specificity ${percent(specificity)}`);
    element("cut").style.left = `${(100 * (at - low)) / (high - low)}%`;
    for (const button of document.querySelectorAll("button[data-at]")) {
      button.setAttribute("aria-pressed", String(Math.abs(Number(button.dataset.at) - at) < 1e-9));
    }
  }
  function moveTo(at) {
    slider.value = at;
    element("peek").hidden = true;
    show();
  }
  // Between two neighbouring scores nothing changes, so the middles between them and the ends are all there is to try.
  function cheapest() {
    const all = [...new Set([...common.values, ...rare.values])].sort((a, b) => a - b);
    const places = [low, ...all.slice(1).map((value, index) => (value + all[index]) / 2), high];
    const costs = places.map((at) => cost(countsAt(at)));
    const least = costs.reduce((a, b) => Math.min(a, b));
    const best = places.filter((_, index) => costs[index] === least);
    return Math.min(high, Math.max(low, best[best.length >> 1]));
  }

  slider.addEventListener("input", () => moveTo(Number(slider.value)));
  // The browser's own step of a slider without steps is large: an arrow key moves it by a two-hundredth.
  slider.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
    if (!steps) return;
    event.preventDefault();
    moveTo(Math.min(high, Math.max(low, Number(slider.value) + (steps * (high - low)) / 200)));
  });
  for (const id of ["miss", "alarm"]) element(id).addEventListener("input", () => moveTo(Number(slider.value)));
  for (const button of document.querySelectorAll("button[data-at]")) {
    button.addEventListener("click", () => moveTo(Number(button.dataset.at)));
  }
  element("cheapest").addEventListener("click", () => {
    moveTo(cheapest());
    element("peek").hidden = false;
  });
  for (const part of document.querySelectorAll(".on-script")) part.hidden = false;
  element("cut").hidden = false;
  show();
})();
