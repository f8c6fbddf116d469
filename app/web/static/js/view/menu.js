// A menu beside what it belongs to; on phones a sheet from below.
import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

import { classes, html } from "./html.js";
import { Icon } from "./icons.js";

/**
 * @typedef {{icon: string, label: string, key?: string, danger?: boolean, line?: boolean, run?: () => any}} Item
 *   `line`: a line above it. Without `run` it only says something.
 */
const open = signal(/** @type {{at: Element, items: Item[], label: string, quote?: string} | undefined} */ (undefined));

/** Opens a menu beside an element. `quote` repeats on phones what it is about. */
export function showMenu(/** @type {Element} */ at, /** @type {Item[]} */ items, label, quote) {
  open.value = { at, items, label, quote };
}

const EDGE = 8; // px between a menu and the edge of the window

export const Menus = () => (open.value ? html`<${Menu} key=${open.value} ...${open.value} />` : null);

function Menu({ at, items, label, quote }) {
  const menu = useRef(null);
  const before = useRef(document.activeElement).current; // not always what the menu stands beside: a bubble takes no focus
  const close = (focus = true) => {
    open.value = undefined;
    if (focus) before.focus();
  };
  useLayoutEffect(() => {
    if (matchMedia("(min-width: 45em)").matches) place(menu.current, at);
    menu.current.querySelector("button")?.focus({ preventScroll: true });
  }, []);
  useEffect(() => {
    const away = () => close(false);
    addEventListener("resize", away);
    return () => removeEventListener("resize", away);
  }, []);
  const choose = (item) => {
    close();
    item.run();
  };
  const onKey = (event) => {
    const buttons = [...menu.current.querySelectorAll("button")];
    const now = buttons.indexOf(document.activeElement);
    const next = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: -1 }[event.key];
    if (event.key === "Escape" || event.key === "Tab") close();
    else if (next !== undefined) buttons.at(next % buttons.length).focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return html`
    <div class="menu-place" onMouseDown=${(event) => event.target === event.currentTarget && close()} onKeyDown=${onKey}>
      <div class="menu menu--fixed" role="menu" aria-label=${label} ref=${menu}>
        ${quote && html`<p class="menu__quote one-line" dir="auto">${quote}</p>`}
        ${items.map((item) => html`
          ${item.line && html`<div class="menu__line" role="separator"></div>`}
          ${item.run
            ? html`<button class=${classes("menu__item", item.danger && "menu__item--danger")} type="button" role="menuitem" onClick=${() => choose(item)}>
                <${Icon} name=${item.icon} /><span>${item.label}</span>${item.key && html`<kbd>${item.key}</kbd>`}</button>`
            : html`<div class="menu__item" role="menuitem" aria-disabled="true"><${Icon} name=${item.icon} /><span>${item.label}</span></div>`}`)}
      </div>
    </div>`;
}

// Below the element, or above it where there is no room; never outside of the window.
function place(menu, at) {
  const anchor = at.getBoundingClientRect();
  const { width, height } = menu.getBoundingClientRect();
  const below = anchor.bottom + 4;
  const top = below + height + EDGE > innerHeight ? Math.max(EDGE, anchor.top - height - 4) : below;
  const left = anchor.right - width;
  menu.style.insetBlockStart = `${top}px`;
  menu.style.insetInlineStart = `${Math.min(Math.max(EDGE, left), innerWidth - width - EDGE)}px`;
}
