"use strict";
(() => {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const divs = [...document.querySelectorAll("[data-plot]")];
  /** Configurations that are not shown, by number. */
  const hidden = new Set();
  /** The heap size that is chosen in each section. */
  const chosen = {};

  const font = { family: '"Helvetica Neue", Helvetica, Arial, "Liberation Sans", "DejaVu Sans Condensed", "DejaVu Sans", sans-serif', size: 12, color: "#1a1a1a" };
  const axis = {
    showline: true, linecolor: "#1a1a1a", linewidth: 1, ticks: "outside", ticklen: 4, tickcolor: "#1a1a1a", gridcolor: "#e6e6e6",
    zeroline: false, automargin: true, tickfont: { size: 11 }, exponentformat: "none", hoverformat: ".4g",
  };
  const base = {
    font, showlegend: false, margin: { l: 52, r: 12, t: 14, b: 44 }, paper_bgcolor: "#fff", plot_bgcolor: "#fff", hovermode: "closest",
    hoverlabel: { bgcolor: "#fff", bordercolor: "#888", align: "left", font: { ...font, size: 12 } }, dragmode: "zoom",
  };
  const config = {
    displaylogo: false, responsive: false, displayModeBar: "hover",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]], toImageButtonOptions: { format: "svg" },
  };
  /** The width of the page in print, in CSS pixels: that of the style sheet. */
  const PRINT_WIDTH = 700;
  const GAP = 16;

  function axisOf(own) {
    const title = { standoff: 8, ...own.title, font: { size: 12 } };
    return { ...axis, ...own, title };
  }

  function layoutOf(plot, width, height) {
    const own = plot.layout;
    const layout = { ...base, ...own, width, height, xaxis: axisOf(own.xaxis), yaxis: axisOf(own.yaxis) };
    if (tracesOf(plot).length === 0) {
      layout.annotations = [{ text: "nothing to show at this heap size", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5 }];
    }
    return layout;
  }

  function tracesOf(plot) {
    const traces = plot.variants[plot.choice === null ? 0 : chosen[plot.choice]];
    return traces.map((trace) => ({ ...trace, visible: !hidden.has(trace.meta) }));
  }

  /** Draws a plot as wide as its place, or as in print. */
  function draw(div, printed) {
    const plot = plots[div.dataset.plot];
    const columns = Number(div.closest("[data-columns]").dataset.columns);
    const width = printed ? (PRINT_WIDTH - GAP * (columns - 1)) / columns : div.clientWidth;
    const height = div.clientHeight;
    div.dataset.drawn = `${width}`;
    return Plotly.react(div, tracesOf(plot), layoutOf(plot, width, height), config);
  }

  let printing = matchMedia("print").matches;
  const isDrawn = (div) => div.dataset.drawn !== undefined;
  const drawAll = () => Promise.all(divs.map((div) => draw(div, printing))).then((drawn) => drawn.length);
  const redraw = (wanted) => divs.filter((div) => isDrawn(div) && wanted(plots[div.dataset.plot])).forEach((div) => draw(div, printing));

  // A plot is drawn when one comes near it: pages of hundreds of plots open at once.
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((entry) => entry.isIntersecting)) {
      near.unobserve(entry.target);
      if (!isDrawn(entry.target)) draw(entry.target, printing);
    }
  }, { rootMargin: "1200px" });

  for (const select of document.querySelectorAll("[data-choice]")) {
    const section = select.dataset.choice;
    const choose = () => {
      chosen[section] = Number(select.value);
      document.querySelectorAll(`[data-variant=${section}]`).forEach((html) => { html.hidden = html.dataset.value !== select.value; });
      document.querySelector(`[data-chosen=${section}]`).textContent = select.selectedOptions[0].textContent;
    };
    choose();
    select.addEventListener("change", () => {
      choose();
      redraw((plot) => plot.choice === section);
    });
  }

  const buttons = [...document.querySelectorAll("[data-config]")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const number = Number(button.dataset.config);
      if (!hidden.delete(number)) hidden.add(number);
      buttons.filter((other) => other.dataset.config === button.dataset.config)
        .forEach((other) => other.setAttribute("aria-pressed", `${hidden.has(number)}`));
      redraw(() => true);
    });
  }

  let timer;
  addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(() => redraw(() => true), 150);
  });
  const print = (now) => {
    printing = now;
    if (now) drawAll(); else redraw(() => true);
  };
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
  matchMedia("print").addEventListener("change", (media) => print(media.matches));

  for (const time of document.querySelectorAll("[data-unix]")) {
    time.textContent = new Date(Number(time.dataset.unix) * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC";
  }

  divs.forEach((div) => near.observe(div));
  /** For tests: draws every plot, and says what Plotly does not understand of them. */
  const mistakesOf = (plot) => plot.variants.flatMap((traces) => Plotly.validate(traces, plot.layout) ?? []);
  window.report = {
    drawAll,
    // It takes lists of patterns for changed, but uses them.
    mistakes: () => plots.flatMap((plot, i) => mistakesOf(plot).filter((mistake) => mistake.code !== "dynamic").map((mistake) => `plot ${i}: ${mistake.msg}`)),
  };
})();
