// What every view is written with: htm's tagged template, which needs no build step.
import htm from "htm";
import { h } from "preact";

export const html = htm.bind(h);

/** Joins class names; what is false is left out. */
export const classes = (...names) => names.filter(Boolean).join(" ");
