// What a browser adds to pages that work without it: seats to click on, pages that keep themselves up to date.
// Nothing of anybody's is ever made into markup here: what the server has made, which escapes everything, is put in as it comes.
"use strict";
(() => {
  // --- a form is sent once -------------------------------------------------------------------------------------------
  addEventListener("submit", event => {
    const form = event.target;
    if (!form.matches("[data-once]")) return;
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "1";
    form.querySelectorAll("button").forEach(button => button.setAttribute("aria-disabled", "true"));
  });
  // Coming back by the browser's button: the form may be sent again, and is the same order.
  addEventListener("pageshow", () => document.querySelectorAll("[data-sent]").forEach(form => {
    delete form.dataset.sent;
    form.querySelectorAll("button").forEach(button => button.removeAttribute("aria-disabled"));
  }));

  // --- a part that keeps itself up to date ---------------------------------------------------------------------------
  const POLL_MS = 1500, RETRY_MS = 4000, PLACE_MS = 10000;
  const offline = document.getElementById("offline");
  const part = () => document.getElementById("progress");
  const still = html => html.replace(/data-left="\d+">[\d:]+/g, "");
  let shown = part() ? still(part().innerHTML) : "", stream = null, asked = 0;

  async function refresh() {
    const now = ++asked;
    try {
      const answer = await fetch(part().dataset.at || location.href, { headers: { accept: "text/html" }, cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("progress");
      if (now !== asked || !fresh) return;
      offline.hidden = true;
      put(fresh, page.title);
      return true;
    } catch (_) {
      offline.hidden = false;
      return false;
    }
  }

  function put(fresh, title) {
    const old = part(), html = still(fresh.innerHTML);
    // Somebody is at a form here: it stays as it is, unless how things stand has changed.
    const same = html === shown;
    shown = html;
    if (!same) {
      const opened = [...old.querySelectorAll("details")].map(details => details.open);
      old.replaceWith(document.importNode(fresh, true));
      part().querySelectorAll("details").forEach((details, place) => { details.open = !!opened[place]; });
      document.title = title;
    } else {
      const left = fresh.querySelector("[data-left]"), here = old.querySelector("[data-left]");
      if (left && here) here.dataset.left = left.dataset.left;
      for (const name of ["poll", "stream", "go"]) if (!(name in fresh.dataset)) delete old.dataset[name];
    }
    began = performance.now();
  }

  async function follow() {
    const here = part();
    if (!here) return;
    if ("go" in here.dataset && stream) return location.assign(here.dataset.go);
    if (!("poll" in here.dataset)) return;
    const pause = Number(here.dataset.poll) || POLL_MS;
    setTimeout(async () => { if (!document.hidden) await refresh(); follow(); }, pause);
  }

  // Back from the bank's page, or from another: how things stand is seen at once.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && part() && "poll" in part().dataset) refresh();
  });

  function line() {
    const here = part();
    if (!here || !here.dataset.stream) return;
    stream = new EventSource(here.dataset.stream);
    let due = 0, waits = false;
    const look = pause => {
      clearTimeout(due);
      due = setTimeout(async () => {
        waits = false;
        if (await refresh() === false) return look(RETRY_MS);
        if ("go" in part().dataset) { stream.close(); follow(); }
      }, pause);
    };
    // How many are before one, the stream says itself; the page is asked for what else it tells now and then, not by all at once.
    stream.addEventListener("place", event => {
      const ahead = document.querySelector(".ahead b"), told = JSON.parse(event.data);
      if (ahead && Number.isInteger(told.ahead)) ahead.textContent = told.ahead.toLocaleString("en");
      if (!waits) { waits = true; look(PLACE_MS + Math.random() * PLACE_MS); }
    });
    // The stream ends with this, and says it again to whoever comes back: until the page agrees, each time is a reason to look.
    for (const name of ["admitted", "over"]) stream.addEventListener(name, () => { waits = true; look(100); });
    stream.onerror = () => { if (stream.readyState === EventSource.CLOSED) setTimeout(line, RETRY_MS); };
  }

  // --- how long the seats are held: by the server's clock, counted from when the page came ----------------------------
  let began = performance.now();
  setInterval(() => {
    const clock = document.querySelector("[data-left]");
    if (!clock) return;
    const left = Math.max(0, Math.round(Number(clock.dataset.left) - (performance.now() - began) / 1000));
    clock.textContent = Math.floor(left / 60) + ":" + String(left % 60).padStart(2, "0");
    clock.closest(".hold").classList.toggle("note", left < 120);
  }, 1000);
  follow();
  line();

  // --- seats ----------------------------------------------------------------------------------------------------------
  const picker = document.getElementById("picker");
  if (!picker) return;
  const said = document.getElementById("said"), sum = document.getElementById("sum");
  const limit = Number(picker.dataset.limit);
  const money = new Intl.NumberFormat("en", { style: "currency", currency: picker.dataset.currency });
  const boxes = new Map([...picker.querySelectorAll("input[name=seat]")].map(box => [box.value, box]));
  const seats = new Map();
  const figure = picker.querySelector(".map"), sheet = figure.querySelector(".sheet");

  function say(text) { said.textContent = text; said.hidden = !text; }
  const picked = () => [...boxes.values()].filter(box => box.checked);

  function total() {
    const chosen = picked();
    const words = chosen.length === 0 ? `Choose up to ${limit} seats.` : chosen.length + (chosen.length === 1 ? " seat: " : " seats: ");
    const names = chosen.map(box => box.value).join(", ");
    const prices = chosen.map(box => box.closest("fieldset")).filter(Boolean);
    const cents = prices.reduce((all, row) => all + Math.round(Number(row.dataset.price) * 100), 0);
    const price = prices.length === chosen.length && cents ? " · " + money.format(cents / 100) : "";
    sum.textContent = words + names + price;
    sum.parentElement.classList.toggle("some", chosen.length > 0);
  }

  function mark(id) {
    const seat = seats.get(id), box = boxes.get(id);
    if (seat) seat.setAttribute("aria-checked", String(!!box && box.checked));
  }

  function toggle(id, on) {
    let box = boxes.get(id);
    if (!box) {
      // A seat of a row that this page's list has no room for.
      box = document.createElement("input");
      Object.assign(box, { type: "checkbox", name: "seat", value: id, hidden: true });
      picker.append(box);
      boxes.set(id, box);
    }
    if (box.disabled) return;
    box.checked = on;
    if (on && picked().length > limit) {
      box.checked = false;
      say(`One order has at most ${limit} seats.`);
    } else say("");
    mark(id);
    total();
  }

  picker.addEventListener("change", event => {
    if (event.target.name === "seat") toggle(event.target.value, event.target.checked);
  });
  picker.addEventListener("submit", event => {
    if (picked().length === 0) { event.preventDefault(); say("Choose a seat first."); }
  });

  // --- the map --------------------------------------------------------------------------------------------------------
  async function draw() {
    if (!figure.dataset.map) return;
    const answer = await fetch(figure.dataset.map).catch(() => null);
    if (!answer || !answer.ok) return;
    const svg = new DOMParser().parseFromString(await answer.text(), "image/svg+xml").documentElement;
    if (svg.nodeName !== "svg") return;
    sheet.replaceChildren(document.importNode(svg, true));
    seats.clear();
    sheet.querySelectorAll(".seat").forEach(seat => seats.set(seat.dataset.id, seat));
    seats.forEach((_, id) => mark(id));
    const first = sheet.querySelector(".seat.free");
    if (first) first.setAttribute("tabindex", "0");
    const list = picker.querySelector(".list");
    if (list && !list.dataset.kept) { list.open = false; list.dataset.kept = "1"; }
    steer(sheet.querySelector("svg"));
  }

  const isFree = seat => seat && seat.classList.contains("free");
  const press = seat => { if (isFree(seat)) toggle(seat.dataset.id, seat.getAttribute("aria-checked") !== "true"); };
  const middle = seat => { const box = seat.querySelector("rect"); return [Number(box.getAttribute("x")), Number(box.getAttribute("y"))]; };

  // The nearest free seat in this direction; what is beside it counts twice as far.
  function beyond(from, dx, dy) {
    const [x, y] = middle(from);
    let best = null, least = Infinity;
    for (const seat of seats.values()) {
      if (seat === from || !isFree(seat)) continue;
      const [sx, sy] = middle(seat), along = (sx - x) * dx + (sy - y) * dy, aside = Math.abs((sx - x) * dy) + Math.abs((sy - y) * dx);
      if (along > 1 && along + 2 * aside < least) { least = along + 2 * aside; best = seat; }
    }
    return best;
  }

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  sheet.addEventListener("keydown", event => {
    const seat = event.target.closest(".seat");
    if (!seat) return;
    if (event.key === " " || event.key === "Enter") { event.preventDefault(); press(seat); }
    const arrow = ARROWS[event.key];
    const next = arrow && beyond(seat, ...arrow);
    if (arrow) event.preventDefault();
    if (next) { seat.setAttribute("tabindex", "-1"); next.setAttribute("tabindex", "0"); next.focus(); }
  });

  function steer(svg) {
    const whole = svg.viewBox.baseVal, all = [whole.x, whole.y, whole.width, whole.height];
    let view = [...all], from = null, moved = 0, apart = 0;
    const fingers = new Map();
    const show = () => svg.setAttribute("viewBox", view.join(" "));
    const at = event => { const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse()); return [p.x, p.y]; };
    function zoom(factor, x = view[0] + view[2] / 2, y = view[1] + view[3] / 2) {
      const width = Math.min(all[2], Math.max(all[2] / 12, view[2] * factor)), by = width / view[2];
      view = [x - (x - view[0]) * by, y - (y - view[1]) * by, width, view[3] * by];
      if (width === all[2]) view = [...all];
      show();
    }
    const buttons = document.createElement("div");
    buttons.className = "zoom";
    for (const [text, name, factor] of [["+", "Zoom in", 0.6], ["−", "Zoom out", 1 / 0.6], ["⤢", "Show all", 1e9]]) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: text, title: name });
      button.setAttribute("aria-label", name);
      button.addEventListener("click", () => zoom(factor));
      buttons.append(button);
    }
    figure.querySelectorAll(".zoom").forEach(old => old.remove());
    figure.append(buttons);
    // On a phone a large section would be too small to touch: it begins where the stage is, and the whole is one touch away.
    const SEAT = 24, TOUCH_PX = 20, seat = svg.clientWidth / all[2] * SEAT;
    if (seat > 0 && seat < TOUCH_PX * 0.75) zoom(seat / TOUCH_PX, all[2] / 2, 0);
    svg.addEventListener("wheel", event => {
      if (!event.ctrlKey && view[2] === all[2] && event.deltaY > 0) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 0.85 : 1.18, ...at(event));
    }, { passive: false });
    svg.addEventListener("pointerdown", event => { fingers.set(event.pointerId, event); from = at(event); moved = 0; apart = 0; });
    svg.addEventListener("pointermove", event => {
      if (!fingers.has(event.pointerId)) return;
      fingers.set(event.pointerId, event);
      if (fingers.size === 2) {
        const [one, other] = [...fingers.values()], now = Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
        if (apart) zoom(apart / now, ...at({ clientX: (one.clientX + other.clientX) / 2, clientY: (one.clientY + other.clientY) / 2 }));
        apart = now;
        moved = 99;
        return;
      }
      const [x, y] = at(event), far = Math.hypot(x - from[0], y - from[1]);
      moved = Math.max(moved, far);
      if (moved < 6) return;
      svg.classList.add("drag");
      view = [view[0] + from[0] - x, view[1] + from[1] - y, view[2], view[3]];
      show();
    });
    const lift = event => { fingers.delete(event.pointerId); svg.classList.remove("drag"); };
    svg.addEventListener("pointerup", lift);
    svg.addEventListener("pointercancel", lift);
    svg.addEventListener("pointerleave", lift);
    svg.addEventListener("click", event => { if (moved < 6) press(event.target.closest(".seat")); });
  }

  // --- what others do -------------------------------------------------------------------------------------------------
  function change(id, state) {
    const seat = seats.get(id), box = boxes.get(id), free = state === "free";
    if (seat) {
      seat.setAttribute("class", "seat " + state);
      seat.setAttribute("aria-disabled", String(!free));
    }
    if (box) {
      const mine = box.checked;
      box.disabled = !free;
      if (!free && mine) {
        box.checked = false;
        say(`Seat ${id} has just been taken by somebody else. Choose another one.`);
        total();
      }
    }
    mark(id);
  }

  function listen() {
    const live = new EventSource(picker.dataset.live);
    live.addEventListener("seats", event => {
      const told = JSON.parse(event.data);
      (told.available || []).forEach(id => change(id, "free"));
      (told.held || []).forEach(id => change(id, "held"));
      (told.sold || []).forEach(id => change(id, "sold"));
      picker.dataset.moved = String(Number(picker.dataset.moved || 0) + 1);
    });
    live.addEventListener("reload", () => draw());
    live.onopen = () => { picker.dataset.listening = "1"; };
    live.onerror = () => { if (live.readyState === EventSource.CLOSED) setTimeout(listen, RETRY_MS); };
  }
  // What was ticked before the page was left, the browser ticks again.
  total();
  draw().then(listen);
})();
