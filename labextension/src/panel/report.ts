/** What a verification found, as the server tells it. */

import { list, number, record, string } from '../values';

/** Entries that are read of a list, and characters of a text. */
const MOST = 500;
const TEXT_MOST = 4000;

/** Where the fresh run is not what the file holds. */
export interface IDifference {
  /** Counted from 1 over all cells; 0: the notebook as a whole. */
  cell: number;
  kind: string;
  /** One sentence. */
  detail: string;
  expected: string;
  found: string;
}

export interface IReport {
  ok: boolean;
  differences: IDifference[];
  /** Code cells that were executed. */
  executed: number;
  /** Seconds. */
  duration: number;
  tier: string;
  /** Input files that are not as recorded. */
  inputs: { name: string; state: string }[];
  /** What may differ some other time. */
  risks: string[];
  notes: string[];
  /** What is, or is to be, written into the notebook's metadata; null where the server makes none. */
  stamp: Record<string, unknown> | null;
}

export function toReport(value: unknown): IReport {
  const found = record(value);
  const stamp = record(found.stamp);
  return {
    ok: found.ok === true,
    differences: list(found.cells).slice(0, MOST).map(toDifference),
    executed: number(found.executed),
    duration: number(found.duration),
    tier: text(found.tier),
    inputs: list(found.inputs)
      .slice(0, MOST)
      .map(input => ({
        name: text(record(input).name),
        state: text(record(input).state)
      }))
      .filter(({ state }) => state !== 'same'),
    risks: sentences(found.risks),
    notes: sentences(found.notes),
    stamp: string(stamp.hash) ? stamp : null
  };
}

function toDifference(value: unknown): IDifference {
  const found = record(value);
  return {
    cell: number(found.cell),
    kind: text(found.kind),
    detail: text(found.detail),
    expected: text(found.expected),
    found: text(found.found)
  };
}

/** Return the sentences in a list of texts, or of objects that have one as `text` or `detail`. */
export function sentences(value: unknown): string[] {
  return list(value)
    .slice(0, MOST)
    .map(item => {
      const { text: words, detail } = record(item);
      return text(item) || text(words) || text(detail);
    })
    .filter(sentence => sentence);
}

function text(value: unknown): string {
  return string(value).slice(0, TEXT_MOST);
}
