"use strict";
(function () {
  document.querySelectorAll("button.copy").forEach(function (button) {
    const code = document.getElementById(button.dataset.of);
    const said = button.parentNode.querySelector("[role=status]");
    let timer = 0;
    function tell(word, text) {
      button.textContent = word;
      said.textContent = text;
      clearTimeout(timer);
      timer = setTimeout(function () { button.textContent = "Copy"; said.textContent = ""; }, 2500);
    }
    function select() {
      const range = document.createRange();
      range.selectNodeContents(code);
      const selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      return selection;
    }
    function copyOld() { // Where the page came over plain http.
      const selection = select();
      if (document.execCommand("copy")) {
        selection.removeAllRanges();
        tell("Copied", "Copied to the clipboard");
      } else {
        tell("Selected", "Selected: press Control or Command with C");
      }
    }
    button.hidden = false;
    button.addEventListener("click", function () {
      if (!navigator.clipboard) { copyOld(); return; }
      navigator.clipboard.writeText(code.textContent).then(function () {
        tell("Copied", "Copied to the clipboard");
      }, copyOld);
    });
  });

  const form = document.getElementById("find");
  if (!form) { return; }
  const list = document.getElementById("datasets");
  const cards = Array.from(list.children);
  const count = document.getElementById("count");
  const all = count.textContent;
  const nothing = document.getElementById("nothing");
  const field = function (id) { return document.getElementById(id); };
  const by = {
    "": function (a, b) { return a.dataset.name < b.dataset.name ? -1 : 1; },
    size: function (a, b) { return b.dataset.size - a.dataset.size; },
    rows: function (a, b) { return b.dataset.rows - a.dataset.rows; },
    made: function (a, b) { return a.dataset.made < b.dataset.made ? 1 : -1; }
  };

  function has(told, wanted) { return !wanted || told.split("|").includes(wanted); }
  function find() {
    const words = field("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    cards.forEach(function (card) {
      const data = card.dataset;
      const fits = words.every(function (word) { return data.search.includes(word); }) &&
        has(data.kinds, field("kind").value) && has(data.licenses, field("license").value) &&
        has(data.access, field("access").value);
      card.hidden = !fits;
      shown += fits;
    });
    count.textContent = shown === cards.length ? all : shown + " of " + all;
    nothing.hidden = shown > 0;
  }
  const fields = ["words", "kind", "license", "access", "order"];
  function keep() { // In the address, so that a browser that goes back, or a link, finds the same.
    const asked = new URLSearchParams();
    fields.forEach(function (id) { if (field(id).value) { asked.set(id, field(id).value); } });
    history.replaceState(null, "", "#" + asked);
  }
  function recall() {
    if (location.hash && !location.hash.includes("=")) { return; } // A link within the page.
    const asked = new URLSearchParams(location.hash.slice(1));
    fields.forEach(function (id) { field(id).value = asked.get(id) || ""; });
    find();
    order();
  }
  function order() {
    cards.slice().sort(by[field("order").value]).forEach(function (card) { list.append(card); });
  }
  function clear() { form.reset(); find(); order(); keep(); field("words").focus(); }

  form.hidden = false;
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  form.addEventListener("input", function () { find(); keep(); });
  field("order").addEventListener("change", order);
  field("reset").addEventListener("click", clear);
  addEventListener("pageshow", recall);
  addEventListener("hashchange", recall);
  document.addEventListener("keydown", function (event) {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      field("words").focus();
    } else if (event.key === "Escape" && document.activeElement === field("words")) {
      clear();
    }
  });
})();
