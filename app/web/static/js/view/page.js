// The frame of everything that is read or filled in: posts, people, settings, administration.
import { t } from "../i18n/index.js";
import { back, go } from "../state/route.js";
import { useTitle } from "./attention.js";
import { html } from "./html.js";
import { Icon, IconButton } from "./icons.js";

/** @param {{title: string, head?: any, up?: string, wide?: boolean}} props `up`: where the back button leads. */
export function Page({ title, head, up, wide, children }) {
  useTitle(title);
  return html`
    <section class="main" id="main" aria-label=${title}>
      <header class="bar phone-only">
        ${up && html`<${IconButton} icon="back" label=${t("back")} onClick=${() => back(up)} />`}
        <h1 class=${up ? "bar__title" : "bar__title pad-start"}>${title}</h1>${head}
      </header>
      <div class="scroll" tabindex="-1">
        <div class=${wide ? "page page--wide" : "page"}>
          <div class="page__head wide-only"><h1 class="page__title">${title}</h1>${head}</div>
          ${children}
        </div>
      </div>
    </section>`;
}

/** @param {{title: string, items: {key: string, icon: string, label: string, path?: string, run?: () => void, danger?: boolean}[], current: string}} props */
export const SideNav = ({ title, items, current }) => html`
  <section class="list" aria-label=${title}>
    <header class="bar bar--top"><h1 class="bar__title">${title}</h1></header>
    <div class="scroll" tabindex="-1">
      <nav class="nav-rows" aria-label=${title}>
        ${items.map(({ key, icon, label, path, run, danger }) => run
          ? html`<button class=${danger ? "nav-row nav-row--danger" : "nav-row"} type="button" onClick=${run}><${Icon} name=${icon} /><span>${label}</span></button>`
          : html`<a class="nav-row" href=${path} aria-current=${key === current ? "page" : undefined}><${Icon} name=${icon} /><span>${label}</span>
              <${Icon} name="forward" size="20" extra="icon--go phone-only" /></a>`)}
      </nav>
    </div>
  </section>`;

export const Block = ({ title, note, children }) => html`
  <section class="block">
    ${title && html`<h2 class="block__title">${title}</h2>`}
    <div class="sheet">${children}</div>
    ${note && html`<p class="block__note">${note}</p>`}
  </section>`;

/** A line of a sheet; with `onClick` a button, with `href` a link. */
export function Line({ icon, text, hint, right, danger, extra = "", onClick, href, ...rest }) {
  const name = `line ${extra} ${danger ? "line--danger" : ""}`.trim();
  const inside = html`
    ${icon && html`<${Icon} name=${icon} />`}
    <span class="line__text">${text}${hint && html`<span class="line__hint">${hint}</span>`}</span>${right}`;
  if (href) return html`<a class=${name} href=${href} ...${rest}>${inside}</a>`;
  if (onClick) return html`<button class=${name} type="button" onClick=${onClick}>${inside}</button>`;
  return html`<div class=${name}>${inside}</div>`;
}

export const Switch = ({ icon, text, hint, value, onChange, disabled }) => html`
  <label class="line">
    ${icon && html`<${Icon} name=${icon} />`}
    <span class="line__text">${text}${hint && html`<span class="line__hint">${hint}</span>`}</span>
    <input class="switch" type="checkbox" role="switch" checked=${value} disabled=${disabled} onChange=${(event) => onChange(event.target.checked)} />
  </label>`;

/** What stands at the side of a chat, or over it. */
export const Side = ({ title, up, children }) => html`
  <aside class="side" aria-label=${title}>
    <header class="bar bar--top">
      <${IconButton} icon="back" label=${t("back")} extra="phone-only" onClick=${() => back(up)} />
      <h1 class="bar__title">${title}</h1>
      <${IconButton} icon="close" label=${t("close")} extra="wide-only" onClick=${() => go(up)} />
    </header>
    <div class="scroll" tabindex="-1">${children}</div>
  </aside>`;

/** Something to be done with a person or a chat, in a row of such. */
export const Act = ({ icon, label, ...rest }) => html`
  <button class="act" type="button" ...${rest}><${Icon} name=${icon} />${label}</button>`;
