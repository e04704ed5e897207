"use strict";
(() => {
  const specs = JSON.parse(document.getElementById("charts").textContent);
  const tokens = /^@(accent|long|short|warning|text|muted|ground|panel|line|accent-soft|short-soft)$/;
  const isTouch = matchMedia("(pointer: coarse)").matches;
  const isNarrow = () => innerWidth < 600;
  // The tool bar helps where there is something to zoom into, with a mouse and room for it.
  const config = (layout) => ({
    displaylogo: false, responsive: true,
    showSendToCloud: false, plotlyServerURL: "",  // on by default in plotly.js 4: a button that uploads the chart
    displayModeBar: isTouch || isNarrow() || layout.xaxis.type !== "date" ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  });

  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  // Colours are named, not fixed, in the data: resolved against whichever theme is shown now.
  function painted(value) {
    if (typeof value === "string") return tokens.test(value) ? ink(value.slice(1)) : value;
    if (Array.isArray(value)) return value.map(painted);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, painted(inner)]));
  }

  function dressed(layout) {
    const axis = { gridcolor: ink("line"), linecolor: ink("line"), zerolinecolor: ink("line"), automargin: true, zeroline: false, fixedrange: isTouch };
    const worn = {
      font: { family: getComputedStyle(document.body).fontFamily, size: isNarrow() ? 11 : 12, color: ink("muted") },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 8, r: 12, t: 34, b: 28 },
      hovermode: "x unified", dragmode: isTouch ? false : "zoom", separators: ".,",
      hoverlabel: { bgcolor: ink("panel"), bordercolor: ink("line"), font: { color: ink("text") } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: ink("muted"), activecolor: ink("accent") },
      legend: { orientation: "h", x: 0, y: 1, xanchor: "left", yanchor: "bottom" },
      ...layout,
    };
    for (const key of ["xaxis", "yaxis", "yaxis2"]) if (key in layout) worn[key] = { ...axis, ...layout[key] };
    return worn;
  }

  function draw() {
    for (const [name, spec] of Object.entries(specs))
      Plotly.react("chart-" + name, painted(spec.data), dressed(painted(spec.layout)), config(spec.layout));
  }

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
