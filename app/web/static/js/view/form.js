// Forms: a label above each field, what is wrong below it.
import { useState } from "preact/hooks";

import { t } from "../i18n/index.js";
import { Problem } from "../net/http.js";
import { classes, html } from "./html.js";
import { Icon, IconButton } from "./icons.js";
import { sentenceOf } from "./failure.js";

/**
 * A form that sends what is typed, and shows what the server says to it.
 * @param {(values: Record<string, string>) => Promise<any>} send
 * @param {{[code: string]: string}} [words] Sentences of our own for some codes or statuses of errors.
 */
export function useForm(send, words = {}) {
  const [{ error, isBusy }, set] = useState({ error: undefined, isBusy: false });
  const onSubmit = async (event) => {
    event.preventDefault();
    if (isBusy) return;
    const form = event.currentTarget;
    set({ error: undefined, isBusy: true });
    try {
      await send(Object.fromEntries(new FormData(form)), form);
      set({ error: undefined, isBusy: false });
    } catch (failure) {
      set({ error: failure, isBusy: false });
    }
  };
  const errors = error instanceof Problem ? error.errors : {};
  const hasFields = Object.keys(errors).some((field) => field !== "non_field_errors");
  const note = error && !hasFields && (words[error.code] ?? words[error.status] ?? sentenceOf(error));
  return { onSubmit, isBusy, errors, note };
}

export const Note = ({ children, calm }) => html`
  <p class=${classes("note", calm && "note--calm")} role=${calm ? "status" : "alert"}>
    <${Icon} name=${calm ? "info" : "alert"} size="20" /><span>${children}</span>
  </p>`;

/** A field with its label; `errors` are those of the form, `peek` lets a password be seen. */
export function Field({ name, label, hint, errors = {}, type = "text", area, peek, ...rest }) {
  const [isSeen, setSeen] = useState(false);
  const wrong = errors[name]?.join(" ");
  const below = wrong ? `${name}-error` : hint ? `${name}-hint` : undefined;
  const own = { id: name, name, class: "input", "aria-invalid": wrong ? "true" : undefined, "aria-describedby": below, ...rest };
  const input = area ? html`<textarea ...${own}></textarea>` : html`<input type=${peek && isSeen ? "text" : type} ...${own} />`;
  return html`
    <div class="field">
      <label class="field__label" for=${name}>${label}</label>
      ${peek
        ? html`<span class="input-with">${input}<${IconButton} icon=${isSeen ? "eye-off" : "eye"} aria-pressed=${isSeen}
            label=${t("show_password")} onClick=${() => setSeen(!isSeen)} /></span>`
        : input}
      ${wrong
        ? html`<p class="field__error" id=${`${name}-error`}><${Icon} name="alert" size="16" /><span>${wrong}</span></p>`
        : hint && html`<p class="field__hint" id=${`${name}-hint`}>${hint}</p>`}
    </div>`;
}

/** A box to search in. */
export const Find = ({ label, value, onInput, autofocus }) => html`
  <div class="list__find">
    <label class="search-box">
      <${Icon} name="search" size="20" />
      <input class="search-box__input" type="search" placeholder=${label} aria-label=${label} value=${value}
        autofocus=${autofocus} autocomplete="off" onInput=${(event) => onInput(event.target.value)} />
    </label>
  </div>`;

/** One of a few. @param {{label: string, items: [string, string][], value: string, onChoose: (value: string) => void}} props */
export function Choice({ label, items, value, onChoose }) {
  const onKey = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = items.findIndex(([each]) => each === value);
    const next = (at + step + items.length) % items.length;
    onChoose(items[next][0]);
    event.currentTarget.children[next].focus();
  };
  return html`
    <div class="choice" role="radiogroup" aria-label=${label} onKeyDown=${onKey}>
      ${items.map(([each, text]) => html`
        <button class="choice__one" type="button" role="radio" aria-checked=${each === value} tabindex=${each === value ? 0 : -1}
          onClick=${() => onChoose(each)}>${text}</button>`)}
    </div>`;
}
