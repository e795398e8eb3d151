/** Markdown whose blocks have no language: a parser would draw one of them, and load what the drawing names. */

/** Stands between a fence and what follows it, so that no language is found there. */
const GUARD = '\ue001';

/** Any run that could open a block, and has text after it in its line; wherever it stands. */
const RUNS = /(`{3,}|~{3,})(?![`~])(?=[^\S\n]*\S)/g;

/** Return `source` so that a parser finds no language in it; inline code stays inline code. */
export function guarded(source: string): string {
  return source.replace(/\r\n?/g, '\n').replace(RUNS, `$1${GUARD}`);
}

/** Return `text`, parsed from what is guarded, as it was. */
export function unguarded(text: string): string {
  return text.replace(/\ue001|%EE%80%81/g, '');
}
