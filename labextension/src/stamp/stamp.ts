/** The stamp that says that a notebook was verified, when and with what; it is the file's own word. */

import type { TranslationBundle } from '@jupyterlab/translation';

import { oneLine } from '../panel/text';
import { list, number, record, string } from '../values';

/** What a stamp is worth for the content as it is now. */
export type Standing = 'verified' | 'failed' | 'edited';

export interface IStamp {
  ok: boolean;
  /** Of the content that it is bound to. */
  hash: string;
  when: Date | null;
  /** Code cells that were executed. */
  executed: number;
  tier: string;
  /** Why it is not reproducible. */
  reasons: string[];
  /** The versions that it was verified with: "Python 3.11.2". */
  by: string[];
}

/** Return the stamp in our part of a notebook's metadata; null where there is none. */
export function stampIn(metadata: unknown): IStamp | null {
  const found = record(record(metadata).verified);
  const hash = string(found.hash);
  if (!hash) {
    return null;
  }
  const when = new Date(string(found.when).slice(0, 40));
  const by = record(found.by);
  return {
    ok: found.ok === true,
    hash,
    when: Number.isNaN(when.getTime()) ? null : when,
    executed: Math.trunc(number(found.executed)),
    tier: oneLine(string(found.tier), 4),
    reasons: list(found.reasons)
      .slice(0, 20)
      .map(reason => oneLine(string(reason), 300)),
    by: [
      ['Python', string(by.python)],
      ['jupyter_codeagent', string(by.jupyter_codeagent)]
    ]
      .filter(([, version]) => version)
      .map(([name, version]) => `${name} ${oneLine(version, 40)}`)
  };
}

/** Return what a stamp is worth where the content has this hash. */
export function standingOf(stamp: IStamp, hash: string): Standing {
  return stamp.hash !== hash ? 'edited' : stamp.ok ? 'verified' : 'failed';
}

/** Return a stamp in a few words. */
export function stampWords(
  stamp: IStamp,
  standing: Standing,
  trans: TranslationBundle
): string {
  switch (standing) {
    case 'edited':
      return trans.__('Edited since it was verified');
    case 'failed':
      return stamp.reasons.length
        ? trans.__('Not reproducible: %1', oneLine(stamp.reasons[0], 60))
        : trans.__('Not reproducible');
    case 'verified':
      return stamp.when
        ? trans._n(
            'Verified %2, %1 cell',
            'Verified %2, %1 cells',
            stamp.executed,
            moment(stamp.when)
          )
        : trans._n('Verified, %1 cell', 'Verified, %1 cells', stamp.executed);
  }
}

/** Return all that a stamp says, and whose word it is, in several lines. */
export function stampDetails(
  stamp: IStamp,
  standing: Standing,
  trans: TranslationBundle
): string {
  const when = stamp.when ? moment(stamp.when) : trans.__('unknown time');
  const facts = [
    ...stamp.by,
    ...(stamp.tier ? [trans.__('tier %1', stamp.tier)] : [])
  ];
  const verdict = stamp.ok
    ? trans.__('reproducible')
    : trans.__('not reproducible');
  return [
    standing === 'edited' &&
      trans.__(
        'Its content has changed; what is below no longer says anything.'
      ),
    trans._n(
      'Verified %2, %1 cell: %3.',
      'Verified %2, %1 cells: %3.',
      stamp.executed,
      when,
      verdict
    ),
    facts.length > 0 && facts.join(', '),
    ...stamp.reasons.slice(0, 5),
    trans.__('This is what the file itself says; verify it to be sure.')
  ]
    .filter(line => line)
    .join('\n');
}

/** Return a moment in the user's time zone, as "2026-11-22 14:03". */
export function moment(when: Date): string {
  const two = (part: number) => String(part).padStart(2, '0');
  const day = [
    when.getFullYear(),
    two(when.getMonth() + 1),
    two(when.getDate())
  ];
  return `${day.join('-')} ${two(when.getHours())}:${two(when.getMinutes())}`;
}
