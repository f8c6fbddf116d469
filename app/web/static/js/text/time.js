// Times and days in the language of the page and the zone of the reader.
import { lang, t } from "../i18n/index.js";

const formats = new Map();

function format(options) {
  const key = lang.value + JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat(lang.value, options));
  return formats.get(key);
}

const dayNumber = (date) => Math.round(new Date(date).setHours(12, 0, 0, 0) / 86400000);

/** Whether two times lie on one day. */
export const isSameDay = (one, other) => dayNumber(one) === dayNumber(other);

/** `10:48`, `10:48 AM`. */
export const clock = (date) => format({ hour: "numeric", minute: "2-digit" }).format(new Date(date));

/** The shortest that says when: the time today, the day of the week this week, else the date. */
export function brief(date, now = new Date()) {
  const days = dayNumber(now) - dayNumber(date);
  if (days <= 0) return clock(date);
  if (days < 7) return format({ weekday: "short" }).format(new Date(date));
  return dateOf(date, now, "short");
}

/** What stands between the messages of two days. */
export function day(date, now = new Date()) {
  const days = dayNumber(now) - dayNumber(date);
  if (days === 0) return t("today");
  if (days === 1) return t("yesterday");
  const isOld = new Date(date).getFullYear() !== now.getFullYear();
  return format({ day: "numeric", month: "long", ...(isOld ? { year: "numeric" } : { weekday: "long" }) })
    .format(new Date(date));
}

/** A moment in a sentence: `today at 10:48`, `24 November`. */
export function moment(date, now = new Date()) {
  const days = dayNumber(now) - dayNumber(date);
  if (days === 0) return t("today_at", { time: clock(date) });
  if (days === 1) return t("yesterday_at", { time: clock(date) });
  return dateOf(date, now, "long");
}

function dateOf(date, now, month) {
  const isOld = new Date(date).getFullYear() !== now.getFullYear();
  return format({ day: "numeric", month, ...(isOld ? { year: "numeric" } : {}) }).format(new Date(date));
}
