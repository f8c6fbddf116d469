// The keyboard in the history: arrows move between messages, letters do something with one.
import { copy } from "../text/clipboard.js";
import { actionsFor } from "./actions.js";
import { attempt } from "./failure.js";

/** @param {import("./timeline.js").Timeline} timeline */
export function handleKey(event, timeline) {
  const article = event.target.closest?.("article[data-id]");
  if (!article || event.target !== article) return;
  const { chat, me, composer } = timeline.props;
  const rows = [...timeline.box.current.querySelectorAll("article[data-id]")];
  const at = rows.indexOf(article);
  const next = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: rows.length - 1 }[event.key];
  if (next !== undefined) {
    event.preventDefault();
    if (rows[next]) rows[next].focus({ preventScroll: true });
    if (rows[next]) rows[next].scrollIntoView({ block: "nearest" });
    else if (event.key === "ArrowDown") composer.focus();
    return;
  }
  if (event.key === "Escape") return composer.focus();
  timeline.withMessage(article, (message) => {
    const context = { chat, message, isMine: message.user === me, composer };
    if (event.key === "Enter") timeline.open(message, article.querySelector(".bubble"));
    else if (event.ctrlKey || event.metaKey) {
      if (event.code !== "KeyC" || String(getSelection())) return;
      attempt(() => copy(message.content));
    } else {
      const action = actionsFor(context).find(({ key }) => key && (key === event.key || event.code === `Key${key.toUpperCase()}`));
      if (!action) return;
      action.run(context);
    }
    event.preventDefault();
  });
}
