/* The figures of book/play.md. Numbers come from play-data.js, which tests/book/test_play.py computes again;
   here they are looked up, added up and drawn. Without this script the static pictures stay. */
(function () {
  "use strict";

  const data = window.softmiPlay;
  if (!data) return;
  const colours = data.colours;
  const NAMES = {
    cam: "CAM", infocam: "infoCAM", infocam_plus: "infoCAM+",
    rivals_1: "1 rival", rivals_3: "3 rivals",
  };
  const MAGMA = [[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]];
  const CELLS = 12, SIZE = 48, SCALE = SIZE / CELLS;

  // --- Small helpers -------------------------------------------------------------------------

  function make(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    node.append(...(children || []));
    return node;
  }
  const html = (tag, attributes, ...children) =>
    make(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) =>
    make(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  const number = (value, digits = 2) => {
    const text = value.toFixed(digits);
    return /^-0\.?0*$/.test(text) ? text.slice(1) : text.replace("-", "−");
  };
  const signed = (value) => (value >= 0 ? "+" : "") + number(value).replace("−0.00", "0.00");
  const percent = (share) => `${Math.round(100 * share)} %`;
  const sum = (values) => values.reduce((a, b) => a + b, 0);

  let serial = 0;
  function labelled(text, control, ...shown) {
    control.id = `play-control-${++serial}`;
    const label = html("label", { for: control.id }, text);
    return html("div", { class: "play-control" },
      html("div", { class: "play-label" }, label, ...shown), control);
  }
  function choice(options) {
    const items = options.map(([value, text]) => html("option", { value }, text));
    return html("select", { class: "play-select" }, ...items);
  }
  function slider(max, value) {
    return html("input", { type: "range", min: 0, max, step: 1, value, class: "play-range" });
  }

  /* A picture that is drawn anew at the width it has, so that its text keeps its size. */
  function panel(height, draw) {
    const picture = svg("svg", { role: "img", height, class: "play-chart" });
    const holder = html("div", { class: "play-panel" }, picture);
    let width = 0;
    const redraw = () => {
      if (!width) return;
      picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
      picture.replaceChildren();
      picture.setAttribute("aria-label", draw(picture, width, height));
    };
    new ResizeObserver(() => {
      if (holder.clientWidth && holder.clientWidth !== width) {
        width = holder.clientWidth;
        redraw();
      }
    }).observe(holder);
    return { holder, redraw };
  }

  /* A square picture of the scene's pixels; strokes keep their width at any size. */
  function square(label) {
    const picture = svg("svg", { role: "img", viewBox: `0 0 ${SIZE} ${SIZE}`, class: "play-square" });
    const caption = html("figcaption", {}, label);
    return { picture, caption, holder: html("figure", { class: "play-figure" }, picture, caption) };
  }

  /* Named numbers that a reader can find at a glance. */
  function facts(names) {
    const values = {};
    const items = names.map(([key, text]) => {
      values[key] = html("dd", { "data-fact": key });
      return html("div", {}, html("dt", {}, text), values[key]);
    });
    return { list: html("dl", { class: "play-facts" }, ...items), values };
  }

  function show(root, ...children) {
    root.replaceChildren(...children);
    root.classList.add("play-live");
  }

  // --- The class prior -----------------------------------------------------------------------

  const READINGS = [
    ["truth", "truth, I(X;Y)"], ["label_entropy", "ceiling, H(Y)"],
    ["log_m", "log M − CE"], ["entropy", "H(Y) − CE"], ["pc", "PC-softmax"],
  ];
  const CLASSIFIERS = [
    ["best", "the best possible"], ["cautious", "too cautious: logits halved"],
    ["sure", "too sure: logits doubled"], ["even", "made for even classes"],
  ];

  function prior(root) {
    const d = data.prior, last = d.imbalance.length - 1;
    const range = slider(last, last / 2), select = choice(CLASSIFIERS);
    const amount = html("output", { class: "play-output" });
    const sentence = html("p", { class: "play-sentence", "aria-live": "polite" });
    const rows = {};
    const body = READINGS.map(([key, text]) => {
      rows[key] = [html("td", { class: "number", "data-fact": key }), html("td")];
      const swatch = html("span", { class: `play-swatch play-${key}`, "aria-hidden": "true" });
      if (colours[key] && key !== "truth") swatch.style.borderColor = colours[key];
      return html("tr", {}, html("th", { scope: "row" }, swatch, text), ...rows[key]);
    });
    const table = html("table", { class: "play-table" },
      html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "reading"),
        html("th", { scope: "col", class: "number" }, "nats"),
        html("th", { scope: "col" }, "against the truth"))),
      html("tbody", {}, ...body));

    const at = () => {
      const i = Number(range.value), r = d.readings[select.value];
      return {
        i, truth: d.truth[i], label_entropy: d.label_entropy[i],
        log_m: r.log_m[i], entropy: r.entropy[i], pc: r.pc[i],
      };
    };
    const shape = () => {
      const factor = d.imbalance[Number(range.value)];
      return `${factor < 9.95 ? factor.toFixed(1).replace(".0", "") : Math.round(factor)} : 1`;
    };

    const task = panel(250, (picture, width, height) => {
      const bottom = height - 38, x = (v) => width * (v + 7) / 14;
      const y = (v) => bottom - (bottom - 24) * v / 0.28;
      d.means.forEach((mean, k) => {
        const weight = d.prior[Number(range.value)][k], points = [];
        for (let v = -7; v <= 7.001; v += 0.1) {
          const density = weight * Math.exp(-0.5 * (v - mean) ** 2) / Math.sqrt(2 * Math.PI);
          points.push(`${x(v).toFixed(1)},${y(density).toFixed(1)}`);
        }
        const path = `M${x(-7)},${bottom}L${points.join("L")}L${x(7)},${bottom}Z`;
        picture.append(svg("path", { d: path, class: "play-class" }));
      });
      picture.append(svg("line", { x1: 0, x2: width, y1: bottom, y2: bottom, class: "play-axis" }));
      for (const mean of d.means) {
        const text = svg("text", { x: x(mean), y: bottom + 16, "text-anchor": "middle" });
        text.textContent = number(mean, 0);
        picture.append(text);
      }
      const title = svg("text", { x: 0, y: 12 });
      title.textContent = "five classes, and how likely they are";
      picture.append(title);
      const shares = d.prior[Number(range.value)].map(percent).join(", ");
      return `Densities of five classes, weighted by their probabilities: ${shares}.`;
    });

    const chart = panel(250, (picture, width, height) => {
      const left = 30, right = width - 12, top = 14, bottom = height - 38;
      const x = (i) => left + (right - left) * i / last;
      const y = (v) => bottom - (bottom - top) * v / 1.7;
      const line = (values) => "M" + values.map((v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join("L");
      const put = (tag, attributes, text) => {
        const node = svg(tag, attributes);
        if (text) node.textContent = text;
        picture.append(node);
      };
      put("path", {
        d: `${line(d.label_entropy)}L${right},${top}L${left},${top}Z`, class: "play-impossible",
      });
      for (const v of [0, 0.5, 1, 1.5]) {
        put("line", { x1: left, x2: right, y1: y(v), y2: y(v), class: "play-grid" });
        put("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, v.toFixed(1));
      }
      for (const i of [0, last / 2, last]) {
        put("text", { x: x(i), y: bottom + 16, "text-anchor": i === last ? "end" : "middle" },
          `${Math.round(d.imbalance[i])} : 1`);
      }
      put("text", { x: (left + right) / 2, y: height - 4, "text-anchor": "middle" },
        "most frequent class : rarest class");
      put("text", { x: right - 4, y: y(1.5) - 4, "text-anchor": "end" }, "above H(Y): impossible");
      put("text", { x: left + 4, y: y(0) - 6 }, "nats");
      const now = at(), readings = d.readings[select.value];
      put("line", { x1: x(now.i), x2: x(now.i), y1: top, y2: bottom, class: "play-now" });
      put("path", { d: line(d.label_entropy), class: "play-line play-label_entropy" });
      for (const key of ["log_m", "entropy", "pc"]) {
        put("path", { d: line(readings[key]), class: `play-line play-${key}`, stroke: colours[key] });
      }
      put("path", { d: line(d.truth), class: "play-line play-truth" });
      for (const key of ["log_m", "entropy", "pc"]) {
        put("circle", { cx: x(now.i), cy: y(now[key]), r: key === "entropy" ? 7 : 4.5, class: "play-dot", fill: colours[key] });
      }
      put("circle", { cx: x(now.i), cy: y(now.truth), r: 2, class: "play-dot-truth" });
      return `Estimates against class imbalance, at ${shape()}: ` + READINGS.map(
        ([key, text]) => `${text} ${number(now[key])}`).join("; ") + " nats.";
    });

    function verdict(value, now) {
      const off = value - now.truth;
      if (Math.abs(off) < 0.0015) return "equal to it";
      if (off < 0) return `${number(-off)} below`;
      return `${number(off)} above` + (value > now.label_entropy ? ", and above the ceiling" : "");
    }

    function update() {
      const now = at();
      amount.textContent = shape();
      range.setAttribute("aria-valuetext", `${shape()}, most frequent class to rarest`);
      for (const [key] of READINGS) {
        rows[key][0].textContent = number(now[key], 3);
        if (colours[key] && key !== "truth") rows[key][1].textContent = verdict(now[key], now);
      }
      rows.log_m[0].parentNode.classList.toggle("play-wrong", now.log_m > now.truth + 0.0015);
      const high = now.log_m > now.truth + 0.0015;
      sentence.textContent =
        `At ${shape()} an input tells ${number(now.truth)} nats about its class. ` +
        (high
          ? `log M − CE reads ${number(now.log_m)}, ${number(now.log_m - now.truth)} too many` +
            (now.log_m > now.label_entropy
              ? ` and more than the label has to tell (${number(now.label_entropy)}). ` : ". ")
          : `log M − CE reads ${number(now.log_m)}. `) +
        `H(Y) − CE reads ${number(now.entropy)} and PC-softmax ${number(now.pc)}: never too many.`;
      task.redraw();
      chart.redraw();
    }
    range.addEventListener("input", update);
    select.addEventListener("change", update);
    show(root,
      html("div", { class: "play-controls" },
        labelled("Most frequent class to rarest", range, amount), labelled("Classifier", select)),
      html("div", { class: "play-panels play-two" }, task.holder, chart.holder),
      sentence, table);
    update();
  }

  // --- Scenes ----------------------------------------------------------------------------------

  const scenes = data.scenes.scenes;

  const sceneChoice = () => choice(scenes.map((s, i) =>
    [i, `${i + 1}: a ${s.digit}` + (s.predicted === s.digit ? "" : `, taken for a ${s.predicted}`)]));
  const mapChoice = () => choice(Object.entries(NAMES));

  /* Pixels as a picture, from a function of their index that gives red, green, blue, opacity. */
  function pixels(colour) {
    const canvas = html("canvas", { width: SIZE, height: SIZE });
    const context = canvas.getContext("2d"), image = context.createImageData(SIZE, SIZE);
    for (let i = 0; i < SIZE * SIZE; i++) image.data.set(colour(i), 4 * i);
    context.putImageData(image, 0, 0);
    return svg("image", { href: canvas.toDataURL(), width: SIZE, height: SIZE, class: "play-pixels" });
  }
  const scenePicture = (scene) => pixels((i) => {
    const grey = 17 * parseInt(scene.image[i], 16);
    return [grey, grey, grey, 255];
  });
  function frame(box, colour, style) {
    const [x0, y0, x1, y1] = box;
    const place = { x: x0, y: y0, width: x1 - x0, height: y1 - y0, fill: "none" };
    return [svg("rect", { ...place, class: "play-halo" }),
      svg("rect", { ...place, class: `play-box ${style || ""}`, stroke: colour })];
  }

  /* Weights of bicubic enlargement, as PyTorch's (a = -0.75, pixels at their centres). */
  const BICUBIC = Array.from({ length: SIZE }, (_, pixel) => {
    const a = -0.75, row = new Array(CELLS).fill(0);
    const source = (pixel + 0.5) / SCALE - 0.5, first = Math.floor(source), t = source - first;
    const near = (x) => ((a + 2) * x - (a + 3)) * x * x + 1;
    const far = (x) => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
    [far(t + 1), near(t), near(1 - t), far(2 - t)].forEach((weight, k) => {
      row[Math.min(CELLS - 1, Math.max(0, first - 1 + k))] += weight;
    });
    return row;
  });

  /* A map as bytes at the size of the scene, the darkest 0 and the brightest 255. */
  function bytes(cells) {
    const scores = [];
    for (let y = 0; y < SIZE; y++) {
      const row = Array.from({ length: CELLS }, (_, j) =>
        sum(BICUBIC[y].map((weight, i) => (weight ? weight * cells[CELLS * i + j] : 0))));
      for (let x = 0; x < SIZE; x++) scores.push(sum(BICUBIC[x].map((weight, j) => weight * row[j])));
    }
    const low = Math.min(...scores), spread = Math.max(...scores) - low;
    return scores.map((v) => (spread > 0 ? Math.floor(255 * ((v - low) / spread)) : 0));
  }
  function magma(byte) {
    const at = byte / 255 * (MAGMA.length - 1), i = Math.min(MAGMA.length - 2, Math.floor(at));
    return MAGMA[i].map((from, c) => Math.round(from + (at - i) * (MAGMA[i + 1][c] - from)));
  }

  function overlap(a, b) {
    const area = (box) => Math.max(0, box[2] - box[0]) * Math.max(0, box[3] - box[1]);
    const shared = area([Math.max(a[0], b[0]), Math.max(a[1], b[1]),
      Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
    return shared / (area(a) + area(b) - shared);
  }

  // --- The threshold ---------------------------------------------------------------------------

  function threshold(root) {
    const steps = data.scenes.thresholds, total = data.scenes.count;
    const range = slider(steps - 1, 0.4 * steps), scene = sceneChoice(), map = mapChoice();
    map.value = "infocam";
    scene.value = "1";
    const amount = html("output", { class: "play-output" });
    const sentence = html("p", { class: "play-sentence", "aria-live": "polite" });
    const seen = square("scene"), drawn = square("map");
    const found = facts([["region", "region above it"], ["box", "box, pixels"],
      ["iou", "IoU"], ["accuracy", "scenes right"],
      ["best", "best threshold"]]);
    let cache = "", levels = [];

    const chart = panel(220, (picture, width, height) => {
      const left = 42, right = width - 8, top = 26, bottom = height - 36;
      const x = (t) => left + (right - left) * t, y = (v) => bottom - (bottom - top) * v;
      const put = (tag, attributes, text) => {
        const node = svg(tag, attributes);
        if (text) node.textContent = text;
        picture.append(node);
      };
      for (const v of [0, 0.25, 0.5, 0.75, 1]) {
        put("line", { x1: left, x2: right, y1: y(v), y2: y(v), class: "play-grid" });
        put("text", { x: left - 5, y: y(v) + 4, "text-anchor": "end" }, `${100 * v}%`);
      }
      for (const t of [0, 0.5, 1]) {
        put("text", { x: x(t), y: bottom + 15, "text-anchor": t === 1 ? "end" : "middle" }, t.toFixed(1));
      }
      put("text", { x: (left + right) / 2, y: height - 4, "text-anchor": "middle" }, "threshold");
      put("text", { x: 0, y: 12 }, "scenes that are right");
      const i = Number(range.value);
      put("line", { x1: x(i / steps), x2: x(i / steps), y1: top, y2: bottom, class: "play-now" });
      const order = Object.keys(NAMES).filter((k) => k !== map.value).concat(map.value);
      for (const key of order) {
        const points = data.scenes.curves[key].map((right_, k) => `${x(k / steps).toFixed(1)},${y(right_ / total).toFixed(1)}`);
        put("path", {
          d: "M" + points.join("L"), stroke: colours[key],
          class: `play-line play-${key} ${key === map.value ? "" : "play-faint"}`,
        });
      }
      const accuracy = data.scenes.curves[map.value][i] / total;
      put("circle", { cx: x(i / steps), cy: y(accuracy), r: 5.5, class: "play-dot", fill: colours[map.value] });
      return `Share of ${total} scenes that are right against the threshold, for ${NAMES[map.value]}: ` +
        `${percent(accuracy)} at ${(i / steps).toFixed(2)}. The other maps are drawn faintly.`;
    });

    function update() {
      const i = Number(range.value), t = (i / steps).toFixed(2);
      const current = scenes[Number(scene.value)], kind = current.maps[map.value];
      const key = `${scene.value} ${map.value}`;
      if (key !== cache) levels = bytes(kind.cells);
      cache = key;
      // As the evaluator: above the threshold's share of the maximum, cut to a whole byte.
      const level = Math.floor(i * (1 / steps) * Math.max(...levels));
      const above = levels.map((v) => v > level), inside = above.filter(Boolean).length;
      const box = kind.boxes.slice(4 * i, 4 * i + 4), iou = overlap(box, current.box);
      const colour = colours[map.value];

      seen.picture.replaceChildren(scenePicture(current), ...frame(current.box, colours.true_box),
        ...frame(box, colour, "play-dashed"));
      seen.picture.setAttribute("aria-label",
        `Scene with a ${current.digit}; true box ${current.box.join(", ")}; box of the map ${box.join(", ")}.`);
      let edge = "";
      for (let p = 0; p < SIZE * SIZE; p++) {
        const px = p % SIZE, py = (p - px) / SIZE;
        if (above[p] !== (px + 1 < SIZE && above[p + 1])) edge += `M${px + 1},${py}v1`;
        if (px === 0 && above[p]) edge += `M0,${py}v1`;
        if (above[p] !== (py + 1 < SIZE && above[p + SIZE])) edge += `M${px},${py + 1}h1`;
        if (py === 0 && above[p]) edge += `M${px},0h1`;
      }
      drawn.picture.replaceChildren(
        pixels((p) => [...magma(levels[p]), above[p] ? 255 : 90]),
        svg("path", { d: edge, class: "play-edge" }),
        ...frame(current.box, colours.true_box), ...frame(box, colour, "play-dashed"));
      drawn.picture.setAttribute("aria-label",
        `${NAMES[map.value]} of the ${current.digit}: the region above ${t} covers ${percent(inside / SIZE ** 2)} of the scene.`);
      drawn.caption.textContent = NAMES[map.value];

      const curve = data.scenes.curves[map.value], best = curve.indexOf(Math.max(...curve));
      amount.textContent = t;
      range.setAttribute("aria-valuetext", t);
      found.values.region.textContent = `${percent(inside / SIZE ** 2)} of all`;
      found.values.region.dataset.pixels = inside;
      found.values.box.textContent = `${box[2] - box[0]} × ${box[3] - box[1]}`;
      found.values.box.dataset.box = box.join(" ");
      found.values.iou.textContent = `${number(iou)} ${iou >= 0.5 ? "✓" : "✗"}`;
      found.values.accuracy.textContent = percent(curve[i] / total);
      found.values.best.textContent = `${(best / steps).toFixed(2)}, ${percent(curve[best] / total)}`;
      sentence.textContent = `At ${t} the box of ${NAMES[map.value]} has an IoU of ${number(iou)} ` +
        `with the true box: ${iou >= 0.5 ? "right" : "wrong"}. ` +
        `Of all ${total} scenes ${curve[i]} are right.`;
      chart.redraw();
    }
    range.addEventListener("input", update);
    for (const select of [scene, map]) select.addEventListener("change", update);
    show(root,
      html("div", { class: "play-controls play-three" },
        labelled("Threshold", range, amount), labelled("Map", map), labelled("Scene", scene)),
      html("div", { class: "play-panels play-squares" }, seen.holder, drawn.holder, chart.holder),
      html("p", { class: "play-legend" },
        html("span", { class: "play-key play-key-true" }, "true box"), " ",
        html("span", { class: "play-key play-key-map" }, "box of the map"), " ",
        "faded: below the threshold · thin: the other maps"),
      sentence, found.list);
    root.style.setProperty("--play-true", colours.true_box);
    update();
  }

  // --- Nats, cell by cell ----------------------------------------------------------------------

  /* Share of a cell's area that lies in a box. */
  function share(box, row, column) {
    const along = (low, high, from) => Math.max(0, Math.min(high, from + SCALE) - Math.max(low, from)) / SCALE;
    return along(box[1], box[3], SCALE * row) * along(box[0], box[2], SCALE * column);
  }

  function nats(root) {
    const scene = sceneChoice(), map = mapChoice();
    map.value = "rivals_1";
    scene.value = "1";
    const cursor = { row: 1, column: 9 };
    const sentence = html("p", { class: "play-sentence", "aria-live": "polite" });
    const account = html("p", { class: "play-account" });
    const seen = square("scene"), drawn = square("");
    const pad = html("div", { class: "play-pad", tabindex: 0, role: "application",
      "aria-roledescription": "map of cells",
      "aria-label": "Map in nats a cell: arrow keys move from cell to cell" }, drawn.picture);
    drawn.holder.prepend(pad);
    const found = facts([["cell", "this cell"], ["row", "its row"], ["inside", "true box"],
      ["outside", "outside of it"], ["total", "whole map"]]);
    const scale = html("span", { class: "play-scale", "aria-hidden": "true" });
    const low = html("span"), high = html("span");

    const others = (kind) => (kind.against.length === 1
      ? `PMI(x; ${kind.against[0]})`
      : kind.against.length === 9 ? "mean PMI of the nine others"
        : `mean PMI of ${kind.against.join(", ")}`);

    function update() {
      const current = scenes[Number(scene.value)], kind = current.maps[map.value];
      const cells = kind.cells.map((v) => v / 1e4), top = Math.max(...cells.map(Math.abs));
      const { row, column } = cursor, value = cells[CELLS * row + column];
      const rowSum = sum(cells.slice(CELLS * row, CELLS * (row + 1))), total = sum(cells);
      const inside = sum(cells.map((v, i) =>
        v * share(current.box, Math.floor(i / CELLS), i % CELLS)));

      const marks = () => [
        svg("rect", { x: 0, y: SCALE * row, width: SIZE, height: SCALE, class: "play-row" }),
        ...frame(current.box, colours.true_box),
        svg("rect", { x: SCALE * column, y: SCALE * row, width: SCALE, height: SCALE, class: "play-cursor-halo" }),
        svg("rect", { x: SCALE * column, y: SCALE * row, width: SCALE, height: SCALE, class: "play-cursor" }),
      ];
      seen.picture.replaceChildren(scenePicture(current), ...marks());
      drawn.picture.replaceChildren(
        svg("rect", { width: SIZE, height: SIZE, class: "play-ground" }),
        ...cells.map((v, i) => svg("rect", {
          x: SCALE * (i % CELLS), y: SCALE * Math.floor(i / CELLS), width: SCALE, height: SCALE,
          class: v > 0 ? "play-for" : "play-against", "fill-opacity": (Math.abs(v) / top).toFixed(3),
        })), ...marks());
      const against = kind.against.length ? ` against ${
        kind.against.length === 9 ? "all others" : kind.against.join(", ")}` : "";
      drawn.caption.textContent = `${NAMES[map.value]}: ${current.digit}${against}`;
      seen.picture.setAttribute("aria-label", `Scene with a ${current.digit}; true box ${
        current.box.join(", ")}; cursor at row ${row + 1}, column ${column + 1}.`);
      drawn.picture.setAttribute("aria-label", `${NAMES[map.value]} of the ${current.digit}${against}: ` +
        `row ${row + 1}, column ${column + 1}, ${signed(value)} nats.`);
      found.values.cell.textContent = signed(value);
      found.values.row.textContent = signed(rowSum);
      found.values.inside.textContent = signed(inside);
      found.values.outside.textContent = signed(total - inside);
      found.values.total.textContent = signed(total);
      low.textContent = `${number(-top)} against`;
      high.textContent = `${number(top)} for`;
      sentence.textContent = `Row ${row + 1}, column ${column + 1}: ${signed(value)} nats ` +
        `${value >= 0 ? "for" : "against"} the ${current.digit}. The true box holds ${number(inside)} ` +
        `of ${number(total)}.`;
      const term = (value) => (value < 0 ? `(${number(value)})` : number(value));
      account.replaceChildren(...(kind.against.length
        ? [`cells ${number(total)} + biases ${term(kind.bias)} − log prior ratio ${term(kind.prior)} ` +
             `= ${number(total + kind.bias - kind.prior)} nats`,
          html("br"),
          `PMI(x; ${current.digit}) − ${others(kind)} = ${number(kind.pmi)} nats`]
        : [`cells ${number(total)} + bias ${term(kind.bias)} = ${number(total + kind.bias)}`,
          html("br"),
          `logit of ${current.digit} = ${number(kind.logit)}: no information by itself, ` +
            "only differences of logits are"]));
    }

    function point(event) {
      const place = event.currentTarget.getBoundingClientRect();
      const at = (offset, length) => Math.min(CELLS - 1, Math.max(0, Math.floor(CELLS * offset / length)));
      const row = at(event.clientY - place.top, place.height);
      const column = at(event.clientX - place.left, place.width);
      if (row === cursor.row && column === cursor.column) return;
      Object.assign(cursor, { row, column });
      update();
    }
    for (const picture of [seen.picture, drawn.picture]) {
      picture.classList.add("play-touch");
      for (const kind of ["pointerdown", "pointermove"]) picture.addEventListener(kind, point);
    }
    const MOVES = {
      ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
      Home: [0, -CELLS], End: [0, CELLS],
    };
    pad.addEventListener("keydown", (event) => {
      const move = MOVES[event.key];
      if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault(); // the page stays where it is
      const clamp = (v) => Math.min(CELLS - 1, Math.max(0, v));
      Object.assign(cursor, { row: clamp(cursor.row + move[0]), column: clamp(cursor.column + move[1]) });
      update();
    });
    for (const select of [scene, map]) select.addEventListener("change", update);
    show(root,
      html("div", { class: "play-controls" }, labelled("Map", map), labelled("Scene", scene)),
      html("div", { class: "play-panels play-pair" }, seen.holder, drawn.holder),
      html("p", { class: "play-legend" }, low, scale, high),
      sentence, found.list, account);
    update();
  }

  // --- Start -----------------------------------------------------------------------------------

  const figures = { prior, threshold, nats };
  function start() {
    for (const [name, build] of Object.entries(figures)) {
      for (const root of document.querySelectorAll(`.play-${name}-figure`)) build(root);
    }
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
