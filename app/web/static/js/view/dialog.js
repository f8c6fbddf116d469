// Dialogs: <dialog>, so that focus stays inside and Esc closes them.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { t } from "../i18n/index.js";
import { classes, html } from "./html.js";
import { IconButton } from "./icons.js";
import { Field, Note, useForm } from "./form.js";

const open = signal(/** @type {any} */ (undefined)); // the vnode of the one that is open

/** Shows a dialog in the place of any other. */
export const showDialog = (vnode) => (open.value = vnode);
export const closeDialog = () => (open.value = undefined);
export const isDialogOpen = () => open.value !== undefined;

export const Dialogs = () => open.value ?? null;

/** The frame of a dialog over everything. `scrim` says how it stands: "", "top", "ask". */
export function Modal({ label, labelledby, describedby, scrim, extra, role, children }) {
  const dialog = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    dialog.current.querySelector("[autofocus]")?.focus();
    return () => before?.focus?.();
  }, []);
  const onCancel = (event) => (event.preventDefault(), closeDialog());
  const onClick = (event) => event.target === dialog.current && closeDialog();
  return html`
    <dialog ref=${dialog} class=${classes("scrim", scrim && `scrim--${scrim}`)} role=${role} aria-label=${label} aria-labelledby=${labelledby}
      aria-describedby=${describedby} onCancel=${onCancel} onMouseDown=${onClick}>
      <div class=${classes("dialog", extra)}>${children}</div>
    </dialog>`;
}

/** A dialog with a title and a closing button. */
export const TitledDialog = ({ title, extra = "dialog--tall", children }) => html`
  <${Modal} labelledby="dialog-title" extra=${extra}>
    <header class="dialog__head">
      <h2 class="dialog__title" id="dialog-title">${title}</h2>
      <${IconButton} icon="close" label=${t("close")} onClick=${closeDialog} />
    </header>
    ${children}
  <//>`;

/**
 * Asks before what cannot be undone. Focus begins on what does not destroy.
 * @param {{title: string, text: string, no?: string, yes: string, password?: boolean,
 *   run: (values: Record<string, string>) => Promise<any>}} question With `password`, it is asked for.
 */
export const ask = (question) => showDialog(html`<${Question} ...${question} />`);

function Question({ title, text, no = t("cancel"), yes, password, run }) {
  const form = useForm(async (values) => {
    await run(values);
    closeDialog();
  });
  return html`
    <${Modal} scrim="ask" role="alertdialog" labelledby="dialog-title" describedby="dialog-text">
      <form onSubmit=${form.onSubmit}>
        <div class="dialog__ask">
          <h2 class="dialog__title" id="dialog-title">${title}</h2>
          <p id="dialog-text">${text}</p>
          ${form.note && html`<${Note}>${form.note}<//>`}
          ${password && html`<${Field} name="password" type="password" label=${t("your_password")} errors=${form.errors} peek
            autocomplete="current-password" required autofocus />`}
        </div>
        <footer class="dialog__foot">
          <button class="button button--plain" type="button" autofocus=${!password} onClick=${closeDialog}>${no}</button>
          <button class="button button--danger" type="submit" disabled=${form.isBusy}>${yes}</button>
        </footer>
      </form>
    <//>`;
}
