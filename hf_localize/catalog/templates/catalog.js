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
    name: function (a, b) { return a.dataset.name < b.dataset.name ? -1 : 1; },
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
  function order() {
    cards.slice().sort(by[field("order").value]).forEach(function (card) { list.append(card); });
  }
  function clear() { form.reset(); find(); order(); field("words").focus(); }

  form.hidden = false;
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  form.addEventListener("input", find);
  field("order").addEventListener("change", order);
  field("reset").addEventListener("click", clear);
  addEventListener("pageshow", function () { find(); order(); }); // A browser that goes back fills in what was asked.
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
