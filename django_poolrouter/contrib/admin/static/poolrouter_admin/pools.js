/* Keeps the page of connection pools up to date, and draws charts of the figures so far.

   The server sends all texts in the reader's language. This script formats nothing. */
"use strict";
{
  const INTERVAL = 2000; // ms between two polls
  const PATIENCE = 10000; // ms to wait for an answer
  const LONGEST = 60000; // the most ms between two polls while the server does not answer
  const WINDOW = 300000; // ms that a chart shows
  const GAP = 3 * INTERVAL; // ms without an answer that leave a gap in a line
  const WIDTH = 150; // of a chart, in units of its viewBox
  const HEIGHT = 28;
  const SVG = "http://www.w3.org/2000/svg";

  const page = document.getElementById("pools");
  const status = page.querySelector(".pools-link");
  const traces = new Map(); // "alias name" -> [{at, value, text}]
  let timer = null;
  let failures = 0;

  // -- polling ---------------------------------------------------------------

  class SignedOut extends Error {}

  async function ask() {
    const response = await fetch(page.dataset.source, {
      headers: { Accept: "application/json" },
      redirect: "manual", // a redirect leads to the login page
      signal: AbortSignal.timeout(PATIENCE),
    });
    if (response.type === "opaqueredirect" || response.status === 403) {
      throw new SignedOut();
    }
    if (!response.ok) {
      throw new Error(response.status);
    }
    return response.json();
  }

  async function poll() {
    timer = null;
    let state = "live";
    let values = {};
    try {
      const content = await ask();
      if (content.host === page.dataset.host) {
        failures = 0;
        show(content);
      } else {
        // A load balancer chose another host. Never mix figures of two hosts in one chart.
        failures += 1;
        state = failures > 3 ? "elsewhere" : null;
        values = { host: content.host };
      }
    } catch (error) {
      failures += 1;
      state = error instanceof SignedOut ? "signed-out" : "stale";
      values = { time: page.querySelector("[data-time]").textContent };
    }
    if (document.hidden) {
      return; // the reader left the tab meanwhile, and the page says "paused"
    }
    if (state) {
      announce(state, values);
    }
    if (state !== "signed-out") {
      timer = setTimeout(poll, Math.min(INTERVAL * 2 ** failures, LONGEST));
    }
  }

  function announce(state, values = {}) {
    page.dataset.link = state;
    const key = "text" + state.split("-").map((w) => w[0].toUpperCase() + w.slice(1)).join("");
    const text = page.dataset[key].replace(/{(\w+)}/g, (_, name) => values[name]);
    write(status, text);
  }

  function followTab() {
    clearTimeout(timer);
    timer = null;
    if (document.hidden) {
      announce("paused");
    } else {
      failures = 0;
      poll();
    }
  }

  // -- texts -----------------------------------------------------------------

  function show(content) {
    write(page.querySelector("[data-time]"), content.time);
    for (const name of ["summary", "alarm", "warnings"]) {
      write(page.querySelector(`[data-${name}]`), content[name]);
    }
    const now = Date.now();
    for (const name of ["pools", "processes", "figures"]) {
      const table = page.querySelector(`[data-table="${name}"]`);
      if (table) {
        showRows(table, name, content[name].rows);
      }
    }
    for (const row of content.pools.rows) {
      showCharts(row, now);
    }
    const isEmpty = !content.processes.rows.length;
    page.querySelector("[data-empty]").hidden = !isEmpty;
    page.querySelector('[data-region="processes"]').hidden = isEmpty;
  }

  function showRows(table, name, rows) {
    const body = table.tBodies[0];
    const old = new Map([...body.rows].map((line) => [line.dataset.key, line]));
    const template = page.querySelector(`template[data-row="${name}"]`);
    let before = null;
    for (const row of rows) {
      let line = old.get(row.key);
      old.delete(row.key);
      if (!line) {
        if (!template) {
          continue; // a pool that was added to the settings after this page was loaded
        }
        line = template.content.firstElementChild.cloneNode(true);
        line.dataset.key = row.key;
        body.insertBefore(line, before ? before.nextElementSibling : body.firstElementChild);
      }
      if (row.state && line.dataset.state !== row.state) {
        line.dataset.state = row.state;
      }
      for (const cell of line.querySelectorAll("[data-cell]")) {
        write(cell, row.cells[cell.dataset.cell] ?? "");
      }
      before = line;
    }
    for (const line of old.values()) {
      line.remove();
    }
  }

  function write(element, text) {
    if (element.textContent !== text) { // writing the same text would drop the selection
      element.textContent = text;
    }
  }

  // -- charts ----------------------------------------------------------------

  function showCharts(row, now) {
    const line = page.querySelector(`[data-table="pools"] [data-key="${CSS.escape(row.key)}"]`);
    if (!line) {
      return;
    }
    for (const [name, width] of Object.entries(row.bars)) {
      line.querySelector(`[data-bar="${name}"]`).setAttribute("width", width);
    }
    for (const [name, point] of Object.entries(row.traces)) {
      const chart = line.querySelector(`[data-trace="${name}"]`);
      if (chart && point.value !== null) {
        const trace = record(`${row.key} ${name}`, point, now);
        const highest = trace.reduce((a, b) => (b.value >= a.value ? b : a));
        draw(chart, trace, Math.max(point.top, highest.value), now);
        const peak = line.querySelector(`[data-peak="${name}"]`);
        if (peak) {
          const text = page.dataset.textPeak.replace("{value}", highest.text);
          write(peak, highest.value > point.value ? text : "");
        }
      }
    }
  }

  function record(key, point, now) {
    const trace = (traces.get(key) ?? []).filter((each) => now - each.at <= WINDOW);
    trace.push({ at: now, value: point.value, text: point.text });
    traces.set(key, trace);
    return trace;
  }

  function draw(chart, trace, top, now) {
    if (!chart.firstChild) {
      for (const kind of ["area", "line"]) {
        const path = document.createElementNS(SVG, "path");
        path.setAttribute("class", `pools-${kind}`);
        chart.append(path);
      }
    }
    const x = (point) => (WIDTH * (1 - (now - point.at) / WINDOW)).toFixed(1);
    const y = (point) => (HEIGHT - 1 - (HEIGHT - 2) * (point.value / top)).toFixed(1);
    let line = "";
    let area = "";
    for (const run of runs(trace)) {
      const points = run.map((point) => `${x(point)} ${y(point)}`).join("L");
      line += `M${points}`;
      area += `M${x(run[0])} ${HEIGHT}L${points}L${x(run.at(-1))} ${HEIGHT}Z`;
    }
    chart.children[0].setAttribute("d", area);
    chart.children[1].setAttribute("d", line);
  }

  /* Split a trace at its gaps. */
  function runs(trace) {
    const found = [];
    trace.forEach((point, index) => {
      if (!index || point.at - trace[index - 1].at > GAP) {
        found.push([]);
      }
      found.at(-1).push(point);
    });
    return found;
  }

  page.classList.add("pools-live");
  document.addEventListener("visibilitychange", followTab);
  followTab();
}
