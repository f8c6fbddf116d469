// Runs before the rest of the page is there, and begins what takes long: sentences, the token,
// the list of chats.
import { lang, speak } from "./i18n/index.js";
import { askEarly } from "./net/snapshot.js";

speak(lang.value);
if (localStorage.getItem("me")) askEarly();
