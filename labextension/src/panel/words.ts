/** The words for how tasks and attempts stand; a status from outside that is none of ours is shown as it is. */

import type { TranslationBundle } from '@jupyterlab/translation';

import { isCandidate, isDecided } from '../candidates';
import type { IAttemptRecord } from '../tokens';
import { oneLine } from './text';

export function taskWord(status: string, trans: TranslationBundle): string {
  const words = new Map([
    ['queued', trans.__('queued')],
    ['running', trans.__('running')],
    ['solved', trans.__('solved')],
    ['failed', trans.__('not solved')],
    ['stopped', trans.__('stopped')]
  ]);
  return words.get(status) ?? oneLine(status, 20);
}

export function attemptWord(status: string, trans: TranslationBundle): string {
  const words = new Map([
    ['writing', trans.__('writing')],
    ['running', trans.__('running in sandbox')],
    ['failed', trans.__('failed')],
    ['succeeded', trans.__('succeeded')],
    ['accepted', trans.__('accepted')],
    ['discarded', trans.__('discarded')],
    ['edited', trans.__('edited')]
  ]);
  return words.get(status) ?? oneLine(status, 20);
}

/** Return how an attempt is called: with its place among the candidates, where there are several. */
export function attemptName(
  record: IAttemptRecord,
  trans: TranslationBundle
): string {
  return isCandidate(record)
    ? trans.__(
        'Attempt %1: candidate %2 of %3',
        record.attempt,
        record.candidate,
        record.of
      )
    : trans.__('Attempt %1', record.attempt);
}

/** Return `word`, which says how an attempt ended, with what became of it as a candidate. */
export function candidateWord(
  record: IAttemptRecord,
  word: string,
  trans: TranslationBundle
): string {
  if (!isCandidate(record) || ['running', 'accepted'].includes(record.status)) {
    return word;
  }
  if (!isDecided(record)) {
    return trans.__('%1, waiting for the other candidates', word);
  }
  return record.chosen
    ? trans.__('chosen, %1', word)
    : trans.__('not chosen, %1', word);
}
