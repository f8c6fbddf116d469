// Dialogs: <dialog>, so that focus stays inside and Esc closes them.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { t } from "../i18n/index.js";
import { classes, html } from "./html.js";
import { IconButton } from "./icons.js";

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
