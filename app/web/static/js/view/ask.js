// Questions before what cannot be undone.
import { t } from "../i18n/index.js";
import { Modal, closeDialog, showDialog } from "./dialog.js";
import { Field, Note, useForm } from "./form.js";
import { html } from "./html.js";

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
