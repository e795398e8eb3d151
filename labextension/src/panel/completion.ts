/** What the task box offers after "@" and "/". */

export type OfferKind = 'command' | 'cell' | 'selection' | 'variable' | 'file';

export interface IOffer {
  kind: OfferKind;
  /** Identifies it within its kind: a command's word, a cell's id, a name. */
  value: string;
  /** What is shown, and what the user's letters are compared with. */
  label: string;
  detail: string;
  /** What takes the place of the letters in the text. */
  insert: string;
}

export interface ICompletion {
  /** Where the text that is replaced begins; it ends at the caret. */
  start: number;
  offers: IOffer[];
  /** How many more fit than are offered. */
  more: number;
}

const SHOWN = 40;

/**
 * Return what fits the letters before the caret, the best first; null where nothing is asked for.
 *
 * @param text - The text of the box.
 * @param caret - Where in it the user writes.
 * @param commands - What may follow "/" at the begin of the text.
 * @param things - Asked only after "@": reading them takes time.
 */
export function complete(
  text: string,
  caret: number,
  commands: readonly IOffer[],
  things: () => readonly IOffer[]
): ICompletion | null {
  const before = text.slice(0, caret);
  const slash = /^\/([a-zA-Z]*)$/.exec(before);
  if (slash) {
    return fitting(commands, slash[1], 0);
  }
  const at = /(?:^|[\s(,;:])@([^\s@]{0,80})$/.exec(before);
  return at ? fitting(things(), at[1], caret - at[1].length - 1) : null;
}

/** Return the text with the offer in it, and where the caret goes. */
export function applied(
  text: string,
  caret: number,
  start: number,
  offer: IOffer
): { text: string; caret: number } {
  const after = text.slice(caret);
  const gap = offer.insert && !/^\s/.test(after) ? ' ' : '';
  const begin = text.slice(0, start) + offer.insert + gap;
  return { text: begin + after, caret: begin.length };
}

function fitting(
  offers: readonly IOffer[],
  letters: string,
  start: number
): ICompletion | null {
  const wanted = letters.toLowerCase();
  const ranked = offers
    .map(offer => ({ offer, rank: rankOf(offer, wanted) }))
    .filter(({ rank }) => rank < 3)
    .sort((a, b) => a.rank - b.rank)
    .map(({ offer }) => offer);
  return ranked.length
    ? {
        start,
        offers: ranked.slice(0, SHOWN),
        more: Math.max(0, ranked.length - SHOWN)
      }
    : null;
}

/** 0: it begins with the letters; 1: a word or a part of a path does; 2: they are in it or in what is said of it; 3: not at all. */
function rankOf(offer: IOffer, wanted: string): number {
  const label = offer.label.toLowerCase();
  if (label.startsWith(wanted)) {
    return 0;
  }
  const at = label.indexOf(wanted);
  if (at > 0 && /[^a-z0-9]/.test(label[at - 1])) {
    return 1;
  }
  return at > 0 || offer.detail.toLowerCase().includes(wanted) ? 2 : 3;
}
