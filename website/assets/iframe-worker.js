// Browsers start no worker of a page that lies in a folder. There the search runs in a frame of the page instead.
"use strict";
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inner = this.frame.contentWindow;
      inner.postMessage = (data) => this.deliver(this, structuredClone(data));
      this.loaded = new Promise((resolve, reject) => {
        const script = inner.document.createElement("script");
        script.src = url;
        script.onload = resolve;
        script.onerror = reject;
        inner.document.body.append(script);
      });
      this.loaded.catch((event) => this.onerror && this.onerror(event));
    }

    postMessage(data) {
      const copy = structuredClone(data); // As between a page and a worker: neither sees what the other changes.
      this.loaded.then(() => this.deliver(this.frame.contentWindow, copy), () => {});
    }

    deliver(target, data) {
      setTimeout(() => target.onmessage && target.onmessage({ data }));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
